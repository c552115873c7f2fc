"""The file: SQL and nothing else. No decision is taken here, and no other room writes SQL."""
