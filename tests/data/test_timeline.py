"""The timeline: which rate it believes, and what is on the screen when."""

import math
from fractions import Fraction

import numpy as np
import pytest

from slowfast_ac.data.timeline import Timeline, find_rate

RATES = [12, 15, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, 60, 120]


def timeline(times, hints=(), tick=1e-6, end=None):
    times = np.asarray(times, float)
    rate, tolerance = find_rate(times, hints, tick)
    typical = 1 / float(rate) if rate else float(np.median(np.diff(times, append=0.04)))
    return Timeline(times, end or times[-1] + typical, rate, None, tolerance)


def constant(rate, count, tick):
    """Times that a container's clock rounded."""
    return np.round(np.arange(count) / float(rate) / tick) * tick


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("tick", [1e-6, 1 / 90000, 1e-3])
def test_a_constant_rate_is_found_whatever_the_header_says(rate, tick):
    times = constant(rate, 400, tick)
    for hint in (rate, None, 1000, 15.5, Fraction(1)):
        found, tolerance = find_rate(times, [hint], tick)
        assert float(found) == pytest.approx(float(rate), rel=1e-4)
        assert tolerance < 0.5 / float(rate)
    assert find_rate(times, [rate], tick)[0] == rate


@pytest.mark.parametrize("rate", RATES)
def test_frames_of_a_constant_rate_are_counted_one_by_one(rate):
    line = timeline(constant(rate, 100, 1e-3), [rate], 1e-3)
    steady = line.steady_rate(30)
    assert steady == float(rate)
    assert line.count(steady) == 100
    assert line.shown(range(100), steady).tolist() == list(range(100))
    assert line.shown([-3, 100, 400], steady).tolist() == [0, 99, 99]


@pytest.mark.parametrize("rate", RATES)
def test_a_span_of_a_constant_rate_holds_the_frames_that_begin_in_it(rate):
    times = constant(rate, 100, 1e-3)
    line = timeline(times, [rate], 1e-3)
    for start, end in np.random.default_rng(0).uniform(0, times[-1], (200, 2)).tolist():
        begin = np.flatnonzero(times >= start - 0.00051)
        assert line.first_number(start, float(rate)) == begin[0]
        last = np.flatnonzero(times < end + 0.00051)
        assert line.last_number(end, float(rate)) == last[-1]


def test_a_missing_frame_leaves_the_one_before_on_the_screen():
    times = np.delete(np.arange(100) / 25, [10, 11, 50])
    line = timeline(times, [25])
    assert line.rate == 25 and line.count(25) == 100
    shown = times[line.shown(range(100), 25)] * 25
    expected = np.arange(100)
    expected[[10, 11, 50]] = [9, 9, 49]
    np.testing.assert_allclose(shown, expected)
    # A span may begin and end while nothing begins.
    assert line.first_number(9.6 / 25, 25) == 10
    assert line.last_number(10.5 / 25, 25) == 10


def test_empty_chunks_of_a_fast_clock_are_no_rate():
    # An AVI of a thousand chunks a second, thirty of which hold frames.
    times = constant(30, 90, 1e-3)
    rate, _ = find_rate(times, [Fraction(1000)], 1e-3)
    assert rate == 30


@pytest.mark.parametrize(
    "steps",
    [[1] * 5 + [33] * 244, [16, 17, 50, 33, 33, 34] * 40, [20] * 100 + [700] + [20] * 50],
    ids=["burst", "jitter", "pause"],
)
def test_times_of_no_rate_are_shown_at_the_rate_asked_for(steps):
    times = np.cumsum([0, *steps]) / 1000
    hints = [Fraction(1000), Fraction(60), Fraction(len(steps), sum(steps)) * 1000]
    line = timeline(times, hints, 1e-3)
    assert line.rate is None
    for rate in (30, 25, 31.7):
        count = line.count(rate)
        assert count == pytest.approx(line.end * rate, abs=2)
        instants = np.arange(count) / rate
        expected = np.searchsorted(times, instants + 0.00051, side="right") - 1
        assert line.shown(range(count), rate).tolist() == expected.tolist()
        start, end = 1.234, 3.456
        assert line.first_number(start, rate) == math.ceil((start - 0.00051) * rate)
        assert line.last_number(end, rate) == math.floor((end + 0.00051) * rate)


def test_slides_stay_until_the_next_and_the_last_until_the_end():
    line = timeline([0, 5, 10, 15], [Fraction(1, 5)], end=20.0)
    assert line.rate is None and line.count(30) == 600
    for seconds in (0, 2.13, 4.99, 5, 14.9, 17, 19.99):
        assert line.shown_at(seconds) == seconds // 5
        assert line.shown([math.floor(seconds * 30)], 30) == int(seconds * 30) // 150


def test_fps_is_that_of_the_frames():
    assert timeline(np.arange(50) / 25, [25]).fps == 25
    assert timeline([0, 5, 10, 15], end=20.0).fps == 0.2


def test_one_frame_is_a_video():
    line = timeline([0.0], [25], end=0.04)
    assert (line.rate, line.count(25), line.shown([0, 7], 25).tolist()) == (25, 1, [0, 0])
    line = timeline([0.0], [], end=3.0)
    assert line.rate is None and line.count(30) == 90
