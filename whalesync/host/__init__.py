"""Living on a host: the crontab, the check-up, the copy, and the dead-man's switch."""
