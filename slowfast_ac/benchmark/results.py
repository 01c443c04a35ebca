"""Writes the files of a benchmark: bench.md, bench.csv, bench.json and bench.png.

A row is a dict of ``name`` and those of the following that were measured:

=========================  ========================================================================
params                     parameters
forward_gflops             10^9 multiply-adds of convolutions and matrix products, one clip
backward_gflops            the same for the backward pass, recomputation included
gflops                     the sum of both; at inference only forward
saved_mebibytes            memory per step that autograd keeps from forward until backward
peak_mebibytes             peak of the memory in use, gradients included; counted
cuda_peak_mebibytes        CUDA's own peak, weights and optimizer included
seconds, clips_per_second  median; ``_low`` and ``_high`` are the quartiles
score_difference           largest difference of a score from the network as upstream runs it
held_mebibytes             decoded frames held at once
video_seconds              length of the decoded video
..._ratio                  to the baseline; for seconds the median of the ratios of all rounds
=========================  ========================================================================
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch

from slowfast_ac.figures import saved_figure
from slowfast_ac.files import atomic_path, write_json, write_text

Draw = Callable[[str, Sequence[Mapping[str, Any]], Path], None]


@dataclass(frozen=True)
class Column:
    """One column of the markdown table.

    Attributes:
        key: of a row.
        title: heading.
        digits: after the decimal point.
        factor: of the value.
        spread: whether its quartiles follow in brackets.
    """

    key: str
    title: str
    digits: int
    factor: float = 1.0
    spread: bool = False


COLUMNS = (
    Column("video_seconds", "video s", 0),
    Column("params", "params M", 2, 1e-6),
    Column("forward_gflops", "forward GFLOPs", 2),
    Column("backward_gflops", "backward GFLOPs", 2),
    Column("gflops", "GFLOPs per clip", 2),
    Column("gflops_ratio", "ratio", 3),
    Column("saved_mebibytes", "saved MiB", 0),
    Column("saved_mebibytes_ratio", "ratio", 3),
    Column("peak_mebibytes", "counted peak MiB", 0),
    Column("peak_mebibytes_ratio", "ratio", 3),
    Column("cuda_peak_mebibytes", "CUDA peak MiB", 0),
    Column("cuda_peak_mebibytes_ratio", "ratio", 3),
    Column("seconds", "ms", 1, 1e3, spread=True),
    Column("seconds_ratio", "ratio", 3, spread=True),
    Column("clips_per_second", "clips/s", 1),
    Column("score_difference", "score difference, 1e-6", 3, 1e6),
    Column("held_mebibytes", "frames held MiB", 0),
)


def describe_machine(device: torch.device) -> dict[str, object]:
    """Returns the conditions of a measurement: device, versions and threads."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def write_bench(
    output: Path,
    title: str,
    settings: Mapping[str, object],
    rows: Sequence[Mapping[str, Any]],
    draw: Draw | None = None,
) -> Path:
    """Writes the four files.

    Args:
        output: folder.
        title: of the table and the picture.
        settings: what was run, and where.
        rows: the first is the baseline.
        draw: draws the picture from title, rows and path; by default :func:`draw_ratios`.

    Returns:
        The path of bench.md.
    """
    write_json(output / "bench.json", {"title": title, "settings": settings, "rows": list(rows)})
    with atomic_path(output / "bench.csv") as temporary:
        pandas.DataFrame(rows).to_csv(temporary, index=False)
    (draw or draw_ratios)(title, rows, output / "bench.png")
    path = output / "bench.md"
    write_text(path, markdown(title, settings, rows))
    return path


def markdown(title: str, settings: Mapping[str, object], rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table as text."""
    columns = [column for column in COLUMNS if any(column.key in row for row in rows)]
    lines = [f"# {title}", "", ", ".join(f"{key}: {value}" for key, value in settings.items()), ""]
    if any("seconds" in row for row in rows):
        lines += [
            "Times are medians, in brackets the quartiles; ratios are taken round by round.",
            "",
        ]
    table = pandas.DataFrame(
        [[row["name"], *(_cell(column, row) for column in columns)] for row in rows],
        columns=["", *(column.title for column in columns)],
    )
    lines.append(table.to_markdown(index=False, disable_numparse=True))
    return "\n".join(lines) + "\n"


def draw_ratios(title: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws every ratio to the baseline; times with their quartiles."""
    keys = [key for key in _RATIOS if any(key in row for row in rows)]
    size = (1.5 + 3.2 * max(len(keys), 1), 1.2 + 0.4 * len(rows))
    with saved_figure(path, figsize=size) as figure:
        figure.suptitle(title)
        names = [_label(row) for row in rows]
        axes = figure.subplots(1, max(len(keys), 1), sharey=True, squeeze=False)[0]
        for axis, key in zip(axes, keys, strict=False):
            values = [row.get(key, 0.0) for row in rows]
            low = [v - row.get(f"{key}_low", v) for v, row in zip(values, rows, strict=True)]
            high = [row.get(f"{key}_high", v) - v for v, row in zip(values, rows, strict=True)]
            axis.barh(names, values, xerr=[low, high], color="tab:blue", ecolor="black")
            axis.axvline(1.0, color="black", linewidth=0.8)
            axis.set_title(_RATIOS[key], fontsize=10)
            for position, value in enumerate(values):
                axis.text(0.02, position, f"{value:.3f}", va="center", color="white", fontsize=8)
        axes[0].invert_yaxis()


_RATIOS = {
    "gflops_ratio": "operations, ratio",
    "saved_mebibytes_ratio": "saved for backward, ratio",
    "peak_mebibytes_ratio": "counted peak, ratio",
    "cuda_peak_mebibytes_ratio": "CUDA peak, ratio",
    "seconds_ratio": "time, ratio",
}


def _label(row: Mapping[str, Any]) -> str:
    length = row.get("video_seconds")
    return str(row["name"]) if length is None else f"{row['name']}, {length:g} s"


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    if column.key not in row:
        return ""

    def text(key: str) -> str:
        return f"{row[key] * column.factor:.{column.digits}f}"

    if not column.spread:
        return text(column.key)
    return f"{text(column.key)} ({text(column.key + '_low')}-{text(column.key + '_high')})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
