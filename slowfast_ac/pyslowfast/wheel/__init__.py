"""Additions to the wheel slowfast 1.0: a training and testing loop, and this package's models."""
