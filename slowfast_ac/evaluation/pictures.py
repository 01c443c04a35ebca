"""Pictures of test results: bars per class (the paper's Figure 5), confusion, calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
from sklearn.metrics import ConfusionMatrixDisplay

from slowfast_ac.figures import saved_figure

MOST_CLASSES = 24


def draw_classes(rows: Sequence[dict], members: Sequence[int], path: Path) -> None:
    """Draws both accuracies of each class as bars.

    Args:
        rows: one per class, with ``class``, ``baseline``, ``other`` and ``difference``.
        members: numbers of the classes to show; when empty, those that changed most.
        path: the png.
    """
    present = [row for row in rows if "difference" in row]
    chosen = [rows[number] for number in members if "difference" in rows[number]]
    if not chosen:
        by_change = sorted(present, key=lambda row: -abs(row["difference"]))[:MOST_CLASSES]
        chosen = sorted(by_change, key=lambda row: -row["difference"])
    position = np.arange(len(chosen), dtype=float)
    with saved_figure(path, figsize=(max(6, 0.6 * len(chosen)), 4.5)) as figure:
        axis = figure.subplots()
        for offset, key in ((-0.2, "baseline"), (0.2, "other")):
            axis.bar(position + offset, [100 * row[key] for row in chosen], 0.4, label=key)
        for place, row in zip(position, chosen, strict=True):
            height = 100 * max(row["baseline"], row["other"])
            text = f"{100 * row['difference']:+.1f}"
            axis.text(float(place), height + 1, text, ha="center", fontsize=7)
        names = [row["class"] for row in chosen]
        axis.set_xticks(position, names, rotation=45, ha="right", fontsize=8)
        axis.set_ylabel("%")
        axis.set_ylim(0, 112)
        axis.legend(loc="upper right", fontsize=8)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Draws a confusion matrix, rows true and columns predicted, as shares of the row.

    Args:
        matrix: (L, L) counts.
        names: L class names, written if there is room for them.
        path: the png.
        title: above the picture.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    count = len(names)
    side = min(16, max(4, 0.22 * count + 2))
    with saved_figure(path, figsize=(side, side)) as figure:
        axis = figure.subplots()
        display = ConfusionMatrixDisplay(share, display_labels=names)
        display.plot(
            ax=axis,
            include_values=count <= 12,
            values_format=".2f",
            xticks_rotation="vertical",
            im_kw={"vmin": 0, "vmax": 1},
        )
        if count > 110:
            axis.set(xticks=[], yticks=[])
        axis.tick_params(labelsize=8 if count <= 30 else 4)
        axis.set(xlabel="predicted", ylabel="true", title=title)


def draw_calibration(table: pandas.DataFrame, path: Path) -> None:
    """Draws the accuracy of videos of similar score against that score.

    Args:
        table: a row per bin, with ``videos``, ``score`` and ``accuracy``.
        path: the png.
    """
    with saved_figure(path, figsize=(4.5, 4.5)) as figure:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
        axis.plot(table["score"], table["accuracy"], "o-", label="measured")
        for row in table.itertuples():
            axis.annotate(str(row.videos), (row.score, row.accuracy), fontsize=7)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="score of the predicted class")
        axis.set(ylabel="accuracy", title="numbers are videos")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", fontsize=8)
