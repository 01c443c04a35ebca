"""Data sets on disk: makes lists, class maps and configs from their annotations."""
