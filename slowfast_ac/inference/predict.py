"""Classifies videos with a trained network, as PySlowFast's test does or in sliding windows."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from slowfast_ac.data.clips import Clip, read_clips, to_pathways
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.views import Views
from slowfast_ac.files import StrPath
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.windows import (
    check_windows,
    sliding_spans,
    video_duration,
)


@dataclass(frozen=True)
class Prediction:
    """Scores of a span of a video.

    Args:
        start: seconds since the start of the video.
        end: seconds.
        scores: (L,), the mean of all views' scores or, with DATA.ENSEMBLE_METHOD max, the highest.
    """

    start: float
    end: float
    scores: np.ndarray

    def top(self, count: int) -> list[int]:
        """Returns the ``count`` classes with the highest scores, best first."""
        return [int(c) for c in np.argsort(-self.scores, kind="stable")[:count]]


def predict(
    model: TrainedModel,
    path: StrPath,
    views: Views | None = None,
    *,
    window: float | None = None,
    stride: float | None = None,
) -> list[Prediction]:
    """Classifies a video. It is decoded once and shown clip by clip, all crops at once.

    With neither ``window`` nor ``stride`` the whole video is one span, and the scores are those of
    PySlowFast's test with as many views, divided by their number if the test sums them.

    Args:
        model: the network.
        path: the video.
        views: by default 10 clips of 3 crops.
        window: seconds of a sliding window; by default, if ``stride`` is given, a clip's length.
        stride: seconds from window to window; by default ``window``.

    Raises:
        InputError: if the video cannot be read, or for invalid windows.
    """
    views = views or Views()
    preprocessing = model.preprocessing
    check_windows(preprocessing, window, stride)
    path = os.fspath(path)
    duration = video_duration(path)
    spans = [Span(0.0, duration)]
    if window is not None or stride is not None:
        window = window or preprocessing.seconds
        spans = sliding_spans(duration, window, stride or window)
    clips = read_clips(path, preprocessing, spans, views.clips, views.crop_names)
    scores = span_scores(model, clips, views, len(spans))
    return [Prediction(*span, row) for span, row in zip(spans, scores, strict=True)]


def span_scores(
    model: TrainedModel, clips: Iterable[tuple[int, Clip]], views: Views, spans: int = 1
) -> np.ndarray:
    """Returns the scores of spans, (spans, L), from their clips.

    Args:
        model: the network.
        clips: the number of the span and the clip, in any order; all clips of all spans.
        views: how many clips a span has, and which crops are shown of each.
        spans: how many there are.
    """
    totals = torch.zeros(spans, model.num_classes)
    take_highest = model.preprocessing.ensemble_method == "max"
    for batch in _batches(clips, max(model.views // views.crops, 1)):
        numbers = [number for number, _ in batch]
        by_clip = [
            to_pathways(clip.frames, model.preprocessing, *views.crop_names) for _, clip in batch
        ]
        scores = model.scores([torch.cat(pathway) for pathway in zip(*by_clip, strict=True)])
        for number, rows in zip(numbers, scores.split(views.crops), strict=True):
            if take_highest:
                totals[number] = torch.maximum(totals[number], rows.amax(dim=0))
            else:
                totals[number] += rows.sum(dim=0)
    count = 1 if take_highest else (views.clips or 1) * views.crops
    return (totals / count).numpy()


def _batches(clips: Iterable[tuple[int, Clip]], size: int) -> Iterator[list[tuple[int, Clip]]]:
    clips = iter(clips)
    while batch := list(islice(clips, size)):
        yield batch
