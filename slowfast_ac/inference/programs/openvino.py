"""Converts networks to programs of OpenVINO, a runtime for CPUs; writes and opens them.

A program is two files, ``x.xml`` (operations, and the metadata of ``slowfast_ac`` in its rt_info)
and ``x.bin`` (weights). The first holds the hash of the second: neither is of use alone, and
copying or a kill may separate them.
"""

import contextlib
import ctypes
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from slowfast_ac.errors import InputError
from slowfast_ac.files import sha256

logger = logging.getLogger(__name__)

WEIGHTS = ".bin"
# OpenVINO's names. Layers that int8 leaves out, such as the softmax, are float32.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
_SECTION = "slowfast_ac"
_HASH = "weights_sha256"
_UNKNOWN_HASH = "0" * 64


def require(name: str, subject: str) -> ModuleType:
    """Imports ``openvino`` or ``nncf``.

    Raises:
        InputError: naming the subject, if the package is not installed.
    """
    loggers = logging.getLoggerClass()
    try:
        with without_telemetry():
            return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{subject}: needs {name}; pip install 'slowfast_ac[cpu]'") from None
    finally:
        # NNCF replaces the logger class of the whole process.
        logging.setLoggerClass(loggers)


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Keeps OpenVINO and NNCF from reporting conversions, to which nobody here agreed.

    They report unless a file in the user's home forbids it, or in continuous integration.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        del os.environ["CI"]
        if before is not None:
            os.environ["CI"] = before


class _SignalStack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2)."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextlib.contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Restores the alternate signal stack of the thread, which OpenVINO's CPU device replaces.

    Each device frees its own stack when it is freed and restores the one before it. That one may be
    freed already if another device came first, and then the next signal, such as Ctrl-C, ends the
    process with a segmentation fault.
    """
    sigaltstack = getattr(ctypes.CDLL(None), "sigaltstack", None) if os.name == "posix" else None
    if sigaltstack is None:
        yield
        return
    before = _SignalStack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)


def convert(model: nn.Module, clips: Tensor) -> Any:
    """Converts a network to OpenVINO's ``Model``, float32.

    Args:
        model: takes clips, see :class:`~slowfast_ac.inference.clip_model.InferenceModel`.
        clips: (N, 3, T, H, W), at least two; the program takes any N.

    Raises:
        InputError: if OpenVINO is missing or cannot convert the network.
    """
    openvino = require("openvino", "openvino")
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad(), without_telemetry():
            program = torch.export.export(model, (clips,), dynamic_shapes=({0: batch},))
            converted = openvino.convert_model(program)
    except Exception as error:  # torch and OpenVINO document no class of error for this
        raise InputError(
            f"OpenVINO cannot convert this network: {next(iter(str(error).splitlines()), error)}"
        ) from None
    converted.reshape([-1, *clips.shape[1:]])
    converted.inputs[0].set_names({"clip"})
    converted.outputs[0].set_names({"scores"})
    return converted


def compile_model(model: Any, precision: str) -> Callable[[Tensor], Tensor]:
    """Returns the function from clips (N, 3, T, H, W) to scores (N, L).

    Args:
        model: OpenVINO's ``Model``.
        precision: ``float32``, ``bfloat16`` (float32 with a warning if the CPU lacks it) or, for a
            model that NNCF quantized, ``int8``.
    """
    openvino = require("openvino", "openvino")
    hint = PRECISIONS[precision]
    # Set, since on some CPUs OpenVINO would choose bfloat16.
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    with keep_signal_stack():
        compiled = openvino.Core().compile_model(model, "CPU", options)
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != hint:
        logger.warning("this CPU has no %s: OpenVINO computes in %s", precision, taken)

    def run(clips: Tensor) -> Tensor:
        return torch.from_numpy(compiled([clips.numpy()])[0])

    return run


def write_openvino(model: Any, path: Path, metadata: Mapping[str, str], precision: str) -> None:
    """Writes ``path`` and, beside it, the weights.

    Args:
        model: OpenVINO's ``Model``.
        path: the .xml file.
        metadata: stored in it.
        precision: stored too, for :func:`compile_model`.
    """
    openvino = require("openvino", str(path))
    for key, text in {**metadata, "precision": precision, _HASH: _UNKNOWN_HASH}.items():
        model.set_rt_info(text, [_SECTION, key])
    weights = path.with_suffix(WEIGHTS)
    openvino.serialize(model, path, weights)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(_UNKNOWN_HASH, sha256(weights)), encoding="utf-8")


def open_openvino(path: str, local: Path) -> tuple[Callable[[Tensor], Tensor], Mapping[str, str]]:
    """Opens a program; returns the function from clips to scores, and the texts in the file.

    Args:
        path: its name, for messages.
        local: the .xml file.

    Raises:
        InputError: naming the file and what is wrong with it or with its weights.
    """
    openvino = require("openvino", path)
    weights = local.with_suffix(WEIGHTS)
    name = Path(path).with_suffix(WEIGHTS)
    if "://" in path or not weights.is_file():
        raise InputError(f"{path}: is one half of a program; put {name.name} beside it")
    try:
        model = openvino.Core().read_model(local, weights)
    except RuntimeError:
        raise InputError(
            f"{path}: damaged, or not an OpenVINO program; copy both files again"
        ) from None
    metadata: dict[str, str] = {}
    if model.has_rt_info([_SECTION]):
        metadata = dict(model.get_rt_info([_SECTION]).value)
    precision = metadata.get("precision", "float32")
    if precision not in PRECISIONS:
        raise InputError(f"{path}: precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if metadata.get("preprocessing") and metadata.get(_HASH) != sha256(weights):
        raise InputError(f"{path}: {name.name} is damaged or another program's; copy both again")
    return compile_model(model, precision), metadata
