"""Measures one test result by class, confusion and calibration. The measures are scikit-learn's.

Shapes: V videos, L classes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from slowfast_ac.data.class_map import class_names, read_class_map
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.pictures import draw_confusion
from slowfast_ac.evaluation.results import Results
from slowfast_ac.files import atomic_path, check_folder

BINS = 15


def result_names(path: str | os.PathLike[str] | None, count: int) -> list[str]:
    """Returns the names of a class map by number, or the numbers if there is no map.

    Raises:
        InputError: naming the file, if it has another number of classes.
    """
    if path is None:
        return [str(number) for number in range(count)]
    numbers = read_class_map(path)
    if len(numbers) != count:
        raise InputError(f"{path}: {len(numbers)} classes, but the results have {count}")
    return list(class_names(numbers))


def precision_recall(results: Results) -> pandas.DataFrame:
    """Returns a row per class, with ``precision``, ``recall``, ``f1`` and ``videos``."""
    values = precision_recall_fscore_support(
        results.labels,
        results.scores.argmax(axis=1),
        labels=range(results.scores.shape[1]),
        zero_division=0,
    )
    return pandas.DataFrame(dict(zip(("precision", "recall", "f1", "videos"), values, strict=True)))


def averages(results: Results) -> dict[str, dict[str, float]]:
    """Returns macro and micro precision, recall and F1 over the classes that have videos."""
    present = np.unique(results.labels)
    table = {}
    for kind in ("macro", "micro"):
        values = precision_recall_fscore_support(
            results.labels,
            results.scores.argmax(axis=1),
            labels=present if kind == "macro" else None,
            average=kind,
            zero_division=0,
        )
        table[kind] = dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))
    return table


def calibration(results: Results, bins: int = BINS) -> tuple[dict[str, float], pandas.DataFrame]:
    """Measures how well scores can be read as probabilities.

    Args:
        results: single-label results.
        bins: of equal width, for the score of the predicted class.

    Returns:
        ``expected_calibration_error`` (Guo et al., "On Calibration of Modern Neural Networks",
        ICML 2017, Eq. 3) and ``log_loss``; and a row per bin that has videos: ``videos``, mean
        ``score`` and ``accuracy``.
    """
    frame = pandas.DataFrame({"score": results.scores.max(axis=1), "accuracy": results.right()})
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.digitize(frame["score"], edges[1:-1], right=True), 0, bins - 1)
    groups = frame.astype(float).groupby(which)
    table = groups.mean().assign(videos=groups.size()).reset_index(drop=True)
    gaps = (table["score"] - table["accuracy"]).abs()
    error = float((gaps * table["videos"]).sum() / len(frame))
    labels = range(results.scores.shape[1])
    loss = float(log_loss(results.labels, results.scores, labels=labels))
    summary = {"expected_calibration_error": error, "log_loss": loss}
    return summary, table[["videos", "score", "accuracy"]]


def write_confusion(results: Results, names: Sequence[str], stem: Path, title: str) -> None:
    """Writes STEM.csv and STEM.png, rows true and columns predicted."""
    predicted = results.scores.argmax(axis=1)
    matrix = confusion_matrix(results.labels, predicted, labels=range(len(names)))
    table = pandas.DataFrame(matrix, columns=list(names))
    table.insert(0, "true \\ predicted", list(names))
    write_table(stem.with_suffix(".csv"), table)
    draw_confusion(matrix, names, stem.with_suffix(".png"), title)


def write_table(path: Path, table: pandas.DataFrame) -> None:
    """Writes a table as csv, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def remove_files(folder: Path, *names: str) -> None:
    """Removes the named files of an earlier evaluation that this one does not have."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def require_new(folder: str | os.PathLike[str], name: str, overwrite: bool) -> Path:
    """Returns the folder to write results to.

    Raises:
        InputError: if it cannot be written, or already has the file ``name`` and ``overwrite`` is
            not set.
    """
    check_folder(folder, "--output")
    if (Path(folder) / name).exists() and not overwrite:
        raise InputError(
            f"{Path(folder) / name}: exists; choose another --output or add --overwrite"
        )
    return Path(folder)
