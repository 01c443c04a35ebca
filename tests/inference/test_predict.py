"""A prediction sees the right frames, and each is decoded, resized and shown once."""

from dataclasses import replace

import numpy as np
import pytest

from slowfast_ac.data import clips
from slowfast_ac.data.video import VideoReader
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.errors import InputError
from slowfast_ac.inference.predict import predict
from slowfast_ac.inference.windows import sliding_spans


def expected_brightness(*times):
    return np.mean([20 + 25 * time for time in times]) / 255


def test_windows_see_the_frames_of_their_time(brightness, fading):
    predictions = predict(brightness(), fading, CENTER_VIEW, window=2.0, stride=1.5)
    assert [(p.start, p.end) for p in predictions] == [
        *((0.0, 2.0), (1.5, 3.5), (3.0, 5.0), (4.5, 6.5), (6.0, 8.0)),
    ]
    for prediction in predictions:
        # The clip of 0.8 s in the middle: its first and last frame are 19 frames apart.
        first = prediction.start + 0.6
        expected = expected_brightness(first, first + 19 / 25)
        assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)
        assert prediction.scores[1] == 1.0


def test_several_clips_of_overlapping_windows_stay_apart(brightness, fading):
    predictions = predict(brightness(), fading, Views(2, 3), window=3.0, stride=1.0)
    assert len(predictions) == 6
    for prediction in predictions:
        # Two clips, at the start and half of what a clip leaves of the window.
        times = [prediction.start, prediction.start + 1.1]
        expected = expected_brightness(*times, *(time + 19 / 25 for time in times))
        assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)


def test_the_single_view_is_the_middle_of_the_video(brightness, fading):
    [prediction] = predict(brightness(), fading, CENTER_VIEW)
    assert (prediction.start, prediction.end) == (0.0, 8.0)
    expected = expected_brightness(3.6, 3.6 + 19 / 25)
    assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)


def test_stride_alone_means_windows_of_one_clip(brightness, fading):
    predictions = predict(brightness(), fading, CENTER_VIEW, stride=3.0)
    assert [p.start for p in predictions] == pytest.approx([0.0, 3.0, 6.0, 7.2])
    assert all(p.end - p.start == pytest.approx(0.8) for p in predictions)


def test_a_clip_of_ssv2_spreads_over_what_it_is_taken_from(brightness, fading):
    model = brightness(dataset="ssv2")
    [whole] = predict(model, fading, CENTER_VIEW)
    assert (whole.start, whole.end) == (0.0, 8.0)
    middles = np.mean([25, 75, 124, 174])
    assert whole.scores[0] == pytest.approx((20 + middles) / 255, abs=1.5 / 255)
    for prediction in predict(model, fading, CENTER_VIEW, window=2.0):
        middle = 25 * (prediction.start + prediction.end) / 2
        assert prediction.scores[0] == pytest.approx((20 + middle) / 255, abs=1.5 / 255)


def test_the_highest_score_of_the_views_is_taken_where_the_config_says_so(brightness, fading):
    views = Views(4, 1)
    [mean] = predict(brightness(), fading, views)
    [highest] = predict(brightness(ensemble_method="max"), fading, views)
    # The last of four clips of 0.8 s starts at three quarters of what a clip leaves of 8 s.
    expected = expected_brightness(5.4, 5.4 + 19 / 25)
    assert highest.scores[0] == pytest.approx(expected, abs=1.5 / 255)
    assert highest.scores[0] > mean.scores[0] + 0.1
    assert highest.scores[1] == mean.scores[1] == 1.0


@pytest.mark.parametrize(
    "duration, window, stride, starts",
    [
        (10, 2, 2, [0, 2, 4, 6, 8]),
        (10, 3, 3, [0, 3, 6, 7]),
        (10, 4, 1.5, [0, 1.5, 3, 4.5, 6]),
        (10, 9, 20, [0, 1]),
        (2, 2, 1, [0]),
        (1, 2, 1, [0]),
        (0.3, 0.1, 0.1, [0, 0.1, 0.2]),
    ],
)
def test_windows_cover_the_video_and_the_last_ends_with_it(duration, window, stride, starts):
    spans = sliding_spans(duration, window, stride)
    assert [span.start for span in spans] == pytest.approx(starts)
    assert spans[-1].end == pytest.approx(duration)


def test_a_video_is_decoded_once_for_all_views(brightness, fading, monkeypatch):
    decoded = []
    decode = VideoReader._decode

    def counted(self, target):
        for time, frame in decode(self, target):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(VideoReader, "_decode", counted)
    predict(brightness(), fading, Views(10, 3), window=2.0, stride=0.5)
    assert len(decoded) == len(set(decoded)) <= 200


def test_frames_are_normalised_and_resized_once_for_all_crops(brightness, fading, monkeypatch):
    resized = []
    resize = clips.resize_short_side
    monkeypatch.setattr(
        clips, "resize_short_side", lambda *args: resized.append(args) or resize(*args)
    )
    predict(brightness(), fading, Views(4, 3))
    assert len(resized) == 4


@pytest.mark.parametrize("views, crops, sizes", [(1, 3, [3] * 10), (7, 3, [6] * 5), (8, 1, [8, 2])])
def test_views_are_shown_in_batches_and_scores_stay_the_same(
    brightness, fading, views, crops, sizes
):
    predictor, shown = brightness(), []

    def scores(pathways):
        shown.append(len(pathways[0]))
        return predictor.scores(pathways)

    [prediction] = predict(replace(predictor, scores=scores, views=views), fading, Views(10, crops))
    assert shown == sizes
    [expected] = predict(predictor, fading, Views(10, crops))
    np.testing.assert_allclose(prediction.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize(
    "windows, message",
    [
        ({"window": 0.5}, "window: 0.5 s is shorter than this network's clip of 0.8 s"),
        ({"window": float("nan")}, "window: nan s is not positive"),
        ({"window": 2.0, "stride": 0.0}, "stride: 0 s is not positive"),
        ({"stride": float("nan")}, "stride: nan s is not positive"),
    ],
)
def test_invalid_windows_are_refused(brightness, fading, windows, message):
    with pytest.raises(InputError, match=message):
        predict(brightness(), fading, **windows)
