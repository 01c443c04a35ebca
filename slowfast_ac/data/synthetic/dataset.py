"""Writes a generated action data set: mp4 clips, the target's boxes and PySlowFast's lists.

There are two families of clips. In ``motion`` (:mod:`slowfast_ac.data.synthetic.clip`), the class
is the target's motion. In ``kinds`` (:mod:`slowfast_ac.data.synthetic.kinds`), the class is the
target's kind and motion, and there are decoys.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from slowfast_ac.data.class_map import write_class_map
from slowfast_ac.data.lists import Entry, write_list
from slowfast_ac.data.parallel import map_processes
from slowfast_ac.data.synthetic import kinds
from slowfast_ac.data.synthetic.clip import CLASSES, render_clip
from slowfast_ac.data.video import write_video
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_json

# Family -> its classes and the function that draws a clip; scripts may add their own.
FAMILIES: dict[str, tuple[tuple[str, ...], Callable]] = {
    "motion": (CLASSES, render_clip),
    "kinds": (kinds.CLASSES, kinds.render_clip),
}
SPLITS = ("train", "val", "test")
CLIPS_PER_CLASS: Mapping[str, int] = MappingProxyType({"train": 40, "val": 10, "test": 10})
# Number of scene seeds reserved for a split, the most clips per class.
_SCENES = 10**6
# Increase this when the same parameters draw different clips, so that old and new are not mixed.
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
    family: str = "motion",
    **options: int,
) -> Path:
    """Writes a data set that PySlowFast can read, or completes an interrupted one.

    Writes ``videos/SPLIT/CLASS_NUMBER.mp4`` with the boxes in a ``.json`` of the same name,
    ``train.csv``, ``val.csv``, ``test.csv``, ``classes.json``, and the parameters in
    ``dataset.json``. Existing clips are not generated again. No two splits and no two values of
    ``seed`` share a scene; within a split, every scene occurs once in each class.

    Args:
        folder: a new or empty folder, or a data set with the same parameters.
        clips_per_class: number of clips per class for each of train, val and test.
        size: (W, H) in pixels, even numbers.
        num_frames: frames of a clip.
        fps: frames per second.
        seed: seed of the data set, at least 0.
        num_distractors: number of drifting objects, which are independent of the class.
        workers: number of processes.
        family: one of :data:`FAMILIES`.
        **options: options of the family: ``num_decoys``, for all families but ``motion``.

    Returns:
        The absolute path of the folder: DATA.PATH_TO_DATA_DIR.

    Raises:
        InputError: for an invalid parameter, a folder that contains something else, or a path with
            spaces, which PySlowFast's lists cannot contain.
    """
    folder = Path(folder).absolute()
    options = _family_options(family, options)
    parameters = {
        "version": VERSION,
        "clips_per_class": dict(clips_per_class),
        "size": list(size),
        "num_frames": num_frames,
        "fps": fps,
        "seed": seed,
        "num_distractors": num_distractors,
        **options,
    }
    _check(parameters)
    _claim(folder, parameters)
    classes, render = FAMILIES[family]

    clips, lists = [], {}
    for split_number, split in enumerate(SPLITS):
        first = (seed * len(SPLITS) + split_number) * _SCENES
        entries = lists[f"{split}.csv"] = []
        for label, name in enumerate(classes):
            for number in range(clips_per_class[split]):
                path = folder / "videos" / split / f"{name}_{number:04d}.mp4"
                entries.append(Entry(str(path), label))
                # The boxes are written last: if they exist, the clip is complete.
                if not (path.exists() and path.with_suffix(".json").exists()):
                    clips.append((path, label, name, first + number))
    own = {name: value for name, value in options.items() if name != "family"}
    render = functools.partial(
        render, size=size, num_frames=num_frames, fps=fps, num_distractors=num_distractors, **own
    )
    write = functools.partial(_write_clip, render=render, fps=fps)
    for error in map_processes(write, clips, workers, "generating clips"):
        if error:
            raise error
    for name, entries in lists.items():
        write_list(folder / name, entries)
    write_class_map(folder / "classes.json", {name: i for i, name in enumerate(classes)})
    return folder


def split_of(scene: int) -> str:
    """Returns the split of a scene, given the seed with which :func:`write_dataset` draws it."""
    return SPLITS[scene // _SCENES % len(SPLITS)]


def read_boxes(video_path: str | os.PathLike) -> np.ndarray:
    """Returns the boxes (T, 4) of the target in a generated clip; see :func:`render_clip`.

    Raises:
        InputError: if the file of boxes beside the video is missing or malformed.
    """
    path = Path(video_path).with_suffix(".json")
    try:
        boxes = np.array(json.loads(path.read_text(encoding="utf-8"))["boxes"], np.float64)
    except OSError as error:
        raise InputError(f"{path}: cannot read the boxes: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        boxes = np.empty(0)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"{path}: not the boxes of a generated clip; remove and regenerate it")
    return boxes


def _family_options(family: str, options: Mapping[str, int]) -> dict[str, int | str]:
    """Returns a family's entries in dataset.json; none for ``motion``, as in older data sets."""
    if family not in FAMILIES:
        raise InputError(f"family {family!r}: choose one of {', '.join(FAMILIES)}")
    known = {"num_decoys": 2} if family != "motion" else {}
    for name in options:
        if name not in known:
            raise InputError(f"{name}: not an option of the family {family}")
    return {"family": family, **known, **options} if family != "motion" else {}


def _check(parameters: dict) -> None:
    counts = parameters["clips_per_class"]
    if set(counts) != set(SPLITS) or not all(0 < count <= _SCENES for count in counts.values()):
        raise InputError(f"clips_per_class {counts}: give at least 1 for each of {SPLITS}")
    if any(length < _MIN_SIDE or length % 2 for length in parameters["size"]):
        raise InputError(f"size {parameters['size']}: give even numbers from {_MIN_SIDE} on")
    least_values = {"num_frames": 1, "seed": 0, "num_distractors": 0, "num_decoys": 0}
    for name, least in least_values.items():
        if parameters.get(name, least) < least:
            raise InputError(f"{name} {parameters[name]}: give at least {least}")
    if not parameters["fps"] > 0:
        raise InputError(f"fps {parameters['fps']}: give a positive number")


def _claim(folder: Path, parameters: dict) -> None:
    """Marks the folder as a data set of these parameters; raises InputError if it has others."""
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
        f"{name} {found.get(name)}, not {parameters.get(name)}"
        for name in {**parameters, **found}
        if found.get(name) != parameters.get(name)
    ]
    if others:
        raise InputError(
            f"{folder}: holds a data set of other parameters ({'; '.join(others)}); choose another "
            "folder"
        )


def _write_clip(clip: tuple[Path, int, str, int], render: Callable, fps: float) -> None:
    path, label, name, seed = clip
    frames, boxes = render(label, seed)
    write_video(path, frames, fps, crf=18)
    about = {"fps": fps, "width": frames.shape[2], "height": frames.shape[1]}
    about |= {"label": label, "class": name, "boxes": boxes.round(2).tolist()}
    write_json(path.with_suffix(".json"), about)
