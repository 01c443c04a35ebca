"""Opens the programs that ``slowfast-ac export`` writes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.programs.openvino import open_openvino

PROGRAMS = (".onnx", ".pt2", ".xml")
RUNTIMES = {".onnx": "ONNX Runtime", ".xml": "OpenVINO"}
METADATA = ("model", "preprocessing", "classes")


class Program(NamedTuple):
    """A program and its metadata.

    Args:
        run: maps clips (N, 3, T, H, W), normalised, any N, to scores (N, L), on the CPU.
        preprocessing: how clips are made.
        metadata: the texts in the file: ``model``, ``preprocessing``, ``classes``.
    """

    run: Callable[[Tensor], Tensor]
    preprocessing: Preprocessing
    metadata: Mapping[str, str]


def open_program(path: str, local: Path, trust: bool) -> Program:
    """Opens a program.

    Args:
        path: its name, for messages.
        local: the file.
        trust: whether to open a .pt2 file, which can run any code.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    if not local.is_file():
        raise InputError(f"{path}: no such file")
    if local.suffix == ".xml":
        run, metadata = open_openvino(path, local)
    elif local.suffix == ".onnx":
        run, metadata = open_onnx(path, local)
    else:
        run, metadata = _open_pt2(path, local, trust)
    if not metadata.get("preprocessing"):
        raise InputError(
            f"{path}: does not state what frames it takes; write it with slowfast-ac export"
        )
    try:
        settings = json.loads(metadata["preprocessing"])
        preprocessing = Preprocessing.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: preprocessing: {error}") from None
    return Program(run, preprocessing, metadata)


def open_onnx(path: str, local: Path) -> tuple[Callable[[Tensor], Tensor], Mapping[str, str]]:
    """Opens a program of ONNX Runtime; see :func:`~.openvino.open_openvino`."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError:
        raise InputError(f"{path}: needs onnxruntime; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    # As many as torch uses: an export times the program against the eager network.
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(local, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument):
        raise InputError(f"{path}: damaged, or not an ONNX program; copy it again") from None
    name = session.get_inputs()[0].name

    def run(clip: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: clip.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map


def _open_pt2(
    path: str, local: Path, trust: bool
) -> tuple[Callable[[Tensor], Tensor], Mapping[str, str]]:
    if not trust:
        raise InputError(
            f"{path}: not opened, since a .pt2 file can run any code; add --trust if you made it "
            "or trust its author; .onnx and .safetensors need no trust"
        )
    metadata: dict[str, object] = dict.fromkeys(METADATA, "")
    try:
        program = torch.export.load(local, extra_files=metadata)
    except Exception as error:  # torch documents no class of error for a damaged archive
        raise InputError(
            f"{path}: damaged, or not a program of torch.export: {str(error).splitlines()[0]}"
        ) from None
    return program.module(), {name: str(text) for name, text in metadata.items()}
