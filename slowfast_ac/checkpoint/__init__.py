"""Checkpoint files: what they are, opening them safely, converting, saving."""
