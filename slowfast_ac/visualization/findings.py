"""Predictions of networks for one video, ready to show: classes, scores over time, maps."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.files import StrPath
from slowfast_ac.inference.head import has_maps
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction, predict
from slowfast_ac.visualization.classes import same_classes
from slowfast_ac.visualization.files import write_overlay
from slowfast_ac.visualization.heatmap import heatmap
from slowfast_ac.visualization.score_curves import draw_score_curves, leading_classes

# In a longer video some clips are skipped, so that an answer does not take too long.
MOST_WINDOWS = 60


@dataclass(frozen=True)
class Findings:
    """One network's predictions for a video.

    Args:
        whole: the prediction for the whole video.
        windows: the predictions for its clips in order; for a short video only ``whole``.
        timeline: a picture of the windows' scores; None for a short video.
    """

    whole: Prediction
    windows: Sequence[Prediction]
    timeline: Path | None


def find(
    models: Mapping[str, TrainedModel], video: str, folder: StrPath, views: Views, top: int = 5
) -> dict[str, Findings]:
    """Returns each network's predictions for a video.

    Args:
        models: the networks by their names. If they have the same classes, their pictures show the
            same classes in the same colours.
        video: the file.
        folder: gets a new folder with the pictures.
        views: of the whole video, whose scores are averaged.
        top: number of curves in a picture.

    Raises:
        InputError: if the video cannot be read.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))
    whole, windows = {}, {}
    for name, model in models.items():
        whole[name] = windows[name] = predict(model, video, views)
        clip, end = model.preprocessing.seconds, whole[name][0].end
        if end > 1.5 * clip:
            stride = max(clip, end / MOST_WINDOWS)
            windows[name] = predict(model, video, CENTER_VIEW, stride=stride)
    share = _of_first_classes(models) == list(models)
    found = {}
    for number, (name, model) in enumerate(models.items()):
        timeline = None
        if len(windows[name]) > 1:
            timeline = folder / f"timeline-{number}.png"
            seen = sum(windows.values(), []) if share else windows[name]
            draw_score_curves(timeline, video, model, windows[name], leading_classes(seen, top))
        found[name] = Findings(whole[name][0], windows[name], timeline)
    return found


def draw_maps(
    models: Mapping[str, TrainedModel], video: str, folder: StrPath, window: Prediction
) -> Path | None:
    """Draws the maps of a window's best class, for the clip in the middle of the window.

    Programs and networks without maps, such as X3D and MViT, and networks whose classes differ from
    the first one's are left out.

    Args:
        models: the networks by their names; drawn one below the other.
        video: the file.
        folder: gets a new folder with the maps.
        window: a prediction of the first network.

    Returns:
        The video of the maps; None if no network has any.

    Raises:
        InputError: if the video cannot be read.
    """
    networks = {name: models[name].network for name in _of_first_classes(models)}
    [best] = window.top(1)
    maps = {
        name: heatmap(
            network,
            video,
            models[name].preprocessing,
            best,
            start=window.start,
            end=window.end,
        )
        for name, network in networks.items()
        if network is not None and has_maps(network)
    }
    if not maps:
        return None
    path = Path(tempfile.mkdtemp(dir=folder)) / "maps.mp4"
    write_overlay(path, video, maps)
    return path


def _of_first_classes(models: Mapping[str, TrainedModel]) -> list[str]:
    """Returns the names of the networks that have the classes of the first one."""
    first, *_ = models.values()
    return [name for name, model in models.items() if same_classes(first, model)]
