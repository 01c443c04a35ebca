"""The times at which a video's frames are shown, and the steady rate in which clips count them.

A header's frame rate is a hint: it is believed where the timestamps agree with it. Otherwise it is
measured and, where frames come at no rate at all, a video is counted as a viewer would see it at
the rate that is asked for: frame n is what is on the screen at n / rate, however long it stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# Seconds that a frame may begin outside of its clip: containers round its time to ticks of their
# clock. This is half a tick of Matroska's, the coarsest in use, and a little for the arithmetic.
TIME_TOLERANCE = 0.00051
# Frames a second below which a video is a slide show, whose frames are shown and not counted.
SLOWEST_RATE = 5


@dataclass(frozen=True)
class Timeline:
    """The times of a video's frames, in the order in which they are shown.

    Args:
        times: (N,), float64, seconds from the first frame to the beginning of each; ascending.
        end: seconds from the first frame to the end of the last.
        rate: the constant frame rate that the times keep to, though frames may be missing; None
            where they keep to none.
        header_rate: the rate by the file's header, None where it has none.
        tolerance: seconds that a time may differ from its place at ``rate``.
        jumps: how many times the timestamps went backwards, as in joined files.
    """

    times: np.ndarray
    end: float
    rate: Fraction | None
    header_rate: Fraction | None
    tolerance: float
    jumps: int = 0

    @property
    def fps(self) -> float:
        """The constant rate or, without one, the frames a second on average."""
        return float(self.rate) if self.rate else len(self.times) / self.end

    def steady_rate(self, wanted: float) -> float:
        """Returns the frames a second in which clips count: the video's own if it has one."""
        return float(self.rate) if self.rate else float(wanted)

    def numbers(self, rate: float) -> np.ndarray:
        """Returns at which number of a count at ``rate`` each frame appears, (N,), ascending."""
        if self.rate:
            return np.rint(self.times * rate).astype(np.int64)
        numbers = np.ceil((self.times - TIME_TOLERANCE) * rate).astype(np.int64)
        return np.maximum(numbers, 0)

    def count(self, rate: float) -> int:
        """Returns how many frames the video has at ``rate``."""
        last = int(self.numbers(rate)[-1]) + 1
        if self.end - self.times[-1] > 1.5 / rate:
            last = max(last, int((self.end + TIME_TOLERANCE) * rate))
        return last

    def shown(self, numbers: Sequence[int] | np.ndarray, rate: float) -> np.ndarray:
        """Returns which frame is on the screen at each number of a count at ``rate``.

        A number before the first frame has the first, one after the end the last.
        """
        at = np.searchsorted(self.numbers(rate), np.asarray(numbers), side="right") - 1
        return at.clip(0)

    def shown_at(self, seconds: float) -> int:
        """Returns the frame that is on the screen at a time."""
        at = np.searchsorted(self.times, seconds + TIME_TOLERANCE, side="right") - 1
        return max(int(at), 0)

    def first_number(self, start: float, rate: float, slack: float = TIME_TOLERANCE) -> int:
        """Returns the first number of a count at ``rate`` that begins at ``start`` or later."""
        begin = start - slack
        on_grid = int(np.ceil(begin * rate))
        if not self.rate:
            return max(on_grid, 0)
        numbers = self.numbers(rate)
        after = int(np.searchsorted(self.times, begin))
        earliest = int(numbers[after - 1]) + 1 if after else 0
        # Frames begin at their own times, which ticks of a clock rounded; gaps at the rate's.
        return max(earliest, min(int(numbers[after]), on_grid) if after < len(numbers) else on_grid)

    def last_number(self, end: float, rate: float, slack: float = TIME_TOLERANCE) -> int:
        """Returns the last number of a count at ``rate`` that begins at ``end`` or sooner."""
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
    """Returns the constant rate that frames keep to, None without one, and the tolerance.

    Args:
        times: (N,), seconds, ascending from 0.
        hints: rates by the header, the likeliest first; the measured one is tried after them.
        tick: seconds of the container's clock, to which it rounds times.
    """
    for rate in (*hints, *_measured(times, tick)):
        if not rate or rate < SLOWEST_RATE:
            continue
        interval = 1 / float(rate)
        tolerance = max(0.1 * interval, min(tick, 0.3 * interval)) + 1e-6
        numbers = np.rint(times * float(rate))
        fits = np.abs(times - numbers * interval).max() <= tolerance
        # At a rate of a thousand every time fits. Half of the frames should be there.
        filled = len(times) >= 0.5 * (numbers[-1] + 1)
        if fits and filled and (np.diff(numbers) > 0).all():
            return Fraction(rate), tolerance
    return None, TIME_TOLERANCE


def _measured(times: np.ndarray, tick: float) -> list[Fraction]:
    if len(times) < 3:
        return []
    measured = (len(times) - 1) / float(times[-1])
    whole = round(measured)
    # One of the usual rates, where the clock is too coarse to tell it from what is measured.
    slack = 1.5 * measured * tick / float(times[-1])
    usual = [
        r for r in (Fraction(whole), Fraction(whole * 1000, 1001)) if abs(r - measured) < slack
    ]
    return [*usual, Fraction(measured).limit_denominator(1_000_000)]
