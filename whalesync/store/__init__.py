"""The database file, by table: SQL and nothing else. No decision is taken here, and no other package contains SQL."""
