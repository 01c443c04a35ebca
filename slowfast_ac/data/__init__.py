"""Data: video files, PySlowFast's lists, their checks and generated clips."""

from slowfast_ac.data.pack_pathway import PackPathway
