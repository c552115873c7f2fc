"""The database file: its tables, locks and copies. All SQL of the program is here."""
