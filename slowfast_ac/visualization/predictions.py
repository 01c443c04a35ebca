"""Heatmaps for predictions: where the network looked when it classified a video."""

import os
from collections.abc import Sequence
from pathlib import Path

from slowfast_ac.inference.head import find_head
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction
from slowfast_ac.visualization.files import write_heatmaps
from slowfast_ac.visualization.heatmap import heatmap


def check_has_maps(model: TrainedModel) -> None:
    """Rejects a model without accessible features.

    Raises:
        InputError: naming the file, for a program.
    """
    find_head(model.require_network("draw maps of"))


def write_prediction_heatmaps(
    folder: str | os.PathLike,
    stem: str,
    video: str,
    model: TrainedModel,
    predictions: Sequence[Prediction],
) -> list[Path]:
    """Draws the maps of each prediction's best class, over the clip in the middle of its span.

    Args:
        folder: made if it is missing; see
            :func:`~slowfast_ac.visualization.files.write_heatmaps` for the files.
        stem: name of the files; numbered from 1 if there are several predictions.
        video: the predicted video.
        model: the network; weights, not a program.
        predictions: of this video.

    Returns:
        The overlay video of every prediction.

    Raises:
        InputError: for a program, or a video that cannot be read.
    """
    check_has_maps(model)
    classes = dict(enumerate(model.classes or ()))
    network = model.require_network("draw maps of")
    label = Path(model.path).stem
    videos = []
    for number, prediction in enumerate(predictions, start=1):
        name = stem if len(predictions) == 1 else f"{stem}-{number}"
        start, end = prediction.start, prediction.end
        (best,) = prediction.top(1)
        maps = heatmap(network, video, model.preprocessing, best, start=start, end=end)
        source = {"checkpoint": model.path, "window": [start, end]}
        write_heatmaps(folder, name, video, {label: maps}, classes=classes, sources={label: source})
        videos.append(Path(folder) / f"{name}.mp4")
    return videos
