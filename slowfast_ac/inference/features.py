"""Extracts a video's features: the last feature maps of every pathway, clip by clip."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_ac.config import FAST, config_value
from slowfast_ac.data.clips import read_clips, to_pathways
from slowfast_ac.data.sampling import Span
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, atomic_path, stamp, write_json
from slowfast_ac.inference.head import find_head
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.windows import check_windows, sliding_spans, video_duration
from slowfast_ac.models.surgery import captured_inputs

STREAMS = ("slow", "fast")


@dataclass(frozen=True)
class Features:
    """Features of K windows of a video; C channels, T frames, h x w the size of a map.

    Args:
        windows: start and end of each window, seconds.
        frames: (K, frames per clip), start times of the frames that the network saw, seconds.
        streams: ``slow``, ``fast`` or both: (K, C) averages, or (K, C, T, h, w) maps; float32.
        slow_frames: which of a clip's frames the slow pathway saw.
    """

    windows: list[Span]
    frames: np.ndarray
    streams: dict[str, np.ndarray]
    slow_frames: np.ndarray


def extract_features(
    model: TrainedModel,
    path: StrPath,
    *,
    stream: str = "both",
    maps: bool = False,
    window: float | None = None,
    stride: float | None = None,
) -> Features:
    """Computes the features of a video, which is decoded once.

    They are the maps that the head averages: res5 of each pathway, for the centre crop of the clip
    in the middle of each window. All windows' features are held in memory.

    Args:
        model: the network; weights, not a program.
        path: the video.
        stream: ``slow``, ``fast`` or ``both``; a network of one pathway has only that one.
        maps: whether to keep frames and positions; otherwise they are averaged.
        window: seconds; by default a clip's length.
        stride: seconds from window to window; by default ``window``.

    Raises:
        InputError: if the video cannot be read, or for an invalid stream or invalid windows.
    """
    preprocessing = model.preprocessing
    names = check_stream(model, stream)
    pooling, _ = find_head(model.require_features("take features from"))
    check_windows(preprocessing, window, stride)
    window = window or preprocessing.seconds
    path = os.fspath(path)
    spans = sliding_spans(video_duration(path), window, stride or window)
    frames: list[np.ndarray] = []
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _, clip in read_clips(path, preprocessing, spans, crops=("center",)):
        pathways = to_pathways(clip.frames, preprocessing, "center")
        with captured_inputs(pooling) as features:
            model.scores(pathways)
        frames.append(clip.times)
        for name in names:
            volume = features[STREAMS.index(name) if len(features) > 1 else 0][0]
            row = volume if maps else volume.mean(dim=(1, 2, 3))
            rows[name].append(row.float().cpu().numpy())
    streams = {name: np.stack(values) for name, values in rows.items()}
    return Features(spans, np.stack(frames), streams, preprocessing.slow_frames())


def write_features(
    directory: StrPath, stem: str, video: str, settings: Mapping[str, Any], features: Features
) -> list[Path]:
    """Writes ``STEM.slow.npy`` and ``STEM.fast.npy`` and, last, ``STEM.json`` with the times.

    Args:
        directory: made if it is missing.
        stem: name of the files.
        video: named in the json.
        settings: what the features depend on, such as the checkpoint; kept in the json.
        features: what to write.

    Returns:
        The files.
    """
    paths = []
    for name, array in features.streams.items():
        paths.append(Path(directory) / f"{stem}.{name}.npy")
        with atomic_path(paths[-1]) as temporary:
            np.save(temporary, array, allow_pickle=False)
    paths.append(Path(directory) / f"{stem}.json")
    maps = any(array.ndim > 2 for array in features.streams.values())
    first = features.windows[0]
    data = {
        "video": video,
        "stamp": stamp(video),
        **settings,
        "streams": {name: list(array.shape) for name, array in features.streams.items()},
        "axes": ["window", "channel", *(("frame", "y", "x") if maps else ())],
        # Middle of the first row's window, seconds.
        "offset": (first.start + first.end) / 2,
        "slow_frames": features.slow_frames.tolist(),
        "windows": [
            {"start": span.start, "end": span.end, "frames": times.tolist()}
            for span, times in zip(features.windows, features.frames, strict=True)
        ],
    }
    write_json(paths[-1], data)
    return paths


def table_rows(directory: StrPath, stem: str) -> Iterator[dict[str, Any]]:
    """Yields one row per window of a video, from the files of :func:`write_features`.

    A row has ``video``, ``start`` and ``end`` in seconds, and the averages of each stream.
    """
    data = json.loads((Path(directory) / f"{stem}.json").read_text(encoding="utf-8"))
    arrays = {
        name: np.load(Path(directory) / f"{stem}.{name}.npy", allow_pickle=False)
        for name in data["streams"]
    }
    for number, window in enumerate(data["windows"]):
        times = {"video": data["video"], "start": window["start"], "end": window["end"]}
        yield {**times, **{name: array[number] for name, array in arrays.items()}}


def has_features(directory: StrPath, stem: str, video: str, settings: Mapping[str, Any]) -> bool:
    """Returns whether :func:`write_features` finished this file with these settings."""
    try:
        data = json.loads((Path(directory) / f"{stem}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # As JSON has them: a tuple comes back as a list.
    wanted = json.loads(json.dumps({"video": video, "stamp": stamp(video), **settings}))
    return all(data.get(key) == value for key, value in wanted.items())


def check_stream(model: TrainedModel, stream: str) -> tuple[str, ...]:
    """Returns the names of the streams that ``stream`` selects.

    Raises:
        InputError: if the model has no features, or lacks the stream.
    """
    model.require_features("take features from")
    if stream not in (*STREAMS, "both"):
        raise InputError(f"stream: {stream!r} is not one of slow, fast, both")
    if model.preprocessing.alpha is None:
        own = FAST if config_value(model.config, "MODEL.ARCH") == FAST else "slow"
        if stream not in (own, "both"):
            raise InputError(f"{model.path}: a network of one pathway has no {stream} stream")
        return (own,)
    return STREAMS if stream == "both" else (stream,)
