"""Reading videos, lists and clips."""
