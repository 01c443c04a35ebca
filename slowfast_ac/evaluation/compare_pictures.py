"""Pictures of a comparison: bars per class (the paper's Figure 5) and confusion matrices."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

from slowfast_ac.files import atomic_path

MOST_CLASSES = 24


def draw_classes(rows: Sequence[dict], members: Sequence[int], path: Path) -> None:
    """Draws both accuracies of each class as bars.

    Args:
        rows: one per class, with ``class``, ``baseline``, ``ours`` and ``difference``.
        members: numbers of the classes to show; when empty, those that changed most.
        path: the png.
    """
    present = [row for row in rows if "difference" in row]
    chosen = [rows[number] for number in members if "difference" in rows[number]]
    if not chosen:
        by_change = sorted(present, key=lambda row: -abs(row["difference"]))[:MOST_CLASSES]
        chosen = sorted(by_change, key=lambda row: -row["difference"])
    position = np.arange(len(chosen))
    figure, axis = pyplot.subplots(figsize=(max(6, 0.6 * len(chosen)), 4.5))
    for offset, key, label in ((-0.2, "baseline", "baseline"), (0.2, "ours", "ours")):
        axis.bar(position + offset, [100 * row[key] for row in chosen], 0.4, label=label)
    for place, row in zip(position, chosen, strict=True):
        height = 100 * max(row["baseline"], row["ours"])
        text = f"{100 * row['difference']:+.1f}"
        axis.text(place, height + 1, text, ha="center", fontsize=7)
    axis.set_xticks(position, [row["class"] for row in chosen], rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("%")
    axis.set_ylim(0, 112)
    axis.legend(loc="upper right", fontsize=8)
    _save(figure, path)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Draws a confusion matrix, rows true and columns predicted, as shares of the row.

    Args:
        matrix: (L, L) counts.
        names: L class names, written while there is room for them.
        path: the png.
        title: above the picture.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    count = len(names)
    side = min(16, max(4, 0.22 * count + 2))
    figure, axis = pyplot.subplots(figsize=(side, side))
    image = axis.imshow(share, cmap="viridis", vmin=0, vmax=1)
    if count <= 110:
        size = 8 if count <= 30 else 4
        axis.set_xticks(range(count), names, rotation=90, fontsize=size)
        axis.set_yticks(range(count), names, fontsize=size)
    if count <= 12:
        for row, column in np.ndindex(*matrix.shape):
            color = "black" if share[row, column] > 0.6 else "white"
            axis.text(
                column,
                row,
                int(matrix[row, column]),
                ha="center",
                va="center",
                color=color,
                fontsize=8,
            )
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title)
    figure.colorbar(image, fraction=0.046, label="share of the true class")
    _save(figure, path)


def _save(figure: pyplot.Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
