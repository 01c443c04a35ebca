"""The few keys of a PySlowFast config that a finished network needs, read without PySlowFast."""

import os
from collections.abc import Mapping, Sequence

import yaml
from fvcore.common.config import CfgNode

from slowfast_ac.data.view_keys import REFUSED
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.config_file import merge_opts

# PySlowFast's defaults for the keys that inference reads; any other key is left aside. A config
# without MODEL.MODEL_NAME, such as the wheel's, means whatever model the weights are of.
_DEFAULTS = {
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TARGET_FPS": 30.0,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.REVERSE_INPUT_CHANNEL": False,
    # Of a checkout; the wheel has none of these, and its test is that of the defaults.
    "DATA.DECODING_BACKEND": "",
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    **{key: refused.default for key, refused in REFUSED.items()},
    "DETECTION.ENABLE": False,
    "MODEL.ARCH": "slowfast",
    "MODEL.MODEL_NAME": "",
    "MODEL.NUM_CLASSES": 400,
    "MODEL.MULTI_PATHWAY_ARCH": ["slowfast"],
    "MODEL.HEAD_ACT": "softmax",
    "MULTIGRID.SHORT_CYCLE": False,
    "RESNET.SPATIAL_STRIDES": [[1], [2], [2], [2]],
    "RESNET.SPATIAL_DILATIONS": [[1], [1], [1], [1]],
    "SLOWFAST.ALPHA": 8,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
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


def load_config_alone(path: str | os.PathLike, opts: Sequence[str] = ()) -> CfgNode:
    """Loads a config without PySlowFast: the file's keys over defaults of what inference reads.

    Args:
        path: the file.
        opts: keys and values in turn, which override it.

    Raises:
        InputError: see :func:`read_config` and :func:`inference_config`; or naming an unknown key.
    """
    config = read_config(path)
    try:
        cfg = CfgNode({node: keys for node, keys in config.items() if keys is not None})
    except AssertionError as error:
        raise InputError(f"{path}: not a yaml config: {error}") from None
    for node, keys in inference_config(config, os.fspath(path)).items():
        cfg.setdefault(node, CfgNode()).update(keys)
    merge_opts(cfg, opts)
    return cfg


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
