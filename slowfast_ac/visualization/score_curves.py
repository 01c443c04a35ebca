"""Draws the scores of a video's windows over time."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_ac.figures import saved_figure
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction

# More curves could not be told apart without colour.
_STYLES = ("o-", "s--", "D-.", "^:", "v-", "P--", "X-.", "*:")


def leading_classes(predictions: Sequence[Prediction], count: int) -> list[int]:
    """Returns the classes with the highest scores in any window, highest first; at most 8."""
    highest = np.max([prediction.scores for prediction in predictions], axis=0)
    best = np.argsort(-highest, kind="stable")[: min(count, len(_STYLES))]
    return [int(class_id) for class_id in best]


def draw_score_curves(
    path: str | os.PathLike[str],
    video: str,
    model: TrainedModel,
    predictions: Sequence[Prediction],
    classes: Sequence[int],
) -> None:
    """Draws the scores of some classes; each point is at the middle of a window.

    Args:
        path: the file; its suffix chooses the format.
        video: names the picture.
        model: names the classes.
        predictions: of the video's windows, at least one.
        classes: numbers of the classes, see :func:`leading_classes`.
    """
    scores = np.stack([prediction.scores for prediction in predictions])
    middles = [(prediction.start + prediction.end) / 2 for prediction in predictions]
    # Too many marks would hide the curves.
    every = max(1, len(predictions) // 40)
    with saved_figure(path, figsize=(8, 4)) as figure:
        axis = figure.subplots()
        lines, names = [], []
        for class_id, style in zip(classes, _STYLES, strict=False):
            lines += axis.plot(middles, scores[:, class_id], style, markersize=4, markevery=every)
            names.append(model.class_name(class_id))
        axis.set(xlim=(predictions[0].start, predictions[-1].end), ylim=(0, 1.03))
        axis.set(xlabel="seconds, at the middle of each window", ylabel="score")
        axis.set_title(Path(video).name, fontsize=10)
        axis.grid(alpha=0.3)
        # Named here, since matplotlib leaves out names that begin with an underscore.
        figure.legend(lines, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
