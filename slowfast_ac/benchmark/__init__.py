"""Measurements of the cost of training, inference and decoding."""
