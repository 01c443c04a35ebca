"""Measures how a training step's cost grows with batch, classes, frames and scales."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast_ac.benchmark.networks import check_only
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.train import bench_train
from slowfast_ac.figures import saved_figure

METHOD = "ac_scam"
# Values of each axis. One axis is varied at a time, with the config's values on the others. Frames
# are those of the slow pathway; scales is the number of SCAM's scales.
AXES: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 4),
    "classes": (10, 100, 1000, 10000),
    "frames": (4, 8, 16),
    "scales": (1, 2, 3, 4),
}
# The axis ``scales`` takes the first of these.
SCALES = (1.0, 0.5, 0.75, 0.625)


def bench_scaling(cfg: CfgNode, settings: Settings) -> list[dict[str, Any]]:
    """Measures the fused baseline and the method along each axis.

    Args:
        cfg: a config with two pathways.
        settings: how to measure; ``batch`` applies to the other axes, ``only`` has names of
            :data:`AXES`.

    Returns:
        Two rows per point, as in ``bench_train``, with ``axis`` and ``value``.

    Raises:
        InputError: for an unknown axis.
    """
    check_only(list(AXES), settings.only)
    rows = []
    for axis, values in AXES.items():
        if settings.only and axis not in settings.only:
            continue
        for value in values:
            batch = value if axis == "batch" else settings.batch
            point = replace(settings, batch=batch, only=(METHOD,))
            for row in bench_train(_at(cfg, axis, value), point):
                name = f"{row['name']}, {axis} {value}"
                rows.append({**row, "name": name, "axis": axis, "value": value})
    return rows


def draw_scaling(title: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws time and counted memory along each axis, the baseline dashed."""
    axes_names = list(dict.fromkeys(row["axis"] for row in rows))
    labels = {"seconds": "s per step", "gflops": "GFLOPs per clip", "peak_mebibytes": "peak MiB"}
    shown = {key: label for key, label in labels.items() if key in rows[0]}
    size = (3.2 * len(axes_names), 2.6 * len(shown))
    with saved_figure(path, figsize=size) as figure:
        figure.suptitle(title)
        panels = figure.subplots(len(shown), len(axes_names), squeeze=False)
        for line, (key, label) in zip(panels, shown.items(), strict=True):
            for panel, axis in zip(line, axes_names, strict=True):
                for name, style in (("fused", "o--"), (METHOD, "o-")):
                    own = [
                        r for r in rows if r["axis"] == axis and r["name"].startswith(f"{name},")
                    ]
                    panel.plot([r["value"] for r in own], [r[key] for r in own], style, label=name)
                panel.set(xlabel=axis, ylabel=label)
                panel.set_ylim(0, 1.1 * max(r[key] for r in rows if r["axis"] == axis))
                panel.set_xscale("log" if axis == "classes" else "linear")
                panel.grid(alpha=0.3)
        panels[0][0].legend(fontsize=8)


def _at(cfg: CfgNode, axis: str, value: int) -> CfgNode:
    cfg = cfg.clone()
    if axis == "classes":
        cfg.MODEL.NUM_CLASSES = value
    elif axis == "frames":
        cfg.DATA.NUM_FRAMES = value * cfg.SLOWFAST.ALPHA
    elif axis == "scales":
        cfg.SCAM.SCALES = list(SCALES[:value])
    return cfg
