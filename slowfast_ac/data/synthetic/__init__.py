"""Generated action clips."""
