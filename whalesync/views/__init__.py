"""What people and monitors see: tables, JSON, CSV, metrics."""
