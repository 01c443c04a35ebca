"""The few keys of a PySlowFast config that a finished network needs, read without PySlowFast."""

import os
from collections.abc import Mapping

import yaml
from fvcore.common.config import CfgNode

from slowfast_ac.errors import InputError

# PySlowFast's defaults for the keys that inference reads; any other key is left aside.
_DEFAULTS = {
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TARGET_FPS": 30.0,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.REVERSE_INPUT_CHANNEL": False,
    "DETECTION.ENABLE": False,
    "MODEL.ARCH": "slowfast",
    "MODEL.MULTI_PATHWAY_ARCH": ["slowfast"],
    "MODEL.HEAD_ACT": "softmax",
    "MULTIGRID.SHORT_CYCLE": False,
    "RESNET.SPATIAL_STRIDES": [[1], [2], [2], [2]],
    "RESNET.SPATIAL_DILATIONS": [[1], [1], [1], [1]],
    "SLOWFAST.ALPHA": 8,
}


def read_config(path: str | os.PathLike) -> dict:
    """Reads a config file and those it names as ``_BASE_``, as plain data.

    Raises:
        InputError: naming the file, if it is missing or no YAML config.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such config")
    try:
        config = CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)
    except (yaml.YAMLError, OSError, AssertionError, AttributeError) as error:
        raise InputError(f"{path}: not a yaml config: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: not a yaml config, it holds a {type(config).__name__}")
    return config


def inference_config(config: Mapping, source: str) -> CfgNode:
    """Returns the keys that inference reads, at PySlowFast's defaults where ``config`` has none.

    Args:
        config: a config as plain data, from a file or a checkpoint.
        source: where it is from, for messages.

    Raises:
        InputError: naming the key whose value is of another type.
    """
    cfg = CfgNode()
    for key, default in _DEFAULTS.items():
        node, name = key.split(".")
        section = config.get(node) or {}
        if not isinstance(section, Mapping):
            raise InputError(f"{source}: {node} is {section!r}, not a section of keys")
        value = section.get(name, default)
        kinds = {list: (list, tuple), float: (int, float)}.get(type(default), type(default))
        fits = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
        if not fits:
            raise InputError(f"{source}: {key}: {value!r} is of another type than {default!r}")
        cfg.setdefault(node, CfgNode())[name] = value
    return cfg
