"""Exports a trained network, as weights or as a program."""

import dataclasses
import json
from collections.abc import Mapping

import yaml
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast_ac.checkpoint.convert import convert_checkpoint
from slowfast_ac.checkpoint.save import save_checkpoint
from slowfast_ac.config import without_paths
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, check_suffix
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.programs.quantize import Quantized
from slowfast_ac.inference.programs.write import ProgramReport, write_program

SUFFIXES = {
    "pyslowfast": ".pyth",
    "pytorchvideo": ".pyth",
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "pt2": ".pt2",
    "openvino": ".xml",
}
WEIGHT_FORMATS = ("pyslowfast", "pytorchvideo", "safetensors")
# In addition to float32.
PRECISIONS = {"pt2": ("bfloat16",), "openvino": ("bfloat16", "int8")}
# The model of PySlowFast that has the same network under PySlowFast's own names.
_NATIVE_MODELS = {"PTVSlowFast": "SlowFast", "PTVSlowFastAC": "SlowFastAC", "PTVResNet": "ResNet"}


def export(
    model: TrainedModel,
    format: str,
    path: StrPath,
    precision: str = "float32",
    quantized: Quantized | None = None,
) -> ProgramReport | None:
    """Writes one file, or OpenVINO's two, whole or not at all.

    Args:
        model: what to write, on the CPU.
        format: ``pyslowfast``, ``pytorchvideo`` (weights under these names), ``safetensors``
            (weights under PySlowFast's names), ``onnx``, ``pt2`` or ``openvino`` (programs, see
            :func:`~slowfast_ac.inference.programs.write.write_program`).
        path: with the format's suffix.
        precision: of the program's convolutions, see :func:`check_precision`.
        quantized: the network in int8, only for that precision.

    Returns:
        A program's measurements; None for weights.

    Raises:
        InputError: for a wrong suffix, a network that the format cannot hold, or a program whose
            scores differ from the network's.
    """
    network = model.require_network("export")
    check_format(format, path)
    check_precision(format, precision)
    metadata = {"model": model.name, "preprocessing": json.dumps(model.preprocessing.to_dict())}
    if model.classes is not None:
        metadata["classes"] = json.dumps({name: i for i, name in enumerate(model.classes)})
    if format not in WEIGHT_FORMATS:
        program = quantized.model if quantized else None
        return write_program(
            network, model.preprocessing, format, path, metadata, precision, program
        )
    _write_weights(model, format, path, metadata)
    return None


def check_format(format: str, path: StrPath) -> None:
    """Rejects a file name whose suffix is not the format's.

    Raises:
        InputError: naming the file.
    """
    check_suffix(path, [SUFFIXES[format]], f"--format {format}")


def check_precision(format: str, precision: str) -> None:
    """Rejects a precision that a format lacks: weights keep their own, ONNX has only float32.

    Raises:
        InputError: naming the precision and the format.
    """
    if precision == "float32" or precision in PRECISIONS.get(format, ()):
        return
    if format not in WEIGHT_FORMATS:
        take = " or ".join(name for name, known in PRECISIONS.items() if precision in known)
        reason = f"take {take}"
    else:
        reason = "weights are exported as they are; `predict --precision` takes any of them"
    raise InputError(f"--precision: {precision} is not for --format {format}: {reason}")


def converted_weights(model: TrainedModel, naming: str) -> tuple[dict[str, Tensor], CfgNode]:
    """Returns a network's weights under a code base's names, and the config that fits them.

    Args:
        model: weights, not a program.
        naming: ``pyslowfast`` or ``pytorchvideo``.

    Raises:
        InputError: for a network that the code base does not have.
    """
    assert model.checkpoint is not None
    cfg = without_paths(model.given_config)
    # The config that built the network decides, whether or not the checkpoint came with one.
    checkpoint = dataclasses.replace(model.checkpoint, config=yaml.safe_load(cfg.dump()))
    weights, _ = convert_checkpoint(checkpoint, naming)
    if naming == "pyslowfast":
        # A model into which PySlowFast can load these names.
        cfg.MODEL.MODEL_NAME = _NATIVE_MODELS.get(cfg.MODEL.MODEL_NAME, cfg.MODEL.MODEL_NAME)
    return dict(weights), cfg


def _write_weights(
    model: TrainedModel, format: str, path: StrPath, metadata: Mapping[str, str]
) -> None:
    assert model.checkpoint is not None
    naming = "pytorchvideo" if format == "pytorchvideo" else "pyslowfast"
    weights, cfg = converted_weights(model, naming)
    config = yaml.safe_load(cfg.dump())
    save_checkpoint(path, weights, epoch=model.checkpoint.epoch, config=config, extras=metadata)
