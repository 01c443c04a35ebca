"""Writes programs that run without this package, and compares them with the network."""

import contextlib
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, atomic_pair, atomic_path
from slowfast_ac.inference.clip_model import InferenceModel
from slowfast_ac.inference.optimize import optimize_network
from slowfast_ac.inference.programs.open import open_program
from slowfast_ac.inference.programs.openvino import (
    WEIGHTS,
    compile_model,
    convert,
    write_openvino,
)

# Largest allowed difference of a score, which is in [0, 1], between eager PyTorch in float32 and
# the written file; for int8 between the quantized network, measured on videos, and the file.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2, "int8": 1e-4}
BATCH_SIZES = (1, 3)
TIMED_PAIRS = 5


@dataclass(frozen=True)
class ProgramReport:
    """The measurements of a written program.

    Args:
        max_difference: largest difference of a score from eager PyTorch's; for int8 see TOLERANCE.
        latency_ratio: the program's time for one clip over eager PyTorch's, median of pairs.
    """

    max_difference: float
    latency_ratio: float


def write_program(
    network: nn.Module,
    preprocessing: Preprocessing,
    format: str,
    path: StrPath,
    metadata: Mapping[str, str],
    precision: str = "float32",
    quantized: Any = None,
) -> ProgramReport:
    """Writes a network as a program from clips (N, 3, T, H, W), any N, to scores (N, L).

    The file is loaded again and must give the network's scores; otherwise it is not kept.

    Args:
        network: in evaluation mode, on the CPU, with its BatchNorm layers.
        preprocessing: T, H = W, and the slow pathway's frames.
        format: ``onnx``, ``pt2`` or ``openvino``.
        path: the file.
        metadata: stored in it.
        precision: of the convolutions; clips and scores are float32.
        quantized: for int8 the network as OpenVINO's ``Model``, see
            :func:`~slowfast_ac.inference.programs.quantize.quantize`.

    Raises:
        InputError: if a score differs by more than TOLERANCE.
    """
    eager = InferenceModel(network, preprocessing).eval()
    with _program_path(path, format) as temporary:
        with quiet_exporters():
            if format == "openvino":
                model = quantized or to_openvino(network, preprocessing)
                write_openvino(model, temporary, metadata, precision)
            else:
                write = {"onnx": write_onnx, "pt2": write_pt2}[format]
                # ONNX Runtime chooses its own memory layout.
                optimized = optimize_network(network, precision, channels_last=format != "onnx")
                folded = InferenceModel(optimized, preprocessing).eval()
                write(folded, random_clips(preprocessing, 2), temporary, metadata)
            program = open_program(str(path), temporary, trust=True).run
        reference = compile_model(quantized, precision) if quantized else eager
        difference = max_difference(program, reference, preprocessing)
        # Written so that NaN is refused as well.
        if not difference <= TOLERANCE[precision]:
            raise InputError(
                f"{path}: not written, since its scores differ from the network's by "
                f"{difference:.3g}, more than {TOLERANCE[precision]:g}"
            )
        ratio = latency_ratio(program, eager, random_clips(preprocessing, 1))
    return ProgramReport(difference, ratio)


def to_openvino(network: nn.Module, preprocessing: Preprocessing) -> Any:
    """Returns a network as OpenVINO's ``Model`` from clips to scores, float32.

    Raises:
        InputError: if OpenVINO is missing or cannot convert it.
    """
    # OpenVINO folds BatchNorm itself, in any network; folded here, it converts faster.
    with contextlib.suppress(InputError):
        network = optimize_network(network, channels_last=False)
    return convert(InferenceModel(network, preprocessing).eval(), random_clips(preprocessing, 2))


def run_by_openvino(
    network: nn.Module, preprocessing: Preprocessing, precision: str
) -> Callable[[Tensor], Tensor]:
    """Returns OpenVINO's function from clips to scores, checked against the network on a clip.

    Raises:
        InputError: if OpenVINO is missing, cannot convert the network, or gives different scores.
    """
    run = compile_model(to_openvino(network, preprocessing), precision)
    eager = InferenceModel(network, preprocessing).eval()
    difference = max_difference(run, eager, preprocessing, BATCH_SIZES[:1])
    if not difference <= TOLERANCE[precision]:
        raise InputError(
            f"OpenVINO's scores differ from torch's by {difference:.3g}, more than "
            f"{TOLERANCE[precision]:g}; take --backend torch"
        )
    return run


def random_clips(preprocessing: Preprocessing, count: int) -> Tensor:
    """Returns ``count`` clips of seeded noise, (count, 3, T, H, W)."""
    size = (preprocessing.num_frames, preprocessing.crop_size, preprocessing.crop_size)
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def max_difference(
    program: Callable[[Tensor], Tensor],
    eager: Callable[[Tensor], Tensor],
    preprocessing: Preprocessing,
    sizes: Sequence[int] = BATCH_SIZES,
) -> float:
    """Returns the largest difference of a score on noise in batches of these sizes, or NaN."""
    differences = []
    for size in sizes:
        clips = random_clips(preprocessing, size)
        differences.append((program(clips) - eager(clips)).abs().max())
    return float(torch.stack(differences).max())


@torch.no_grad()
def latency_ratio(program: Callable[[Tensor], Tensor], eager: nn.Module, clips: Tensor) -> float:
    """Returns the program's time over eager PyTorch's, the median of TIMED_PAIRS pairs of runs."""
    ratios = []
    for _ in range(TIMED_PAIRS):
        seconds = []
        for function in (eager, program):
            start = time.perf_counter()
            function(clips)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def write_onnx(model: nn.Module, clips: Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a program for ONNX Runtime, from clips of at least two."""
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError("--format onnx: needs onnxscript; pip install onnx onnxscript") from None
    program = torch.onnx.export(
        model,
        (clips,),
        dynamo=True,
        verbose=False,
        input_names=["clip"],
        output_names=["scores"],
        dynamic_shapes=({0: "batch"},),
    )
    assert program is not None  # with dynamo there is one
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def write_pt2(model: nn.Module, clips: Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a program of torch.export, from clips of at least two."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (clips,), dynamic_shapes=({0: batch},))
    # Type conversions assert the device that they were traced on, and would fail on a GPU.
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.target is torch.ops.aten._assert_tensor_metadata.default:
                    module.graph.erase_node(node)
            module.recompile()
    torch.export.save(program, path, extra_files=dict(metadata))


def _program_path(path: StrPath, format: str) -> AbstractContextManager[Path]:
    return atomic_pair(path, WEIGHTS) if format == "openvino" else atomic_path(path)


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Silences the exporters' routine log lines and warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
