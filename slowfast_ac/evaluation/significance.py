"""Tests whether a difference of two accuracies on the same videos is more than noise."""

from collections.abc import Sequence

import numpy as np
import scipy.stats


def mcnemar(baseline: np.ndarray, other: np.ndarray) -> float:
    """Applies the exact McNemar test to two classifiers on the same videos.

    Only the videos that one gets right and the other wrong count. If the classifiers are equally
    good, both cases are equally likely. McNemar, Psychometrika 12, 1947.

    Args:
        baseline: (V,) bool, whether each video is right.
        other: (V,) bool.

    Returns:
        The two-sided p-value; 1 where the two never differ.
    """
    gained = int((other & ~baseline).sum())
    lost = int((baseline & ~other).sum())
    if gained + lost == 0:
        return 1.0
    return float(scipy.stats.binomtest(gained, gained + lost).pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Applies Holm's correction for several tests at once; Scandinavian J. of Statistics 6, 1979.

    Returns:
        The adjusted p-values, in the order given.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return adjusted


def wilson(right: int, total: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy, between 0 and 1; (0, 1) for no videos."""
    if total == 0:
        return 0.0, 1.0
    interval = scipy.stats.binomtest(right, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def difference_interval(baseline: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two accuracies on the same videos.

    Half a video is added to each cell of the table of right and wrong by right and wrong, so
    results that never differ get an interval too. Agresti and Min, Statistics in Medicine 24, 2005.

    Args:
        baseline: (V,) bool, whether each video is right; V at least 1.
        other: (V,) bool.

    Returns:
        Low and high end of the difference other - baseline, between -1 and 1.
    """
    total = len(baseline) + 2
    gained, lost = (other & ~baseline).sum() + 0.5, (baseline & ~other).sum() + 0.5
    middle = (gained - lost) / total
    error = np.sqrt(gained + lost - (gained - lost) ** 2 / total) / total
    low, high = middle + scipy.stats.norm.ppf([0.025, 0.975]) * error
    return max(-1.0, float(low)), min(1.0, float(high))
