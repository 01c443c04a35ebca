"""Times networks side by side: they take turns, so a slow minute slows all of them."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from slowfast_ac.benchmark.settings import Settings


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles.

    Attributes:
        median: the median.
        low: first quartile.
        high: third quartile.
    """

    median: float
    low: float
    high: float


def interleave(
    steps: Mapping[str, Callable[[], object]],
    settings: Settings,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Runs all steps in turn, A B C A B C ..., and times each.

    Args:
        steps: what to run, by name.
        settings: rounds to time and to warm up, and the device, which is waited for before each
            reading of the clock.
        clock: returns seconds.

    Returns:
        Seconds of each step, by name, one per round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    turns = range(settings.warmup + settings.iterations)
    synchronize = _synchronizer(settings.device)
    for turn in tqdm(turns, desc="rounds", file=sys.stderr, disable=None):
        for name, step in steps.items():
            synchronize()
            start = clock()
            step()
            synchronize()
            if turn >= settings.warmup:
                seconds[name].append(clock() - start)
    return seconds


def spread(values: Sequence[float]) -> Spread:
    """Returns the median and the quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def paired_ratios(seconds: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Returns the ratios to the baseline's time in the same round."""
    return [ours / theirs for ours, theirs in zip(seconds, baseline, strict=True)]


def add_times(
    rows: Mapping[str, dict[str, Any]], seconds: Mapping[str, list[float]], batch: int
) -> None:
    """Adds seconds, clips per second and paired ratios to the first row, with quartiles."""
    baseline = next(iter(seconds.values()))
    for name, values in seconds.items():
        time, ratio = spread(values), spread(paired_ratios(values, baseline))
        rows[name] |= {
            "seconds": time.median,
            "seconds_low": time.low,
            "seconds_high": time.high,
            "clips_per_second": batch / time.median,
            "seconds_ratio": ratio.median,
            "seconds_ratio_low": ratio.low,
            "seconds_ratio_high": ratio.high,
        }


def _synchronizer(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
