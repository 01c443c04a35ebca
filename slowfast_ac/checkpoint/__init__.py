"""Checkpoint files: recognising, safely opening, converting and saving them."""
