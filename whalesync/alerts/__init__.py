"""Alerts: which trades are told to whom, how a message reads, and how it is delivered."""
