"""Where a network looked when it named what is in a video: maps beside predictions."""

import os
from collections.abc import Sequence
from pathlib import Path

from slowfast_ac.errors import InputError
from slowfast_ac.inference.predict import Prediction
from slowfast_ac.inference.predictor import Predictor
from slowfast_ac.inference.windows import Span, clip_starts
from slowfast_ac.visualization.files import write_heatmaps
from slowfast_ac.visualization.heatmap import find_head, heatmap


def check_has_maps(predictor: Predictor) -> None:
    """Refuses a predictor whose features cannot be seen.

    Raises:
        InputError: naming the file, for a program.
    """
    if predictor.network is None:
        raise InputError(f"{predictor.path}: a program returns scores alone; draw maps of weights")
    find_head(predictor.network)


def write_prediction_heatmaps(
    folder: str | os.PathLike,
    stem: str,
    video: str,
    predictor: Predictor,
    predictions: Sequence[Prediction],
) -> list[Path]:
    """Draws the maps of each prediction's best class, over the clip in the middle of its span.

    Args:
        folder: made if it is missing; see
            :func:`~slowfast_ac.visualization.files.write_heatmaps` for the files.
        stem: name of the files; numbered from 1 if there are several predictions.
        video: what was predicted.
        predictor: the network; weights, not a program.
        predictions: of this video.

    Returns:
        The overlay video of every prediction.

    Raises:
        InputError: for a program, or a video that cannot be read.
    """
    check_has_maps(predictor)
    classes = dict(enumerate(predictor.classes or ()))
    network = Path(predictor.path).stem
    videos = []
    for number, prediction in enumerate(predictions, start=1):
        name = stem if len(predictions) == 1 else f"{stem}-{number}"
        span = Span(prediction.start, prediction.end)
        (start,) = clip_starts(span, predictor.preprocessing, None)
        (best,) = prediction.top(1)
        maps = heatmap(predictor.network, video, predictor.preprocessing, best, start=start)
        source = {"checkpoint": predictor.path, "window": list(span)}
        write_heatmaps(
            folder, name, video, {network: maps}, classes=classes, sources={network: source}
        )
        videos.append(Path(folder) / f"{name}.mp4")
    return videos
