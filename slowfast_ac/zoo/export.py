"""Exporting a trained network: as weights that travel, or as a program."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.checks import check_names, check_sizes
from slowfast_ac.pyslowfast.find import find
from slowfast_ac.pyslowfast.statistics import build_model
from slowfast_ac.zoo.convert import convert_checkpoint
from slowfast_ac.zoo.load import load_weights
from slowfast_ac.zoo.open import Checkpoint, open_checkpoint
from slowfast_ac.zoo.program import ProgramReport, write_program
from slowfast_ac.zoo.save import save_checkpoint

SUFFIXES = {
    "pyslowfast": ".pyth",
    "pytorchvideo": ".pyth",
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "pt2": ".pt2",
}
WEIGHT_FORMATS = ("pyslowfast", "pytorchvideo", "safetensors")
# The model of PySlowFast that has the same network under PySlowFast's own names.
_NATIVE_MODELS = {"PTVSlowFast": "SlowFast", "PTVSlowFastAC": "SlowFastAC", "PTVResNet": "ResNet"}
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
    if cfg.DETECTION.ENABLE:
        raise InputError(
            "DETECTION.ENABLE: only classifiers are exported; a detector needs boxes beside the "
            "clip"
        )
    check_names(cfg, find())
    check_sizes(cfg)
    if classes is not None and len(classes) != cfg.MODEL.NUM_CLASSES:
        raise InputError(
            f"MODEL.NUM_CLASSES: {cfg.MODEL.NUM_CLASSES}, but the class map names {len(classes)}"
        )
    opened = open_checkpoint(checkpoint)
    cfg = cfg.clone()
    cfg.NUM_GPUS = 0
    if "NORM_TYPE" in cfg.BN:  # not in the wheel
        # The other types differ in training only; upstream saves them all as this one.
        cfg.BN.NORM_TYPE = "batchnorm"
    cfg.merge_from_list([text for key in _LOCAL_PATHS for text in (key, "")])
    model = build_model(cfg)
    preprocessing = Preprocessing.from_config(cfg)
    load_weights(model, opened, num_classes=cfg.MODEL.NUM_CLASSES, alpha=preprocessing.alpha)
    return Network(model, cfg, opened, preprocessing, classes)


def export(
    network: Network, format: str, path: str | Path, precision: str = "float32"
) -> ProgramReport | None:
    """Writes one file, whole or not at all.

    Args:
        network: what to write.
        format: ``pyslowfast``, ``pytorchvideo`` (weights under these names), ``safetensors``
            (weights under PySlowFast's names), ``onnx`` or ``pt2`` (programs, see
            :func:`~slowfast_ac.zoo.program.write_program`).
        path: with the format's suffix.
        precision: of the program's convolutions, see :func:`check_precision`.

    Returns:
        For a program what was measured, for weights None.

    Raises:
        InputError: for another suffix, a network that the format cannot hold, or a program whose
            scores are not the network's.
    """
    check_suffix(format, path)
    check_precision(format, precision)
    metadata = {
        "model": network.model_name,
        "preprocessing": json.dumps(network.preprocessing.to_dict()),
    }
    if network.classes is not None:
        metadata["classes"] = json.dumps(dict(network.classes))
    if format not in WEIGHT_FORMATS:
        return write_program(
            network.model, network.preprocessing, format, path, metadata, precision
        )
    _write_weights(network, format, path, metadata)
    return None


def check_suffix(format: str, path: str | Path) -> None:
    """Refuses a file name whose suffix is not the format's.

    Raises:
        InputError: naming the file.
    """
    if Path(path).suffix != SUFFIXES[format]:
        raise InputError(f"{path}: the suffix of --format {format} is {SUFFIXES[format]}")


def check_precision(format: str, precision: str) -> None:
    """Refuses bfloat16 but for pt2: weights stay as they are, and ONNX Runtime cannot run it.

    Raises:
        InputError: saying so.
    """
    if precision == "float32" or format == "pt2":
        return
    if format == "onnx":
        reason = "ONNX Runtime has no convolution in bfloat16 on a CPU; take pt2"
    else:
        reason = "weights are exported as they are; `predict --precision` takes any of them"
    raise InputError(f"--precision: {precision} is not for --format {format}: {reason}")


def _write_weights(
    network: Network, format: str, path: str | Path, metadata: Mapping[str, str]
) -> None:
    target = "pytorchvideo" if format == "pytorchvideo" else "pyslowfast"
    # The config that built the network decides, whether or not the checkpoint came with one.
    config = yaml.safe_load(network.config.dump())
    checkpoint = dataclasses.replace(network.checkpoint, config=config)
    weights, _ = convert_checkpoint(checkpoint, target)
    cfg = network.config.clone()
    if target == "pyslowfast":
        # A config under which PySlowFast can load these names.
        cfg.MODEL.MODEL_NAME = _NATIVE_MODELS.get(cfg.MODEL.MODEL_NAME, cfg.MODEL.MODEL_NAME)
    epoch, config = network.checkpoint.epoch, yaml.safe_load(cfg.dump())
    save_checkpoint(path, weights, epoch=epoch, config=config, extras=metadata)
