"""Data: video files, PySlowFast's lists, their checks and generated clips."""
