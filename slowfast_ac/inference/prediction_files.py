"""Formats predictions as a table for people, and as json, csv or parquet for programs."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slowfast_ac.files import atomic_path, write_csv, write_json_lines, write_parquet
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction

SUFFIXES = (".json", ".csv", ".jsonl", ".parquet")
# Columns of a table and their Arrow types.
COLUMNS = {
    **{"video": "string", "start": "double", "end": "double", "rank": "int64"},
    **{"class_id": "int64", "class": "string", "score": "double"},
}


def format_predictions(
    model: TrainedModel, video: str, predictions: Sequence[Prediction], top: int
) -> str:
    """Returns the lines of one video: its name, then each span's best classes and their scores."""
    lines = [video]
    for prediction in predictions:
        label = f"{prediction.start:.2f} - {prediction.end:.2f} s"
        for class_id in prediction.top(top):
            score = prediction.scores[class_id]
            lines.append(f"  {label:>19}  {score:.4f}  {model.class_name(class_id)}")
            label = ""
    return "\n".join(lines)


def describe_predictions(
    model: TrainedModel, video: str, predictions: Sequence[Prediction], top: int
) -> dict[str, Any]:
    """Returns one video's best classes, for JSON."""
    return {"video": video, "predictions": _describe(model, predictions, top)}


def write_predictions(
    path: str, checkpoint: str, views: str, entries: Iterable[Mapping[str, Any]]
) -> None:
    """Writes all videos' best classes, whole or not at all; holds one video in memory.

    Args:
        path: ``.json``; ``.csv`` or ``.parquet`` with one row per class, which leave unread videos
            out; or ``.jsonl`` with one line per video.
        checkpoint: named in the json.
        views: in words, for the json.
        entries: what :func:`describe_predictions` returned for each video, or ``video`` and
            ``error``.
    """
    suffix = Path(path).suffix
    if suffix in (".csv", ".parquet"):
        rows = (
            {"video": entry["video"], "start": span["start"], "end": span["end"], **row}
            for entry in entries
            for span in entry.get("predictions", ())
            for row in span["top"]
        )
        if suffix == ".csv":
            write_csv(path, COLUMNS, (row.values() for row in rows))
        else:
            write_parquet(path, COLUMNS, rows)
        return
    if suffix == ".jsonl":
        write_json_lines(path, entries)
        return
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        head = json.dumps({"checkpoint": checkpoint, "views": views, "videos": []}, indent=2)
        file.write(head.removesuffix("]\n}"))
        separator = "\n"
        for entry in entries:
            file.write(separator + textwrap.indent(json.dumps(entry, indent=2), "    "))
            separator = ",\n"
        file.write("\n  ]\n}\n")


def _describe(model: TrainedModel, spans: Sequence[Prediction], top: int) -> list[dict[str, Any]]:
    return [
        {
            "start": span.start,
            "end": span.end,
            "top": [
                {
                    "rank": rank,
                    "class_id": class_id,
                    "class": model.class_name(class_id),
                    "score": float(span.scores[class_id]),
                }
                for rank, class_id in enumerate(span.top(top), start=1)
            ],
        }
        for span in spans
    ]
