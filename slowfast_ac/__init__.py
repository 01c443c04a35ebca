"""Attention-consistency SlowFast for PySlowFast and PyTorchVideo.

Xu, Jin, Wang, Hussain, Huang, "Exploiting Attention-Consistency Loss For Spatial-Temporal Stream
Action Recognition", ACM TOMM 18(2s), 2022, https://doi.org/10.1145/3538749
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

    from slowfast_ac.losses import AttentionConsistencyLoss, AttentionMaps, ConsistencySettings

__all__ = [
    "AttentionConsistencyLoss",
    "AttentionMaps",
    "ConsistencySettings",
    "add_custom_config",
    "register",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports the criterion, and with it torch, when it is asked for (PEP 562).

    The command line imports this package too, and torch takes seconds.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from slowfast_ac import losses

    return getattr(losses, name)


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


def add_custom_config(cfg: CfgNode) -> None:
    """Adds the keys to a PySlowFast config, and the models and the criterion to PySlowFast.

    The one line for those who keep their own launcher: in PySlowFast's
    ``slowfast/config/custom_config.py``, import this in place of the function that stands there.
    PySlowFast calls it in every process.

    Args:
        cfg: the config that the nodes AC and SCAM are added to.
    """
    from slowfast_ac import config

    config.add_custom_config(cfg)
    # Elsewhere there is nobody to register with.
    if "slowfast.config.defaults" in sys.modules:
        register()
