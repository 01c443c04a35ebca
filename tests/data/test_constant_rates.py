"""Files of a constant rate, in every container: their frames are counted one by one."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.reader import VideoReader

CONTAINERS = ["mp4", "mkv", "mov", "avi", "webm", "ts", "mpg", "flv", "3gp", "wmv"]
RATES = {"24": Fraction(24), "29.97": Fraction(30000, 1001), "60": Fraction(60)}
COUNT = 100
CLIPS = [(8, 4), (16, 2), (4, 1)]


@pytest.fixture(scope="module", params=[(c, r) for c in CONTAINERS for r in RATES], ids=str)
def video(request, tmp_path_factory, write_numbered):
    """A path and the rate of its frames."""
    container, rate = request.param
    path = tmp_path_factory.mktemp("constant") / f"v.{container}"
    return write_numbered(path, range(COUNT), RATES[rate]), RATES[rate]


def test_rate_and_times_are_those_that_were_written(video):
    path, rate = video
    with VideoReader(path) as reader:
        timeline = reader.timeline
        decoded = [time for time, _ in reader.frames()]
    assert float(timeline.rate) == pytest.approx(float(rate), rel=1e-4)
    assert timeline.jumps == 0
    np.testing.assert_allclose(timeline.times, np.arange(COUNT) / float(rate), atol=0.00101)
    assert timeline.end == pytest.approx(COUNT / float(rate), abs=1.2 / float(rate))
    assert decoded == timeline.times.tolist()


@pytest.mark.parametrize(("num_frames", "sampling_rate"), CLIPS)
def test_clips_are_spread_over_counted_frames(
    video, number_of, num_frames, sampling_rate, clips_at
):
    path, rate = video
    preprocessing = Preprocessing(num_frames, sampling_rate, None, 32, (0.45,) * 3, (0.225,) * 3)
    starts = [0.0, 0.1 + 1e-4, 0.5, 0.777, COUNT / float(rate) - 0.5]
    # A clip begins with the first frame that begins at its start or, by rounding, just before.
    first = [int(np.ceil((start - 0.00101) * float(rate))) for start in starts]
    later = [int(np.ceil((start + 0.0005) * float(rate))) for start in starts]
    size = max(num_frames * sampling_rate / 30 * float(rate), 1)
    positions = torch.linspace(0, size - 1, num_frames).long().numpy()
    for clip, low, high in zip(clips_at(path, preprocessing, starts), first, later, strict=True):
        got = [number_of(image) for image in clip.frames]
        assert got[0] in (low, high)
        assert got == (got[0] + positions).clip(max=COUNT - 1).tolist()
