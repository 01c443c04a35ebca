"""Opens any checkpoint of SlowFast or Slow, which is recognised by its content."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from fvcore.common.file_io import PathManager
from torch import Tensor

from slowfast_ac.checkpoint.folder import HUB, WEIGHTS, download, read_folder, weights_path
from slowfast_ac.checkpoint.names import DEPTHS, Layout, find_layout, is_no_weight, name_table
from slowfast_ac.checkpoint.read import read_file
from slowfast_ac.checkpoint.weights import Weights, choose_weights, find_weights
from slowfast_ac.config import config_value
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath

logger = logging.getLogger(__name__)
# Texts that `export` and `convert` store beside the weights.
TEXTS = ("classes", "preprocessing")


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a file and the properties of their network.

    Args:
        path: the file, as given.
        format: origin of the file: ``pyslowfast``, ``pytorchvideo`` (its zoo), ``caffe2``
            (PySlowFast's old zoo), ``safetensors``, or ``state_dict`` (only weights).
        container: the kind of file; see :func:`~slowfast_ac.checkpoint.sniff.sniff`.
        naming: ``pyslowfast``, ``pytorchvideo``, ``caffe2``, or None for any other naming.
        prefix: the prefix of every name, such as ``module.`` or ``model.net.``; usually empty.
        weights: the key of the weights in the file, such as ``model_state`` or ``state_dict_ema``.
        model: the class of PySlowFast or of this package that has these weights: ``SlowFast``,
            ``SlowFastAC``, ``ResNet`` (Slow, C2D, I3D), ``SlowAC``, their ``PTV...`` variants, or
            ``unknown``. It follows from names and shapes, except that the config distinguishes
            ResNet from SlowAC, which have the same weights.
        problem: for an unknown model, the first name that fits no known one; otherwise None.
        pathways: 1 or 2; None, like the next four, if the model is unknown.
        depth: 50 for R50; also None if no code base has a name for it.
        width: channels of the slow stem, RESNET.WIDTH_PER_GROUP.
        num_classes: outputs of the classifier.
        num_parameters: number of trainable parameters, without BatchNorm's statistics.
        alpha: SLOWFAST.ALPHA of the config; it cannot be inferred from the weights.
        epoch: as in the file; PySlowFast counts from 0.
        config: the config in the file, or None.
        file_size: size of the file in bytes.
        state_dict: every tensor of the network, named as in the file.
        aside: names of other tensors in the same dict, which do not belong to the network.
        texts: JSON texts beside the weights: ``classes``, ``preprocessing``.
    """

    path: str
    format: str
    container: str
    naming: str | None
    prefix: str
    weights: str
    model: str
    problem: str | None
    pathways: int | None
    depth: int | None
    width: int | None
    num_classes: int | None
    num_parameters: int
    alpha: int | None
    epoch: int | None
    config: dict[str, object] | None = field(repr=False)
    file_size: int
    state_dict: dict[str, Tensor] = field(repr=False)
    aside: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def summary(self) -> dict[str, object]:
        """Returns every field but the tensors, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "state_dict"}


def open_checkpoint(path: StrPath, weights: str | None = None) -> Checkpoint:
    """Opens the weights of a file, a folder or a URL, which is downloaded to iopath's cache.

    Args:
        path: the file, the URL of one, or a folder in HuggingFace's layout, local or in a
            repository ``hf://OWNER/NAME``; see :mod:`slowfast_ac.checkpoint.folder`.
        weights: name of the weights to use if a file has several networks, or both raw and averaged
            weights; see :func:`~slowfast_ac.checkpoint.weights.choose_weights`.

    Raises:
        InputError: if the file is missing or damaged, contains no weights or those of several
            networks, would run code, or does not match the config beside it.
    """
    local = local_path(path)
    container, found = _read(str(path), local)
    return _describe(str(path), local, container, choose_weights(str(path), found, weights))


def open_all(path: str | Path) -> list[Checkpoint]:
    """Opens a file as :func:`open_checkpoint` does, and returns all of its networks.

    Raises:
        InputError: as :func:`open_checkpoint`.
    """
    local = local_path(path)
    container, found = _read(str(path), local)
    return [_describe(str(path), local, container, weights) for weights in found]


def local_path(path: StrPath) -> Path:
    """Returns the local path of a file, or of a folder's weights; downloads it if necessary.

    Raises:
        InputError: if it cannot be downloaded.
    """
    if str(path).startswith(HUB):
        return download(str(path)) / WEIGHTS
    if "://" not in str(path):
        return weights_path(Path(path))
    try:
        return Path(PathManager.get_local_path(str(path)))
    except (OSError, AssertionError) as error:
        raise InputError(f"{path}: cannot be downloaded: {error}") from error


def _read(path: str, local: Path) -> tuple[str, list[Weights]]:
    container, data = read_file(local)
    beside = read_folder(local)
    if beside is not None:
        data = {**beside, "state_dict": data["state_dict"]}
    return container, find_weights(path, data)


def _describe(path: str, local: Path, container: str, found: Weights) -> Checkpoint:
    naming, prefix = found.naming, found.prefix
    weights = {name.removeprefix(prefix): tensor for name, tensor in found.state_dict.items()}
    format = "safetensors" if container == "safetensors" else found.format
    if format == "pyslowfast" and naming == "pytorchvideo" and "model." not in prefix:
        # PySlowFast stores PyTorchVideo's networks in an attribute "model".
        format = "pytorchvideo"
    config = _read_config(local, found.extras.get("cfg"))
    layout, problem = _find_layout(weights, naming)
    two = layout is not None and layout.pathways == 2
    return Checkpoint(
        path=path,
        format=format,
        container=container,
        naming=naming,
        prefix=prefix,
        weights=found.name,
        model=_model_name(layout, naming, config),
        problem=problem,
        pathways=layout.pathways if layout else None,
        depth=DEPTHS[naming].get(layout.blocks) if layout and naming else None,
        width=_rows(weights, layout, naming, "s1.pathway0_stem.conv.weight"),
        num_classes=_rows(weights, layout, naming, "head.projection.weight"),
        num_parameters=_num_parameters(weights, naming),
        alpha=_whole(config_value(config, "SLOWFAST.ALPHA")) if two else None,
        epoch=_whole(found.extras.get("epoch")),
        config=config,
        file_size=local.stat().st_size,
        state_dict=found.state_dict,
        aside=found.aside,
        texts=_texts(found.extras),
    )


def _texts(extras: Mapping[object, object]) -> dict[str, str]:
    texts = {name: value for name in TEXTS if isinstance(value := extras.get(name), str)}
    # Other code stores the names as lists or dicts.
    classes = extras.get("classes")
    if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
        texts["classes"] = json.dumps(classes)
    if isinstance(classes, Mapping):
        kinds = {(type(key), type(value)) for key, value in classes.items()}
        if kinds in ({(str, int)}, {(int, str)}):
            texts["classes"] = json.dumps(dict(classes))
    return texts


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
        return None, f"{spatial}: kernel spans several frames, unlike in SlowFast or Slow (CSN?)"
    return layout, None


def _read_config(path: Path, value: object) -> dict[str, object] | None:
    """Returns the config, if it is YAML or a dict, or None."""
    if isinstance(value, Mapping) and value:
        return _plain(value)
    try:
        config = yaml.safe_load(value) if isinstance(value, str) else None
    except yaml.YAMLError:
        logger.warning("%s: its cfg is not plain YAML and is left out", path)
        return None
    return config if isinstance(config, dict) else None


def _plain(config: Mapping[object, object]) -> dict[str, object]:
    return {
        str(key): _plain(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
    }


def _model_name(
    layout: Layout | None, naming: str | None, config: Mapping[str, object] | None
) -> str:
    if layout is None:
        return "unknown"
    if layout.pathways == 2:
        name = "SlowFast" if layout.fused else "SlowFastAC"
    else:
        is_slow_ac = config_value(config, "MODEL.MODEL_NAME") == "SlowAC"
        name = "SlowAC" if is_slow_ac else "ResNet"
    return f"PTV{name}" if naming == "pytorchvideo" else name


def _rows(
    weights: Mapping[str, Tensor], layout: Layout | None, naming: str | None, pyslowfast: str
) -> int | None:
    """Returns the output channels of the weight with this name in PySlowFast."""
    if layout is None or naming is None:
        return None
    return weights[name_table(layout, "pyslowfast", naming)[pyslowfast]].shape[0]


def _num_parameters(weights: Mapping[str, Tensor], naming: str | None) -> int:
    statistics = ("_rm", "_riv", ".running_mean", ".running_var", ".num_batches_tracked")
    return sum(
        tensor.numel()
        for name, tensor in weights.items()
        if not name.endswith(statistics) and not (naming == "caffe2" and is_no_weight(name, naming))
    )


def _whole(value: object) -> int | None:
    # safetensors stores metadata as text.
    is_number = isinstance(value, int) or str(value).isdecimal()
    return int(str(value)) if is_number and not isinstance(value, bool) else None
