"""A trained network's config: the few keys that inference needs, read without PySlowFast.

Weights show the widths and depth of a network but not its alpha, frames, strides or crop. These
come from the config in the file or from the user's. If both set a key, they must agree.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.config import config_value
from slowfast_ac.data.view_keys import REFUSED
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.config_file import merge_opts, read_config

# PySlowFast's defaults for the keys that inference reads; other keys are ignored. Without
# MODEL.MODEL_NAME, as in the wheel's configs, the weights determine the model.
DEFAULTS: dict[str, Any] = {
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TARGET_FPS": 30.0,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.REVERSE_INPUT_CHANNEL": False,
    # Keys of a checkout. The wheel has none of them, and its test works as with these defaults.
    "DATA.DECODING_BACKEND": "",
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.USE_OFFSET_SAMPLING": False,
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
    "RESNET.STRIDE_1X1": False,
    "SLOWFAST.ALPHA": 8,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
}


# Properties of a network that its weights do not show; the values in its file are final.
_OF_THE_NETWORK = (
    *("MODEL.ARCH", "MODEL.HEAD_ACT", "DATA.NUM_FRAMES", "DATA.TRAIN_CROP_SIZE", "SLOWFAST.ALPHA"),
    *("RESNET.SPATIAL_STRIDES", "RESNET.SPATIAL_DILATIONS", "RESNET.STRIDE_1X1"),
    *("MULTIGRID.SHORT_CYCLE", "NONLOCAL.INSTANTIATION", "NONLOCAL.POOL"),
)
# How its clips are made: a given config must agree, but single keys may be overridden.
_OF_THE_INPUT = (
    *("DATA.SAMPLING_RATE", "DATA.TARGET_FPS", "DATA.MEAN", "DATA.STD"),
    *("DATA.REVERSE_INPUT_CHANNEL", "TEST.DATASET"),
)
Config = str | os.PathLike[str] | Mapping[str, Any]


class ModelConfig(NamedTuple):
    """The config of a trained network.

    Args:
        cfg: the config's keys over PySlowFast's defaults for the keys that inference reads.
        defaulted: the keys that only the defaults set.
    """

    cfg: CfgNode
    defaulted: tuple[str, ...]

    def given(self) -> CfgNode:
        """Returns the config without the defaults, since some PySlowFasts lack these keys."""
        cfg = self.cfg.clone()
        for key in self.defaulted:
            node, name = key.split(".")
            del cfg[node][name]
            if not cfg[node]:
                del cfg[node]
        return cfg


def model_config(
    checkpoint: Checkpoint, config: Config | None = None, opts: Sequence[object] = ()
) -> ModelConfig:
    """Returns the config of a checkpoint's network: the given one, or the one in its file.

    Args:
        checkpoint: the opened file.
        config: a PySlowFast config file or its content. The one in the checkpoint has the keys that
            it lacks.
        opts: keys and values in turn, which override it.

    Raises:
        InputError: naming the file and the key: if there is no config, a value is of another type,
            or the config contradicts the weights or the config in the checkpoint.
    """
    path = checkpoint.path
    if config is None:
        if checkpoint.config is None:
            raise InputError(
                f"{path}: holds no config, and weights do not show what frames they take; give the "
                "config that they were trained with (--cfg)"
            )
        source, settings = path, checkpoint.config
    elif isinstance(config, Mapping):
        source, settings = "the given config", _merged(checkpoint.config, config)
    else:
        source, settings = os.fspath(config), _merged(checkpoint.config, read_config(config))
    cfg = _over_defaults(settings, source)
    if config is not None:
        _require_agreement(cfg, checkpoint, source, _OF_THE_INPUT)
    if opts:
        merge_opts(cfg, [str(part) for part in opts])
    _require_agreement(cfg, checkpoint, source, _OF_THE_NETWORK)
    if config_value(settings, "MODEL.NUM_CLASSES") is None and "MODEL.NUM_CLASSES" not in opts:
        cfg.MODEL.NUM_CLASSES = checkpoint.num_classes or cfg.MODEL.NUM_CLASSES
    if cfg.MODEL.MODEL_NAME.endswith("SlowFastAC") and config_value(cfg, "AC.LATERAL"):
        # With lateral connections it is upstream's network; only the training loss differs.
        cfg.MODEL.MODEL_NAME = cfg.MODEL.MODEL_NAME.removesuffix("AC")
        cfg.MODEL.LOSS_FUNC = config_value(cfg, "AC.BASE_LOSS") or "cross_entropy"
    _require_weights(cfg, checkpoint, source)
    kept = {"MODEL.MODEL_NAME", "MODEL.NUM_CLASSES", *map(str, opts)}  # set above
    defaulted = [key for key in DEFAULTS if config_value(settings, key) is None and key not in kept]
    return ModelConfig(cfg, tuple(defaulted))


def network_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a config that change a network's scores and are not seen in its weights.

    Args:
        config: :attr:`ModelConfig.cfg`, or an empty config.
    """
    values = {key: config_value(config, key) for key in _OF_THE_NETWORK}
    return {key: value for key, value in values.items() if value is not None}


def _merged(config: Mapping[str, Any] | None, over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``config`` with the keys of ``over`` in place of its own."""
    merged = dict(config or {})
    for key, value in over.items():
        own = merged.get(key)
        both = isinstance(own, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(own, value) if both else value
    return merged


def _over_defaults(config: Mapping[str, Any], source: str) -> CfgNode:
    """Returns all keys of ``config`` over the defaults for the keys that inference reads."""
    try:
        cfg = CfgNode({node: keys for node, keys in config.items() if keys is not None})
    except AssertionError as error:
        raise InputError(f"{source}: not a config: {error}") from None
    for key, default in DEFAULTS.items():
        node, name = key.split(".")
        section = cfg.setdefault(node, CfgNode())
        if not isinstance(section, CfgNode):
            raise InputError(f"{source}: {node} is {section!r}, not a section of keys")
        value = section.setdefault(name, default)
        kinds = {list: (list, tuple), float: (int, float)}.get(type(default), type(default))
        fits = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
        if not fits:
            raise InputError(f"{source}: {key}: {value!r} is of another type than {default!r}")
    return cfg


def _require_agreement(
    cfg: CfgNode, checkpoint: Checkpoint, source: str, keys: Sequence[str]
) -> None:
    """Rejects a config that contradicts the one in the checkpoint."""
    for key in keys:
        if key == "SLOWFAST.ALPHA" and checkpoint.pathways == 1:
            continue
        if key.startswith("NONLOCAL.") and not any("nonlocal" in n for n in checkpoint.state_dict):
            continue
        own, given = config_value(checkpoint.config, key), config_value(cfg, key)
        if own is not None and given is not None and _plain(own) != _plain(given):
            raise InputError(
                f"{checkpoint.path}: was trained with {key} {own}, but {given} is given ({source})"
            )


def _require_weights(cfg: CfgNode, checkpoint: Checkpoint, source: str) -> None:
    """Rejects a config that contradicts the weights."""
    if checkpoint.num_classes not in (None, cfg.MODEL.NUM_CLASSES):
        raise InputError(
            f"{source}: MODEL.NUM_CLASSES: {cfg.MODEL.NUM_CLASSES}, but the weights in "
            f"{checkpoint.path} have {checkpoint.num_classes} classes"
        )
    if checkpoint.problem:
        return  # an unknown network, whose parts cannot be compared
    for key, found in (
        ("MODEL.MODEL_NAME", checkpoint.model.removeprefix("PTV")),
        ("RESNET.DEPTH", checkpoint.depth),
        ("RESNET.WIDTH_PER_GROUP", checkpoint.width),
    ):
        wanted = config_value(cfg, key)
        if wanted and found and _same_weights(wanted) != _same_weights(found):
            raise InputError(
                f"{checkpoint.path}: holds {found}, which does not fit {key}: {wanted} of {source}"
            )
    cfg.MODEL.MODEL_NAME = cfg.MODEL.MODEL_NAME or checkpoint.model.removeprefix("PTV")


def _same_weights(value: object) -> object:
    """Returns one name for the models of PySlowFast that have the same weights."""
    name = value.removeprefix("PTV") if isinstance(value, str) else value
    return "ResNet" if name == "SlowAC" else name


def _plain(value: object) -> object:
    """Turns tuples into lists, since yaml has no tuples."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
