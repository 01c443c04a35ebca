"""Predictions as a table for people, and as json or csv for programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slowfast_ac.files import write_csv, write_json
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction

SUFFIXES = (".json", ".csv")
CSV_HEADER = ("video", "start", "end", "rank", "class_id", "class", "score")


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


def write_predictions(
    path: str,
    model: TrainedModel,
    views: str,
    predictions: Mapping[str, Sequence[Prediction]],
    errors: Mapping[str, str],
    top: int,
) -> None:
    """Writes all videos' best classes, whole or not at all.

    Args:
        path: ``.json``, or ``.csv`` with one line per class, which leaves unread videos out.
        model: names the classes.
        views: in words, for the json.
        predictions: of each video that was read.
        errors: what is wrong with each that was not.
        top: classes per span.
    """
    if Path(path).suffix == ".csv":
        rows = [
            (video, span["start"], span["end"], *entry.values())
            for video, spans in predictions.items()
            for span in _describe(model, spans, top)
            for entry in span["top"]
        ]
        write_csv(path, CSV_HEADER, rows)
        return
    videos = [
        {"video": video, "predictions": _describe(model, spans, top)}
        for video, spans in predictions.items()
    ]
    videos += [{"video": video, "error": error} for video, error in errors.items()]
    write_json(path, {"checkpoint": model.path, "views": views, "videos": videos})


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
