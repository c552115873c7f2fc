"""What happens, in order: the four jobs, and what they share."""
