"""Class activation maps over the frames of a video."""
