"""Opening any checkpoint of SlowFast or Slow, recognised by its content."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from fvcore.common.file_io import PathManager
from torch import Tensor

from slowfast_ac.checkpoint.hashed import check_hash, is_entry
from slowfast_ac.checkpoint.names import (
    DEPTHS,
    Layout,
    find_layout,
    find_naming,
    is_no_weight,
    name_table,
    strip_prefix,
)
from slowfast_ac.checkpoint.read import read_weights
from slowfast_ac.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file and what they say about their network.

    Args:
        path: the file, as given.
        format: what wrote it: ``pyslowfast``, ``pytorchvideo`` (its zoo), ``caffe2`` (PySlowFast's
            old zoo), ``safetensors``, or ``state_dict`` (weights alone).
        container: the kind of file, see :func:`~slowfast_ac.checkpoint.sniff.sniff`.
        naming: ``pyslowfast``, ``pytorchvideo``, ``caffe2``, or None if it is none of them.
        prefix: what stands before every name: ``module.``, ``model.``, both or nothing.
        model: the class of PySlowFast or of this package that has these weights: ``SlowFast``,
            ``SlowFastAC``, ``ResNet`` (Slow, C2D, I3D), ``SlowAC``, their ``PTV...`` variants, or
            ``unknown``. From names and shapes; only ResNet and SlowAC, which have the same weights,
            are told apart by the config.
        problem: for an unknown model, the first name that fits none; else None.
        pathways: 1 or 2; None, like the next four, where the model is unknown.
        depth: 50 for R50; None too where no code base has a name for it.
        width: channels of the slow stem, RESNET.WIDTH_PER_GROUP.
        num_classes: outputs of the classifier.
        num_parameters: trainable numbers; BatchNorm's statistics are not counted.
        alpha: SLOWFAST.ALPHA of the config. The weights do not tell.
        epoch: as in the file; PySlowFast counts from 0.
        config: the config in the file, or None.
        file_size: bytes.
        state_dict: every tensor, named as in the file.
    """

    path: str
    format: str
    container: str
    naming: str | None
    prefix: str
    model: str
    problem: str | None
    pathways: int | None
    depth: int | None
    width: int | None
    num_classes: int | None
    num_parameters: int
    alpha: int | None
    epoch: int | None
    config: dict | None = field(repr=False)
    file_size: int
    state_dict: dict[str, Tensor] = field(repr=False)

    def summary(self) -> dict:
        """Returns every field but the tensors, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "state_dict"}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Opens the weights of a local file or of a URL, which is downloaded to iopath's cache.

    Raises:
        InputError: the file is missing or damaged, holds no weights, wants to run code, or lies in
            a zoo and is not what the hash in its name promises.
    """
    local = _local(path)
    if is_entry(local):
        check_hash(local)
    container, format, state_dict, extras = read_weights(local)
    weights = {strip_prefix(name): tensor for name, tensor in state_dict.items()}
    naming, prefix = find_naming(state_dict) or (None, "")
    if format == "pyslowfast" and naming == "pytorchvideo" and "model." not in prefix:
        # PySlowFast keeps PyTorchVideo's networks in an attribute "model".
        format = "pytorchvideo"
    config = _read_config(local, extras.get("cfg"))
    layout, problem = _find_layout(weights, naming)
    return Checkpoint(
        path=str(path),
        format=format,
        container=container,
        naming=naming,
        prefix=prefix,
        model=_model_name(layout, naming, config),
        problem=problem,
        pathways=layout and layout.pathways,
        depth=layout and DEPTHS[naming].get(layout.blocks),
        width=layout and _rows(weights, layout, naming, "s1.pathway0_stem.conv.weight"),
        num_classes=layout and _rows(weights, layout, naming, "head.projection.weight"),
        num_parameters=_num_parameters(weights, naming),
        alpha=config_value(config, "SLOWFAST.ALPHA") if layout and layout.pathways == 2 else None,
        epoch=_epoch(extras.get("epoch")),
        config=config,
        file_size=local.stat().st_size,
        state_dict=state_dict,
    )


def config_value(config: dict | None, key: str) -> object:
    """Returns what a config in a checkpoint has under a key such as ``SLOWFAST.ALPHA``, or None."""
    value = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _local(path: str | Path) -> Path:
    if "://" not in str(path):
        return Path(path)
    try:
        return Path(PathManager.get_local_path(str(path)))
    except (OSError, AssertionError) as error:
        raise InputError(f"{path}: cannot be downloaded: {error}") from error


def _find_layout(
    weights: Mapping[str, Tensor], naming: str | None
) -> tuple[Layout | None, str | None]:
    """Returns the layout, or None and the reason why it is unknown."""
    if naming is None:
        return None, "the names are not PySlowFast's, PyTorchVideo's or caffe2's"
    try:
        layout = find_layout(weights, naming)
    except InputError as error:
        return None, str(error)
    spatial = name_table(layout, "pyslowfast", naming)["s2.pathway0_res0.branch2.b.weight"]
    if weights[spatial].ndim == 5 and weights[spatial].shape[2] != 1:
        return None, f"{spatial}: a kernel over frames too, which SlowFast and Slow have not (CSN?)"
    return layout, None


def _read_config(path: Path, text: object) -> dict | None:
    """Returns the config, or None where there is none or it is not plain YAML."""
    try:
        config = yaml.safe_load(text) if isinstance(text, str) else None
    except yaml.YAMLError:
        logger.warning("%s: its cfg is not plain YAML and is left out", path)
        return None
    return config if isinstance(config, dict) else None


def _model_name(layout: Layout | None, naming: str | None, config: dict | None) -> str:
    if layout is None:
        return "unknown"
    if layout.pathways == 2:
        name = "SlowFast" if layout.fused else "SlowFastAC"
    else:
        is_slow_ac = config_value(config, "MODEL.MODEL_NAME") == "SlowAC"
        name = "SlowAC" if is_slow_ac else "ResNet"
    return f"PTV{name}" if naming == "pytorchvideo" else name


def _rows(weights: Mapping[str, Tensor], layout: Layout, naming: str, pyslowfast: str) -> int:
    """Returns the output channels of the weight with this name in PySlowFast."""
    return weights[name_table(layout, "pyslowfast", naming)[pyslowfast]].shape[0]


def _num_parameters(weights: Mapping[str, Tensor], naming: str | None) -> int:
    statistics = ("_rm", "_riv", ".running_mean", ".running_var", ".num_batches_tracked")
    return sum(
        tensor.numel()
        for name, tensor in weights.items()
        if not name.endswith(statistics) and not (naming == "caffe2" and is_no_weight(name, naming))
    )


def _epoch(value: object) -> int | None:
    # Text in safetensors' metadata.
    return int(value) if isinstance(value, int) or str(value).isdecimal() else None
