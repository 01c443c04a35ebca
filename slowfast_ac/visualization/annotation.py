"""The annotation of a clip: its class and, for each frame, the box of the action."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slowfast_ac.errors import InputError


@dataclass(frozen=True)
class Annotation:
    """The file ``NAME.json`` next to a video ``NAME.mp4``.

    Args:
        label: the clip's class, or None.
        fps: frames per second that the boxes count in.
        boxes: (F, 4), one box per frame: left, top, right, bottom in pixels, right and bottom
            exclusive.
    """

    label: int | None
    fps: float
    boxes: np.ndarray

    def boxes_at(self, times: np.ndarray) -> np.ndarray:
        """Returns the boxes of the frames at the given seconds, (T, 4)."""
        frames = np.rint(times * self.fps).astype(int)
        return self.boxes[frames.clip(0, len(self.boxes) - 1)]


def read_annotation(video: str | os.PathLike) -> Annotation | None:
    """Reads the annotation next to a video; None if there is no such file or it has no boxes.

    Raises:
        InputError: naming the file, if its boxes are malformed.
    """
    path = Path(video).with_suffix(".json")
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    # Some data sets keep other data in files of this name.
    if not isinstance(data, dict) or "boxes" not in data:
        return None
    try:
        boxes, fps = np.array(data["boxes"], dtype=float), float(data["fps"])
        label = None if data.get("label") is None else int(data["label"])
    except (KeyError, TypeError, ValueError):
        boxes, fps, label = np.empty(0), 0.0, None
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) or not fps > 0:
        raise InputError(
            f'{path}: boxes must be [[left, top, right, bottom], ...], one per frame, and "fps" a '
            "positive number"
        )
    return Annotation(label, fps, boxes)
