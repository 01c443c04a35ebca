"""Data sets on disk: lists, class maps and configs from their own annotations."""
