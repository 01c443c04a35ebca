"""Reads the results of a test: its scores and labels."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.errors import InputError

RESULTS = "test_results.pkl"


@dataclass(frozen=True)
class Results:
    """A test's scores and labels.

    Args:
        scores: (V, L) float64, one row per video that sums to 1; for multi-label tests as they are.
        labels: (V,) int64, or (V, L) of zeros and ones for multi-label tests.
    """

    scores: np.ndarray
    labels: np.ndarray

    @property
    def multi_label(self) -> bool:
        """Returns whether a video can have several labels."""
        return self.labels.ndim == 2

    def right(self, best: int = 1) -> np.ndarray:
        """Returns whether each video's label is among the ``best`` highest scores, (V,) bool."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :best]
        return (order == self.labels[:, None]).any(axis=1)


def read_results(path: str | os.PathLike) -> Results:
    """Reads the file of TEST.SAVE_RESULTS_PATH, or that of a run directory.

    Upstream writes the sum of a video's scores over its views. Unless a video can have several
    labels, each row is divided by its sum.

    Args:
        path: the pickle, or a directory that holds ``test_results.pkl``.

    Raises:
        InputError: naming the file, if it is missing, holds something else, or a video has no
            scores.
    """
    path = Path(path)
    if path.is_dir():
        path = path / RESULTS
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such file; run the test with --opts TEST.SAVE_RESULTS_PATH "
                f"{RESULTS}"
            )
    data = safe_load(path)
    if not (isinstance(data, (list, tuple)) and len(data) == 2):
        raise InputError(f"{path}: not a list of scores and labels, as upstream's test writes it")
    try:
        scores, labels = (torch.as_tensor(part).cpu().numpy() for part in data)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{path}: its scores and labels are not numbers") from None
    scores = scores.astype(np.float64)
    if scores.ndim != 2 or labels.shape not in (scores.shape, scores.shape[:1]):
        raise InputError(f"{path}: scores {scores.shape} and labels {labels.shape} do not fit")
    if scores.size == 0:
        raise InputError(f"{path}: no videos in it")
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise InputError(f"{path}: video {int(np.argmin(finite))} has scores that are not finite")
    if labels.ndim == 1:
        wrong = labels[(labels < 0) | (labels >= scores.shape[1])]
        if wrong.size:
            raise InputError(
                f"{path}: label {wrong[0]}, but its scores are of {scores.shape[1]} classes"
            )
        total = scores.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            raise InputError(f"{path}: video {int(np.argmin(total))} has no scores")
        scores = scores / total
    return Results(scores, labels.astype(np.int64))


def average_precision(results: Results) -> np.ndarray:
    """Returns each class's average precision in a multi-label test, (L,).

    It is nan for a class without videos; the test's mean average precision ignores such classes.
    """
    # Imported here, since reading logs and results needs no scikit-learn.
    from sklearn.metrics import average_precision_score

    pairs = zip(results.labels.T, results.scores.T, strict=True)
    return np.array(
        [
            average_precision_score(positive, scores) if positive.any() else np.nan
            for positive, scores in pairs
        ]
    )
