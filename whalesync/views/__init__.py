"""What people and monitors see. Nothing here queries, writes or reads the clock: rows and ``now`` are handed in."""
