"""The settings of a benchmark."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Settings:
    """The settings that every benchmark takes.

    Args:
        device: where to run.
        batch: clips per step.
        crop: height and width of a clip in pixels.
        iterations: timed rounds; with 0 nothing is timed, only counted.
        warmup: untimed rounds before them.
        only: names of the rows to measure; the first row, the baseline, always runs. Empty for all.
    """

    device: torch.device = torch.device("cpu")
    batch: int = 8
    crop: int = 224
    iterations: int = 20
    warmup: int = 3
    only: tuple[str, ...] = ()
