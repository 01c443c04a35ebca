"""Attention-consistency SlowFast for PySlowFast and PyTorchVideo.

Xu, Jin, Wang, Hussain, Huang, "Exploiting Attention-Consistency Loss For Spatial-Temporal Stream
Action Recognition", ACM TOMM 18(2s), 2022, https://doi.org/10.1145/3538749

The names in ``__all__`` are public; docs/PYTHON.md has an example of each.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from slowfast_ac.version import __version__

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

    from slowfast_ac.cam import attention_consistency_loss, spatial_cam, temporal_cam
    from slowfast_ac.checkpoint.convert import convert_checkpoint
    from slowfast_ac.data.preprocessing import Preprocessing
    from slowfast_ac.data.video_dataset import VideoDataset
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.inference.pretrained import (
        describe_model,
        from_pretrained,
        push_to_hub,
        save_pretrained,
    )
    from slowfast_ac.losses import (
        AttentionConsistencyLoss,
        AttentionMaps,
        AttentionOutput,
        ConsistencySettings,
    )
    from slowfast_ac.models.builder import create_slowfast_ac
    from slowfast_ac.models.pack_pathway import PackPathway
    from slowfast_ac.scam_head import SCAMHead, StreamFeatures
    from slowfast_ac.visualization.heatmap import heatmap


# The modules that define the public names. They import torch, which takes seconds, so they are
# loaded on first use (PEP 562): the command line imports this package too.
_HOMES = {
    "AttentionConsistencyLoss": "slowfast_ac.losses",
    "AttentionMaps": "slowfast_ac.losses",
    "AttentionOutput": "slowfast_ac.losses",
    "ConsistencySettings": "slowfast_ac.losses",
    "PackPathway": "slowfast_ac.models.pack_pathway",
    "Preprocessing": "slowfast_ac.data.preprocessing",
    "SCAMHead": "slowfast_ac.scam_head",
    "StreamFeatures": "slowfast_ac.scam_head",
    "VideoDataset": "slowfast_ac.data.video_dataset",
    "attention_consistency_loss": "slowfast_ac.cam",
    "convert_checkpoint": "slowfast_ac.checkpoint.convert",
    "create_slowfast_ac": "slowfast_ac.models.builder",
    "describe_model": "slowfast_ac.inference.pretrained",
    "from_pretrained": "slowfast_ac.inference.pretrained",
    "heatmap": "slowfast_ac.visualization.heatmap",
    "load_model": "slowfast_ac.inference.load",
    "push_to_hub": "slowfast_ac.inference.pretrained",
    "save_pretrained": "slowfast_ac.inference.pretrained",
    "spatial_cam": "slowfast_ac.cam",
    "temporal_cam": "slowfast_ac.cam",
}

__all__ = [
    "AttentionConsistencyLoss",
    "AttentionMaps",
    "AttentionOutput",
    "ConsistencySettings",
    "PackPathway",
    "Preprocessing",
    "SCAMHead",
    "StreamFeatures",
    "VideoDataset",
    "__version__",
    "add_custom_config",
    "attention_consistency_loss",
    "convert_checkpoint",
    "create_slowfast_ac",
    "describe_model",
    "from_pretrained",
    "heatmap",
    "load_model",
    "push_to_hub",
    "register",
    "save_pretrained",
    "spatial_cam",
    "temporal_cam",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def register(path: str | os.PathLike[str] | None = None) -> None:
    """Adds the models, the criterion and the config keys to PySlowFast.

    Works with a checkout and with the wheel, and applies the repairs that either needs to run on
    current packages. Call it before importing ``slowfast``. It is safe to call it again.

    Args:
        path: folder of a checkout; by default PYSLOWFAST_ROOT or an importable PySlowFast.

    Raises:
        InputError: if PySlowFast is not found.
    """
    from slowfast_ac.pyslowfast import setup

    setup(path)


def add_custom_config(cfg: CfgNode) -> None:
    """Adds the config keys to a PySlowFast config, and the models and criterion to PySlowFast.

    For your own launcher: in PySlowFast's ``slowfast/config/custom_config.py``, import this
    function in place of the one defined there. PySlowFast calls it in every process, when
    ``slowfast.config.defaults`` is imported. A launcher that imports other parts of PySlowFast
    first has to call :func:`register` at its top, too.

    Args:
        cfg: the config to which the nodes AC, SCAM, COMPUTE and FINETUNE are added.
    """
    from slowfast_ac import config

    config.add_custom_config(cfg)
    # Without PySlowFast there is nothing to register with.
    if "slowfast.config.defaults" in sys.modules:
        register()
