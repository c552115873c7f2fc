"""Commands: each parses, wires, runs, and hands the result to the printer. No SQL and no HTTP here."""
