"""The times at which a video's frames are shown, and the steady rate at which clips count them.

The header's frame rate is a hint: it is used if the timestamps agree with it. Otherwise, the rate
is measured. If frames come at no constant rate, they are counted at the requested rate: frame n is
the one on screen at n / rate, however long it stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# Seconds by which a frame may begin outside its clip, since containers round times to ticks of
# their clock: half a tick of Matroska's, the coarsest in use, plus a margin for rounding errors.
TIME_TOLERANCE = 0.00051
# Frames per second below which a video is a slide show, to which no constant rate is assigned.
SLOWEST_RATE = 5


@dataclass(frozen=True)
class Timeline:
    """The times of a video's frames, in the order in which they are shown.

    Args:
        times: (N,), float64, seconds from the first frame to the beginning of each; ascending.
        end: seconds from the first frame to the end of the last.
        rate: the constant frame rate that the times follow, though frames may be missing; None if
            they follow none.
        header_rate: the rate in the file's header, or None.
        tolerance: seconds by which a time may differ from its position at ``rate``.
        jumps: how often the timestamps went backwards, as in joined files.
    """

    times: np.ndarray
    end: float
    rate: Fraction | None
    header_rate: Fraction | None
    tolerance: float
    jumps: int = 0

    @property
    def fps(self) -> float:
        """The constant rate or, without one, the average number of frames per second."""
        return float(self.rate) if self.rate else len(self.times) / self.end

    def steady_rate(self, wanted: float) -> float:
        """Returns the rate at which clips count frames: the video's own, or else ``wanted``."""
        return float(self.rate) if self.rate else float(wanted)

    def numbers(self, rate: float) -> np.ndarray:
        """Returns the number of each frame when counted at ``rate``, (N,), ascending."""
        if self.rate:
            return np.rint(self.times * rate).astype(np.int64)
        numbers = np.ceil((self.times - TIME_TOLERANCE) * rate).astype(np.int64)
        return np.maximum(numbers, 0)

    def count(self, rate: float) -> int:
        """Returns the number of frames in the video when counted at ``rate``."""
        last = int(self.numbers(rate)[-1]) + 1
        if self.end - self.times[-1] > 1.5 / rate:
            last = max(last, int((self.end + TIME_TOLERANCE) * rate))
        return last

    def shown(self, numbers: Sequence[int] | np.ndarray, rate: float) -> np.ndarray:
        """Returns the frame on screen at each number when counted at ``rate``.

        Numbers before the first frame give the first, those after the end the last.
        """
        at = np.searchsorted(self.numbers(rate), np.asarray(numbers), side="right") - 1
        return at.clip(0)

    def shown_at(self, seconds: float) -> int:
        """Returns the frame on screen at a time."""
        at = np.searchsorted(self.times, seconds + TIME_TOLERANCE, side="right") - 1
        return max(int(at), 0)

    def first_number(self, start: float, rate: float, slack: float = TIME_TOLERANCE) -> int:
        """Returns the first number that begins at or after ``start`` when counted at ``rate``."""
        begin = start - slack
        on_grid = int(np.ceil(begin * rate))
        if not self.rate:
            return max(on_grid, 0)
        numbers = self.numbers(rate)
        after = int(np.searchsorted(self.times, begin))
        earliest = int(numbers[after - 1]) + 1 if after else 0
        # Frames begin at their own, rounded times; missing frames at those of the constant rate.
        return max(earliest, min(int(numbers[after]), on_grid) if after < len(numbers) else on_grid)

    def last_number(self, end: float, rate: float, slack: float = TIME_TOLERANCE) -> int:
        """Returns the last number that begins at or before ``end`` when counted at ``rate``."""
        if not self.rate:
            last = int(np.floor((end + slack) * rate))
        else:
            numbers = self.numbers(rate)
            after = int(np.searchsorted(self.times, end + slack))
            before = int(numbers[after - 1]) if after else -1
            last = max(before, int(np.floor((end + slack) * rate)))
            if after < len(numbers):
                last = min(int(numbers[after]) - 1, last)
        return min(last, self.count(rate) - 1)


def find_rate(
    times: np.ndarray, hints: Iterable[Fraction | None], tick: float
) -> tuple[Fraction | None, float]:
    """Returns the constant rate that the frames follow, or None, and the tolerance in seconds.

    Args:
        times: (N,), seconds, ascending from 0.
        hints: rates in the header, the likeliest first; measured rates are tried after them.
        tick: seconds per tick of the container's clock, to which it rounds times.
    """
    for rate in (*hints, *_measured(times, tick)):
        if not rate or rate < SLOWEST_RATE:
            continue
        interval = 1 / float(rate)
        tolerance = max(0.1 * interval, min(tick, 0.3 * interval)) + 1e-6
        numbers = np.rint(times * float(rate))
        fits = np.abs(times - numbers * interval).max() <= tolerance
        # Every time would fit a rate of 1000, so at least half of the frames must be present.
        filled = len(times) >= 0.5 * (numbers[-1] + 1)
        if fits and filled and (np.diff(numbers) > 0).all():
            return Fraction(rate), tolerance
    return None, TIME_TOLERANCE


def _measured(times: np.ndarray, tick: float) -> list[Fraction]:
    if len(times) < 3:
        return []
    measured = (len(times) - 1) / float(times[-1])
    whole = round(measured)
    # Prefer a usual rate if the clock is too coarse to distinguish it from the measured one.
    slack = 1.5 * measured * tick / float(times[-1])
    usual = [
        r for r in (Fraction(whole), Fraction(whole * 1000, 1001)) if abs(r - measured) < slack
    ]
    return [*usual, Fraction(measured).limit_denominator(1_000_000)]
