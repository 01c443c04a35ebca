"""Runs a network in the CPU runtimes that ``slowfast-ac export`` writes programs for."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.inference.clip_model import InferenceModel
from slowfast_ac.inference.optimize import optimize_network
from slowfast_ac.inference.programs.open import open_onnx
from slowfast_ac.inference.programs.openvino import compile_model
from slowfast_ac.inference.programs.quantize import quantize_program
from slowfast_ac.inference.programs.write import (
    quiet_exporters,
    random_clips,
    to_openvino,
    write_onnx,
)

# Rows, and the packages that each needs.
RUNTIMES = {
    "onnx": ("onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "openvino_bfloat16": ("openvino",),
    "openvino_int8": ("openvino", "nncf"),
}
# Clips of noise that calibrate int8.
CALIBRATION = 8


def without_missing(names: Sequence[str], device: torch.device) -> list[str]:
    """Returns the rows that can run here; prints on stderr what the others lack."""
    kept = []
    for name in names:
        how = name.partition("_")[2]
        missing = [package for package in RUNTIMES.get(how, ()) if not find_spec(package)]
        if how in RUNTIMES and device.type != "cpu":
            print(f"slowfast-ac: no {name}: a runtime for CPUs", file=sys.stderr)
        elif missing:
            print(f"slowfast-ac: no {name}: needs {' and '.join(missing)}", file=sys.stderr)
        else:
            kept.append(name)
    return kept


def load_runtime(
    network: nn.Module, preprocessing: Preprocessing, how: str
) -> Callable[[Tensor], Tensor]:
    """Returns the function from clips (N, 3, T, H, W) to scores in one of :data:`RUNTIMES`.

    Args:
        network: in evaluation mode, on the CPU.
        preprocessing: T, H = W, and the slow pathway's frames.
        how: the runtime; int8 is calibrated on noise.
    """
    with quiet_exporters():
        if how == "onnx":
            folded = optimize_network(network, channels_last=False)
            model = InferenceModel(folded, preprocessing).eval()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                write_onnx(model, random_clips(preprocessing, 2), path, {})
                return open_onnx(str(path), path)[0]
        converted = to_openvino(network, preprocessing)
    if how != "openvino_int8":
        return compile_model(converted, "bfloat16" if "bfloat16" in how else "float32")
    clips = [clip.numpy() for clip in random_clips(preprocessing, CALIBRATION).split(1)]
    return compile_model(quantize_program(converted, clips, CALIBRATION), "int8")
