"""Checkpoints that travel: opening, converting, exporting and predicting."""
