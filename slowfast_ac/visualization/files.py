"""Writes the files of a heatmap: a strip, a video and the raw maps."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slowfast_ac.data.video import VideoReader, iter_frames, write_timed_video
from slowfast_ac.files import atomic_path, write_json
from slowfast_ac.visualization.heatmap import Heatmap
from slowfast_ac.visualization.picture import draw_strip, overlay_frames


def write_heatmaps(
    folder: str | os.PathLike,
    name: str,
    video: str | os.PathLike,
    heatmaps: Mapping[str, Heatmap],
    *,
    classes: Mapping[int, str] | None = None,
    true_class: int | None = None,
    boxes: np.ndarray | None = None,
    sources: Mapping[str, Mapping] | None = None,
) -> list[Path]:
    """Writes one video's heatmaps, each file whole or not at all.

    Args:
        folder: gets ``NAME.png``, ``NAME.mp4``, ``NAME.json`` and one
            ``NAME.[NETWORK.]STREAM.npy`` per stream.
        name: NAME.
        video: the video that they were computed from.
        heatmaps: by the network's name, all of the same class.
        classes: names of the classes.
        true_class: the clip's true class, for the title.
        boxes: (T, 4), a box in each frame of the first heatmap's clip, in pixels.
        sources: more entries for each network in the json: its config, its checkpoint.

    Returns:
        The files.
    """
    folder = Path(folder)
    first = next(iter(heatmaps.values()))
    records = {}
    written = []
    for network, heatmap in heatmaps.items():
        streams = {}
        for stream, (maps, times) in heatmap.streams.items():
            middle = f"{network}." if len(heatmaps) > 1 else ""
            path = folder / f"{name}.{middle}{stream}.npy"
            with atomic_path(path) as temporary:
                np.save(temporary, maps)
            streams[stream] = {"file": path.name, "times": times.tolist()}
            written.append(path)
        records[network] = {
            **(sources or {}).get(network, {}),
            "score": heatmap.score,
            "predicted_class": _described(heatmap.predicted, classes),
            "predicted_score": float(heatmap.scores.max()),
            "streams": streams,
        }
    record = {
        "video": os.fspath(video),
        "class": _described(first.class_id, classes),
        "true_class": None if true_class is None else _described(true_class, classes),
        "networks": records,
    }
    write_json(folder / f"{name}.json", record)

    title = f"{name}\n{describe(heatmaps, classes, true_class)}"
    draw_strip(folder / f"{name}.png", heatmaps, title, boxes)

    write_overlay(folder / f"{name}.mp4", video, heatmaps)
    return [folder / f"{name}{suffix}" for suffix in (".png", ".mp4", ".json")] + written


def write_overlay(
    path: str | os.PathLike, video: str | os.PathLike, heatmaps: Mapping[str, Heatmap]
) -> None:
    """Writes the maps over the frames of the first heatmap's clip, as an mp4.

    Args:
        path: the file to write.
        video: the video that the maps were computed from.
        heatmaps: by the network's name, one below the other.
    """
    times = next(iter(heatmaps.values())).clip.times
    with VideoReader(video) as reader:
        fps = reader.fps
    # The clip's last frame is the last one shown.
    frames = iter_frames(video, times[0], np.nextafter(times[-1], np.inf))
    write_timed_video(path, overlay_frames(frames, heatmaps), fps)


def describe(
    heatmaps: Mapping[str, Heatmap],
    classes: Mapping[int, str] | None = None,
    true_class: int | None = None,
) -> str:
    """Returns one line: the class, whether it is the true one, and each network's scores."""
    class_id = next(iter(heatmaps.values())).class_id
    text = f'maps of class "{class_name(class_id, classes)}"'
    if true_class == class_id:
        text += " (the true class)"
    elif true_class is not None:
        text += f' (true class: "{class_name(true_class, classes)}")'
    for network, heatmap in heatmaps.items():
        text += f"   {network}: {heatmap.score:.2f}"
        if heatmap.predicted != class_id:
            predicted = class_name(heatmap.predicted, classes)
            text += f', predicts "{predicted}" {heatmap.scores.max():.2f}'
    return text


def class_name(class_id: int, classes: Mapping[int, str] | None = None) -> str:
    """Returns the class's name, or its number where the name is not known."""
    return (classes or {}).get(class_id, str(class_id))


def _described(class_id: int, classes: Mapping[int, str] | None) -> dict:
    return {"id": class_id, "name": (classes or {}).get(class_id)}
