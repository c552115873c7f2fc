"""What runs on the host: the crontab, the check-up, backups, and pings to a monitor."""
