"""A generated action data set: clips as mp4 files, the target's boxes and PySlowFast's lists.

What the clips show, and why one frame does not tell their class, stands in
:mod:`slowfast_ac.data.synthetic.clip`.
"""

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from slowfast_ac.data.class_map import write_class_map
from slowfast_ac.data.lists import Entry, write_list
from slowfast_ac.data.parallel import map_processes
from slowfast_ac.data.synthetic.clip import CLASSES, render_clip
from slowfast_ac.data.video import write_video
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_json

SPLITS = ("train", "val", "test")
CLIPS_PER_CLASS: Mapping[str, int] = MappingProxyType({"train": 40, "val": 10, "test": 10})
# Raise it when the same parameters draw other clips, so that old data sets are not mixed with new.
VERSION = 1

_MIN_SIDE = 32


def write_dataset(
    folder: str | os.PathLike,
    clips_per_class: Mapping[str, int] = CLIPS_PER_CLASS,
    size: tuple[int, int] = (128, 96),
    num_frames: int = 64,
    fps: float = 30.0,
    seed: int = 0,
    num_distractors: int = 3,
    workers: int = 2,
) -> Path:
    """Writes a data set that PySlowFast reads, or completes one that was interrupted.

    Writes ``videos/SPLIT/CLASS_NUMBER.mp4`` with the boxes in a ``.json`` of the same name,
    ``train.csv``, ``val.csv``, ``test.csv``, ``classes.json`` and ``dataset.json``, the parameters.
    Clips that are there are not made again. No two splits, and no two values of ``seed``, share a
    scene; within a split every scene occurs once in each class.

    Args:
        folder: new or empty, or a data set of the same parameters.
        clips_per_class: for each of train, val and test.
        size: (W, H) in pixels, even numbers.
        num_frames: of a clip.
        fps: frames per second.
        seed: at least 0.
        num_distractors: see :func:`render_clip`.
        workers: processes.

    Returns:
        The absolute path of the folder: DATA.PATH_TO_DATA_DIR.

    Raises:
        InputError: for a bad parameter, for a folder whose path has spaces, which PySlowFast's
            lists cannot hold, or that holds something else.
    """
    folder = Path(folder).absolute()
    parameters = {
        "version": VERSION,
        "clips_per_class": dict(clips_per_class),
        "size": list(size),
        "num_frames": num_frames,
        "fps": fps,
        "seed": seed,
        "num_distractors": num_distractors,
    }
    _check(parameters)
    _claim(folder, parameters)

    clips, lists = [], {}
    for split_number, split in enumerate(SPLITS):
        first = (seed * len(SPLITS) + split_number) * 10**6
        entries = lists[f"{split}.csv"] = []
        for label, name in enumerate(CLASSES):
            for number in range(clips_per_class[split]):
                path = folder / "videos" / split / f"{name}_{number:04d}.mp4"
                entries.append(Entry(str(path), label))
                # The boxes are written last: where they are, the clip is whole.
                if not (path.exists() and path.with_suffix(".json").exists()):
                    clips.append((path, label, first + number))
    write = functools.partial(
        _write_clip, size=size, num_frames=num_frames, fps=fps, num_distractors=num_distractors
    )
    for error in map_processes(write, clips, workers, "generating clips"):
        if error:
            raise error
    for name, entries in lists.items():
        write_list(folder / name, entries)
    write_class_map(folder / "classes.json", {name: i for i, name in enumerate(CLASSES)})
    return folder


def read_boxes(video_path: str | os.PathLike) -> np.ndarray:
    """Returns the boxes (T, 4) of the target in a generated clip; see :func:`render_clip`.

    Raises:
        InputError: when the file of boxes beside the video is missing or malformed.
    """
    path = Path(video_path).with_suffix(".json")
    try:
        boxes = np.array(json.loads(path.read_text(encoding="utf-8"))["boxes"], np.float64)
    except OSError as error:
        raise InputError(f"{path}: cannot read the boxes: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        boxes = np.empty(0)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"{path}: not the boxes of a generated clip; remove it and generate anew")
    return boxes


def _check(parameters: dict) -> None:
    counts = parameters["clips_per_class"]
    if set(counts) != set(SPLITS) or not all(0 < count <= 10**6 for count in counts.values()):
        raise InputError(f"clips_per_class {counts}: give at least 1 for each of {SPLITS}")
    if any(length < _MIN_SIDE or length % 2 for length in parameters["size"]):
        raise InputError(f"size {parameters['size']}: give even numbers from {_MIN_SIDE} on")
    for name, least in (("num_frames", 1), ("seed", 0), ("num_distractors", 0)):
        if parameters[name] < least:
            raise InputError(f"{name} {parameters[name]}: give at least {least}")
    if not parameters["fps"] > 0:
        raise InputError(f"fps {parameters['fps']}: give a positive number")


def _claim(folder: Path, parameters: dict) -> None:
    """Makes the folder one for these parameters, or raises InputError where it is another's."""
    if len(str(folder).split()) != 1:
        raise InputError(f"{folder}: PySlowFast's lists cannot hold spaces; choose another folder")
    path = folder / "dataset.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise InputError(f"{folder}: holds other files; choose another folder") from None
        write_json(path, parameters)
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read it ({error}); choose another folder") from None
    found = found if isinstance(found, dict) else {}
    others = [
        f"{name} {found.get(name)}, not {value}"
        for name, value in parameters.items()
        if found.get(name) != value
    ]
    if others:
        raise InputError(
            f"{folder}: holds a data set of other parameters ({'; '.join(others)}); choose another "
            "folder"
        )


def _write_clip(
    clip: tuple[Path, int, int],
    size: tuple[int, int],
    num_frames: int,
    fps: float,
    num_distractors: int,
) -> None:
    path, label, seed = clip
    frames, boxes = render_clip(label, seed, size, num_frames, fps, num_distractors)
    write_video(path, frames, fps, crf=18)
    about = {"fps": fps, "width": size[0], "height": size[1]}
    about |= {"label": label, "class": CLASSES[label], "boxes": boxes.round(2).tolist()}
    write_json(path.with_suffix(".json"), about)
