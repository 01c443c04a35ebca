"""Exporting a trained network: as weights that travel, or as a program."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from slowfast_ac.checkpoint.convert import convert_checkpoint
from slowfast_ac.checkpoint.save import save_checkpoint
from slowfast_ac.errors import InputError
from slowfast_ac.inference.network import Network
from slowfast_ac.inference.program import ProgramReport, write_program

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


def export(
    network: Network, format: str, path: str | Path, precision: str = "float32"
) -> ProgramReport | None:
    """Writes one file, whole or not at all.

    Args:
        network: what to write.
        format: ``pyslowfast``, ``pytorchvideo`` (weights under these names), ``safetensors``
            (weights under PySlowFast's names), ``onnx`` or ``pt2`` (programs, see
            :func:`~slowfast_ac.inference.program.write_program`).
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
