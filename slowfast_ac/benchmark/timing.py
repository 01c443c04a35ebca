"""Timing side by side: the contenders take turns, so that a slow minute slows all of them."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Spread:
    """A median and what lies around it.

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
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    synchronize: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Runs all steps in turn, A B C A B C ..., and times each.

    Args:
        steps: what to run, by name.
        rounds: turns that are timed.
        warmup: turns before that, not timed.
        clock: returns seconds.
        synchronize: waits until the device has finished; called before each reading of the clock.

    Returns:
        Seconds of each step, by name, one per round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in tqdm(range(warmup + rounds), desc="rounds", file=sys.stderr, disable=None):
        for name, step in steps.items():
            synchronize()
            start = clock()
            step()
            synchronize()
            if turn >= warmup:
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


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Returns what waits for the device's work."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
