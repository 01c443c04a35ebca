"""Attention-consistency SlowFast for PySlowFast and PyTorchVideo.

Xu, Jin, Wang, Hussain, Huang, "Exploiting Attention-Consistency Loss For Spatial-Temporal Stream
Action Recognition", ACM TOMM 18(2s), 2022, https://doi.org/10.1145/3538749
"""

import os

from slowfast_ac.config import add_custom_config
from slowfast_ac.criterion import AttentionConsistencyLoss, AttentionMaps, ConsistencySettings

__version__ = "0.1.0"


def register(path: str | os.PathLike | None = None) -> None:
    """Puts the models, the criterion and the config keys into PySlowFast.

    Works with a checkout and with the wheel, applies the repairs that either needs on today's
    packages, and may be called twice. Call it before importing ``slowfast``.

    Args:
        path: folder of a checkout; by default PYSLOWFAST_ROOT or whatever is importable.

    Raises:
        InputError: when there is no PySlowFast.
    """
    from slowfast_ac.pyslowfast import setup

    setup(path)
