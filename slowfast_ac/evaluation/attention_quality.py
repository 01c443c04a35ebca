"""Measures how well a trained network attends to the target, on clips with known boxes.

Each video is represented by its middle clip, with whole frames and the maps of its true class. A
frame's map, placed over the frame, is compared with that frame's box: pointing game, energy in the
box, and chance (see slowfast_ac.evaluation.measures). A clip's value is the mean over its frames.
The streams' agreement compares the maps of Eq. 1 and Eq. 2, as Eq. 3 does, averaged over the clip's
frames, at their own size.
"""

import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast_ac.data.lists import Entry, list_format, read_list
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.measures import (
    agreement,
    area_share,
    energy_in_box,
    mean_and_error,
    pointing_game,
)
from slowfast_ac.files import write_csv, write_json
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.visualization.annotation import Annotation, read_annotation
from slowfast_ac.visualization.heatmap import Heatmap, heatmap

COLUMNS = (
    *("path", "label", "predicted", "score", "stream", "pointing", "energy", "chance"),
    "agreement",
)


def attention_quality(
    cfg: CfgNode | str | os.PathLike | None,
    checkpoint: str | os.PathLike,
    list_path: str | os.PathLike,
    *,
    scales: Sequence[float] = (1.0,),
    output: str | os.PathLike | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Measures a checkpoint's attention on the clips of a list that have boxes.

    Args:
        cfg: the config that it was trained with, or its file; None takes the checkpoint's.
        checkpoint: see :func:`~slowfast_ac.inference.load.load_model`.
        list_path: list of videos with NAME.json next to NAME.mp4.
        scales: sizes of the clip that the spatial map averages, 1.0 first.
        output: folder that gets ``attention_quality.csv``, one row per clip and stream, and
            ``attention_quality.json`` with the returned values.
        progress: show it on stderr, if that is a terminal.

    Returns:
        See :func:`summarise`.

    Raises:
        InputError: if the checkpoint does not fit the config, or no video of the list has boxes.
    """
    model = load_model(checkpoint, config=cfg)
    clips = read_clips_with_boxes(model.config, list_path)
    rows = []
    hidden = None if progress else True
    for entry, annotation in tqdm(clips, unit="clip", file=sys.stderr, disable=hidden):
        rows += measure_clip(model, entry, annotation, scales)
    summary = summarise(rows)
    if output is not None:
        table = ([_cell(row[column]) for column in COLUMNS] for row in rows)
        write_csv(Path(output) / "attention_quality.csv", COLUMNS, table)
        write_json(Path(output) / "attention_quality.json", summary)
    return summary


def read_clips_with_boxes(
    cfg: CfgNode, list_path: str | os.PathLike
) -> list[tuple[Entry, Annotation]]:
    """Returns the list's videos that have boxes.

    Raises:
        InputError: if no video has boxes, or the list is bad.
    """
    entries = read_list(list_path, **list_format(cfg), num_classes=cfg.MODEL.NUM_CLASSES)
    annotations = [read_annotation(entry.path) for entry in entries]
    pairs = zip(entries, annotations, strict=True)
    clips = [(entry, annotation) for entry, annotation in pairs if annotation is not None]
    if not clips:
        raise InputError(f"{list_path}: none of its videos has a json with boxes beside it")
    return clips


def measure_clip(
    model: TrainedModel, entry: Entry, annotation: Annotation, scales: Sequence[float] = (1.0,)
) -> list[dict]:
    """Measures one clip.

    Returns:
        A dict per stream, with the keys :data:`COLUMNS`. ``energy`` is nan if no map of the clip
        has a positive value, ``agreement`` if there is only one stream or a map is constant.
    """
    network = model.require_network("measure maps of")
    result = heatmap(network, entry.path, model.preprocessing, entry.label, scales=scales)
    height, width = result.clip.frames.shape[1:3]
    frame = (width, height)
    rows = []
    for name, (maps, times) in result.streams.items():
        boxes = annotation.boxes_at(times)
        cams = [result.over_frame(cam) for cam in maps]
        pairs = list(zip(cams, boxes, strict=True))
        energies = [energy_in_box(cam, box, frame) for cam, box in pairs]
        rows.append(
            {
                "path": entry.path,
                "label": entry.label,
                "predicted": result.predicted,
                "score": result.score,
                "stream": name,
                "pointing": float(np.mean([pointing_game(cam, box, frame) for cam, box in pairs])),
                "energy": mean_and_error(energies)[0],
                "chance": float(np.mean([area_share(box, frame) for box in boxes])),
                "agreement": streams_agreement(result),
            }
        )
    return rows


def summarise(rows: Iterable[dict]) -> dict[str, float]:
    """Returns means over the clips and, under ``..._error``, their standard errors.

    The keys: ``clips``; ``pointing``, ``energy`` and ``chance`` after each stream's name, such as
    ``spatial_pointing``; ``agreement``. Undefined values, such as the error of a single clip or
    the agreement of a single stream, are left out.
    """
    by_stream: dict[str, list[dict]] = {}
    for row in rows:
        by_stream.setdefault(row["stream"], []).append(row)
    first = next(iter(by_stream.values()))
    columns = {"agreement": [row["agreement"] for row in first]}
    for stream, own in by_stream.items():
        for measure in ("pointing", "energy", "chance"):
            columns[f"{stream}_{measure}"] = [row[measure] for row in own]
    summary = {"clips": float(len(first))}
    for name, values in columns.items():
        summary[name], summary[f"{name}_error"] = mean_and_error(values)
    return {name: value for name, value in summary.items() if not math.isnan(value)}


def streams_agreement(result: Heatmap) -> float:
    """Returns how well both streams' maps of a clip agree; nan if there is only one stream."""
    if "temporal" not in result.streams:
        return math.nan
    spatial, temporal = (result.streams[name].maps for name in ("spatial", "temporal"))
    return agreement(spatial.mean(axis=0), temporal.mean(axis=0))


def _cell(value: object) -> object:
    """Returns a cell of the csv, which is empty for nan."""
    return "" if isinstance(value, float) and math.isnan(value) else value
