"""Attention-consistency SlowFast for PySlowFast and PyTorchVideo.

Xu, Jin, Wang, Hussain, Huang, "Exploiting Attention-Consistency Loss For Spatial-Temporal Stream
Action Recognition", ACM TOMM 18(2s), 2022, https://doi.org/10.1145/3538749
"""

__version__ = "0.1.0"
