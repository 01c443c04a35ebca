"""A trained network, ready to be exported: built by PySlowFast, or without it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_ac.checkpoint.load import check_trained_for, load_weights
from slowfast_ac.checkpoint.open import Checkpoint, config_value, open_checkpoint
from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.build import build_classifier
from slowfast_ac.pyslowfast.build import build_model
from slowfast_ac.pyslowfast.checks import check_names, check_sizes
from slowfast_ac.pyslowfast.find import find

# Where things lie on the machine that trained, which is nobody else's business.
_LOCAL_PATHS = (
    *("OUTPUT_DIR", "DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX"),
    *("TRAIN.CHECKPOINT_FILE_PATH", "TEST.CHECKPOINT_FILE_PATH"),
)


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network, ready to be exported.

    Args:
        model: in evaluation mode, on the CPU, BatchNorm and all.
        config: what built it, without the folders of this machine.
        checkpoint: where its weights are from.
        preprocessing: what it takes.
        classes: {class name: number}, or None.
    """

    model: nn.Module
    config: CfgNode
    checkpoint: Checkpoint
    preprocessing: Preprocessing
    classes: Mapping[str, int] | None = None

    @property
    def model_name(self) -> str:
        """The model's name in PySlowFast."""
        return self.config.MODEL.MODEL_NAME or self.config.MODEL.ARCH


def load_network(
    cfg: CfgNode, checkpoint: str | Path, classes: Mapping[str, int] | None = None
) -> Network:
    """Builds the config's network with a checkpoint's weights. PySlowFast must be set up.

    Args:
        cfg: the config that the weights were trained with.
        checkpoint: a file of any naming that holds the same network.
        classes: {class name: number}.

    Raises:
        InputError: naming the key or the file, for a detector, a checkpoint of another network, or
            class names that are too many or too few.
    """
    _check_classifier(cfg, classes)
    check_names(cfg, find())
    check_sizes(cfg)
    opened = open_checkpoint(checkpoint)
    cfg = _without_local_paths(cfg)
    cfg.NUM_GPUS = 0
    if "NORM_TYPE" in cfg.BN:  # not in the wheel
        # The other types differ in training only; upstream saves them all as this one.
        cfg.BN.NORM_TYPE = "batchnorm"
    model = build_model(cfg)
    preprocessing = Preprocessing.from_config(cfg)
    load_weights(model, opened, num_classes=cfg.MODEL.NUM_CLASSES, alpha=preprocessing.alpha)
    return Network(model, cfg, opened, preprocessing, classes)


def load_network_alone(
    cfg: CfgNode, checkpoint: str | Path, classes: Mapping[str, int] | None = None
) -> Network:
    """Builds the checkpoint's network of PyTorchVideo's parts, without PySlowFast.

    Args:
        cfg: what :func:`~slowfast_ac.inference.config.load_config_alone` returned.
        checkpoint: a file of any naming: SlowFast, SlowFastAC, Slow or SlowAC.
        classes: {class name: number}.

    Raises:
        InputError: as :func:`load_network`, and for a network that PyTorchVideo has no parts for.
    """
    _check_classifier(cfg, classes)
    opened = open_checkpoint(checkpoint)
    cfg = _without_local_paths(cfg)
    preprocessing = Preprocessing.from_config(cfg)
    check_trained_for(opened, num_classes=cfg.MODEL.NUM_CLASSES, alpha=preprocessing.alpha)
    model = build_classifier(opened, cfg)
    name = opened.model.removeprefix("PTV")
    for key, found in (
        ("MODEL.MODEL_NAME", name),
        ("RESNET.DEPTH", opened.depth),
        ("RESNET.WIDTH_PER_GROUP", opened.width),
    ):
        wanted = config_value(cfg, key)
        if wanted and _same_weights(wanted) != _same_weights(found):
            raise InputError(f"{checkpoint}: holds {found}, which does not fit {key}: {wanted}")
    cfg.MODEL.MODEL_NAME = cfg.MODEL.MODEL_NAME or name
    return Network(model, cfg, opened, preprocessing, classes)


def _check_classifier(cfg: CfgNode, classes: Mapping[str, int] | None) -> None:
    if cfg.DETECTION.ENABLE:
        raise InputError(
            "DETECTION.ENABLE: only classifiers are exported; a detector needs boxes beside the "
            "clip"
        )
    if classes is not None and len(classes) != cfg.MODEL.NUM_CLASSES:
        raise InputError(
            f"MODEL.NUM_CLASSES: {cfg.MODEL.NUM_CLASSES}, but the class map names {len(classes)}"
        )


def _without_local_paths(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    for key in _LOCAL_PATHS:
        *nodes, name = key.split(".")
        section = cfg.get(nodes[0], {}) if nodes else cfg
        if name in section:
            section[name] = ""
    return cfg


def _same_weights(value: object) -> object:
    """Returns one name for the models of PySlowFast that have the same weights."""
    name = value.removeprefix("PTV") if isinstance(value, str) else value
    return "ResNet" if name == "SlowAC" else name
