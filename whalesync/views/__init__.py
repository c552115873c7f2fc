"""What people and monitors see. Nothing here writes, decides for a job, or reads the clock: ``now`` is handed in."""
