"""Measures how well maps point at the target's box; the paper shows only pictures.

- pointing game: is the map's maximum in the box? Zhang et al., "Top-down Neural Attention by
  Excitation Backprop", IJCV 2018, https://arxiv.org/abs/1608.00507. Without their tolerance of 15
  pixels, since our frames are small.
- energy in the box: what share of the map's positive values is in the box? Wang et al.,
  "Score-CAM", CVPR Workshops 2020, https://arxiv.org/abs/1910.01279 ("energy-based pointing game").
- agreement: Pearson's correlation of two maps.

Maps are (H, W) arrays over the whole frame. Boxes are (x0, y0, x1, y1) in pixels of a frame of a
given size, x1 and y1 exclusive.
"""

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np


def pointing_game(cam: np.ndarray, box: Sequence[float], frame: tuple[int, int]) -> float:
    """Returns whether the maximum of a map, upsampled bilinearly to the frame, is in the box.

    If a maximum covers several pixels, the first counts: beyond a map's last position a drawn map
    is constant, so the first pixel is the position itself. If several maxima are equal, each counts
    in part.

    Args:
        cam: (H, W).
        box: x0, y0, x1, y1 in pixels.
        frame: width and height in pixels.

    Returns:
        1 or 0, or a value between them if equal maxima disagree; 0 for a constant map, which
        points nowhere.
    """
    cam = np.asarray(cam, dtype=np.float32)
    if np.ptp(cam) == 0:
        return 0.0
    large = cv2.resize(cam, frame, interpolation=cv2.INTER_LINEAR)
    highest = np.pad(large == large.max(), ((1, 0), (1, 0)))
    y, x = np.nonzero(highest[1:, 1:] & ~highest[1:, :-1] & ~highest[:-1, 1:])
    x0, y0, x1, y1 = box
    return float(np.mean((x0 <= x + 0.5) & (x + 0.5 <= x1) & (y0 <= y + 0.5) & (y + 0.5 <= y1)))


def energy_in_box(cam: np.ndarray, box: Sequence[float], frame: tuple[int, int]) -> float:
    """Returns the share of the map's positive values in the box, at the map's own resolution.

    A cell that the box covers in part counts in part, so nothing is interpolated.

    Args:
        cam: (H, W); negative values count as zero.
        box: x0, y0, x1, y1 in pixels.
        frame: width and height in pixels.

    Returns:
        Between 0 and 1; nan for a map without positive values.
    """
    positive = np.clip(np.asarray(cam, dtype=np.float64), 0, None)
    total = positive.sum()
    if total == 0:
        return math.nan
    return float((positive * coverage(box, frame, positive.shape)).sum() / total)


def coverage(box: Sequence[float], frame: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Returns the share of each cell of a map of ``shape`` (H, W) that the box covers, (H, W)."""
    x0, y0, x1, y1 = box
    across = _overlap(x0, x1, frame[0], shape[1])
    down = _overlap(y0, y1, frame[1], shape[0])
    return np.outer(down, across)


def area_share(box: Sequence[float], frame: tuple[int, int]) -> float:
    """Returns the share of the frame that the box covers, which both measures reach by chance."""
    return float(coverage(box, frame, (1, 1))[0, 0])


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Returns Pearson's correlation of two maps of the same size.

    Returns:
        Between -1 and 1; nan where a map is constant.
    """
    first = np.asarray(first, dtype=np.float64).ravel()
    second = np.asarray(second, dtype=np.float64).ravel()
    first, second = first - first.mean(), second - second.mean()
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else math.nan


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Returns the mean and its standard error over the values that are not nan."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    if known.size == 0:
        return math.nan, math.nan
    error = known.std(ddof=1) / math.sqrt(known.size) if known.size > 1 else math.nan
    return float(known.mean()), float(error)


def _overlap(low: float, high: float, length: float, cells: int) -> np.ndarray:
    edges = np.linspace(0, length, cells + 1)
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.clip(inside, 0, None) * cells / length
