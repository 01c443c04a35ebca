"""Clips of human motion: ``human_motion.py FOLDER`` writes a data set; pip install pybullet first.

The class is what the target does, one of twelve motions captured from people, and the target is the
figure in warm colours. Other figures perform the same motions in other colours, and things drift
about in the background. So appearance says where to look, and motion what happens.

H, W: height and width of a frame in pixels; T: frames of a clip. See :mod:`humanoid` for axes.
"""

import argparse
import functools
import math
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import humanoid
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from slowfast_ac.data.synthetic import dataset
from slowfast_ac.data.synthetic.clip import (
    _DISTRACTOR_RADIUS,
    _OTHER_HUE,
    _TARGET_HUE,
    _background,
    _color,
    _distractor_texture,
    _drift,
    _paste,
    _sprite,
)
from slowfast_ac.data.video import read_frames
from slowfast_ac.errors import InputError
from slowfast_ac.files import atomic_path

CLIPS = {"train": 100, "val": 20, "test": 40}
LOOK: dict[str, Any] = {"size": (96, 96), "num_frames": 8, "fps": 7.5, "num_distractors": 2}
CLASSES = tuple(humanoid.MOTIONS)

# No two splits share a value of these five: each range is cut into equal parts, which are dealt.
_PARTS = 24
_DEAL = {"train": (0, 1), "val": (2,), "test": (3,)}  # of every four parts
_START = (0.0, 1.0)  # of the range of the motion
_SPEED = (0.85, 1.2)  # of the motion's own
_TURN = (-50.0, 50.0)  # degrees; a punch towards the camera or away from it is hard to see
_ELEVATION = (0.0, 25.0)  # of the camera, in degrees
_VIEW = (2.5, 3.1)  # metres from the frame's bottom to its top, at the target

_DISTANCE = (4.5, 6.5)  # from camera to target, in metres
_LOOKED_AT = 0.85  # height of what is in the middle of the frame
_FOLLOW = (0.7, 1.0)  # the camera's part of the target's way
_MIDDLE = (-0.4, 0.4)  # of the target's way, from the middle of the frame
_ASIDE = (0.9, 1.5)  # of the other figures, from the target
_BEHIND = (0.2, 2.0)
_GIRTH = (1.2, 1.5)
_OVERSAMPLE = 2
_MARGIN = 40  # pixels of background left and right, for the camera's way


class Figure(NamedTuple):
    """The look, place and performance of a figure; see the ranges above.

    Args:
        hues: range of its colours.
        place: (3,), of its root in the middle of its way; y is 0.
        start: of the clip in its motion.
        speed: of its motion.
        turn: its heading, from the direction to the right, counterclockwise from above.
        mirrored: left for right.
    """

    hues: tuple[float, float]
    place: np.ndarray
    start: float
    speed: float
    turn: float
    mirrored: bool


class Scene(NamedTuple):
    """What is drawn of a clip before its class; see the ranges above.

    Args:
        elevation: of the camera.
        view: of the camera.
        distance: of the camera.
        follow: of the camera.
        figures: the target is the first one.
        motions: of the other figures. They do not depend on the class, so they do not tell it.
    """

    elevation: float
    view: float
    distance: float
    follow: float
    figures: tuple[Figure, ...]
    motions: tuple[str, ...]


def draw_scene(rng: np.random.Generator, split: str, num_decoys: int) -> Scene:
    """Returns a random scene of a split, with so many figures besides the target."""
    own = functools.partial(_own_value, rng, split)
    camera = own(_ELEVATION), own(_VIEW), rng.uniform(*_DISTANCE), rng.uniform(*_FOLLOW)
    middle, side = rng.uniform(*_MIDDLE), rng.choice([-1, 1])
    figures = []
    for number in range(num_decoys + 1):
        place = np.array([middle, 0.0, 0.0])
        if number:
            place += ((-1) ** number * side * rng.uniform(*_ASIDE), 0.0, -rng.uniform(*_BEHIND))
        hues = _OTHER_HUE if number else _TARGET_HUE
        start, speed, turn = own(_START), own(_SPEED), own(_TURN) + 180 * rng.integers(2)
        figures.append(Figure(hues, place, start, speed, turn, bool(rng.integers(2))))
    motions = tuple(CLASSES[i] for i in rng.integers(len(CLASSES), size=num_decoys))
    return Scene(*camera, tuple(figures), motions)


def _own_value(rng: np.random.Generator, split: str, limits: tuple[float, float]) -> float:
    part = 4 * rng.integers(_PARTS // 4) + rng.choice(_DEAL[split])
    return limits[0] + (limits[1] - limits[0]) * (part + rng.uniform()) / _PARTS


def render_clip(
    label: int,
    seed: int,
    size: tuple[int, int] = (96, 96),
    num_frames: int = 8,
    fps: float = 7.5,
    num_distractors: int = 2,
    num_decoys: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one clip; the same arguments draw the same one.

    Clips of one seed share everything but the target's motion and the camera's way beside it.

    Args:
        label: index into :data:`CLASSES`.
        seed: of the scene; see :func:`dataset.split_of` for its split.
        size: (W, H) in pixels.
        num_frames: T.
        fps: frames per second.
        num_distractors: things that drift about, in other colours than the target's.
        num_decoys: figures besides the target, in other colours.

    Returns:
        Frames (T, H, W, 3), uint8 RGB, and the boxes (T, 4), float64, of what can be seen of the
        target: x0, y0, x1, y1 in pixels, x1 and y1 exclusive.

    Raises:
        InputError: without pybullet.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(num_frames) / fps
    scene = draw_scene(rng, dataset.split_of(seed), num_decoys)
    names = (CLASSES[label], *scene.motions)
    tracks = [_perform(*pair, times) for pair in zip(names, scene.figures, strict=True)]
    root = tracks[0].position
    # Along a line: a camera that went up and down with the target would hide its steps.
    way = (root[-1] - root[0]) * (scene.follow, 0, scene.follow)
    way = way * np.linspace(-0.5, 0.5, num_frames)[:, None]
    pictures, owners = _draw_figures(rng, scene, tracks, way, size)

    width, height = size
    background = _background(rng, width + 2 * _MARGIN, height)
    # It is twice as far as the target.
    shift = np.clip(way[:, 0] / 2 * height / scene.view, 0.5 - _MARGIN, _MARGIN - 0.5)
    middle = (np.array(background.shape[1::-1]) - 1) / 2
    things = []
    for _ in range(num_distractors):
        radius = rng.uniform(*_DISTRACTOR_RADIUS) * min(size)
        path, angle = _drift(rng, times, size), rng.uniform(0, 2 * math.pi)
        things.append((_sprite(rng, _distractor_texture, radius), path, radius, angle))
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = cv2.getRectSubPix(background, size, (middle[0] + shift[i], middle[1]))
        for sprite, path, radius, angle in things:
            _paste(frame, sprite, path[i], radius, angle)
        mask = (owners[i] >= 0)[..., None].astype(np.float32)
        figures = np.concatenate([pictures[i] * mask, 255 * mask], axis=2)
        figures = cv2.resize(figures, size, interpolation=cv2.INTER_AREA)
        frame[:] = np.rint(figures[..., :3] + frame * (1 - figures[..., 3:] / 255))
    return frames, np.array([_box(mask) for mask in owners == 0])


def _perform(name: str, figure: Figure, times: np.ndarray) -> humanoid.Track:
    """Returns a figure's way through the scene at some times of the clip, in seconds."""
    motion = humanoid.MOTIONS[name]
    start = motion.start[0] + figure.start * (motion.start[1] - motion.start[0])
    times = start + times * motion.speed * figure.speed
    position, rotation = humanoid.sample(motion.name, times, figure.mirrored)
    heading = -motion.heading if figure.mirrored else motion.heading
    turn = Rotation.from_euler("y", figure.turn - heading, degrees=True)
    rotation[:, 0] = (turn * Rotation.from_quat(rotation[:, 0])).as_quat()
    middle = (position[0] + position[-1]) / 2 * (1, 0, 1)
    return humanoid.Track(turn.apply(position - middle) + figure.place, rotation)


def _draw_figures(
    rng: np.random.Generator,
    scene: Scene,
    tracks: list[humanoid.Track],
    way: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns oversampled pictures (T, h, w, 3) and each pixel's figure (T, h, w), -1 for none.

    Args:
        rng: draws clothes, girth and light.
        scene: see :class:`Scene`.
        tracks: of each figure.
        way: (T, 3), the camera's, from its place in the middle of the clip.
        size: (W, H) in pixels.
    """
    humanoid.clear()
    bodies = []
    for figure in scene.figures:
        girth = rng.uniform(*_GIRTH)
        colors = {
            "shirt": _color(rng, figure.hues, (0.85, 1.0), (0.8, 1.0)),
            "trousers": _color(rng, figure.hues, (0.85, 1.0), (0.5, 0.8)),
            "skin": _color(rng, figure.hues, (0.55, 0.8), (0.95, 1.0)),
        }
        bodies.append(humanoid.build(colors, girth))
    light = rng.uniform((-1.5, 1, 0.5), (1.5, 2, 2))
    elevation = math.radians(scene.elevation)
    eye = scene.distance * np.array([0, math.sin(elevation), math.cos(elevation)])
    angle = 2 * math.degrees(math.atan(scene.view / 2 / scene.distance))
    width, height = size
    large = width * _OVERSAMPLE, height * _OVERSAMPLE
    pictures, owners = [], []
    for i, moved in enumerate(way):
        for body, track in zip(bodies, tracks, strict=True):
            humanoid.pose(body, track, i)
        looked_at = moved + (0, _LOOKED_AT, 0)
        picture, found = humanoid.take_picture(looked_at + eye, looked_at, angle, large, light)
        pictures.append(picture)
        owners.append(np.full_like(found, -1))
        for number, body in enumerate(bodies):
            owners[i][found == body] = number
    return np.stack(pictures), np.stack(owners)


def _box(mask: np.ndarray) -> list[float]:
    """Returns x0, y0, x1, y1 of what an oversampled mask covers."""
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    ends = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return [end / _OVERSAMPLE for end in ends]


def draw_sheet(folder: Path, path: Path) -> None:
    """Writes a picture of a test clip of each class, every second frame, the target framed."""
    rows = []
    for label, name in enumerate(CLASSES):
        clip = folder / f"videos/test/{name}_{label:04d}.mp4"
        frames, _ = read_frames(clip)
        row = [np.full((len(frames[0]), 72, 3), 255, np.uint8)]
        cv2.putText(row[0], name, (4, 52), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0))
        for frame, box in list(zip(frames, dataset.read_boxes(clip), strict=True))[::2]:
            x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
            row.append(cv2.rectangle(frame.copy(), (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255)))
        rows.append(np.concatenate(row, axis=1))
    half = len(rows) // 2
    columns = [np.concatenate(part) for part in (rows[:half], rows[half:])]
    sheet = Image.fromarray(np.concatenate(columns, axis=1))
    with atomic_path(path) as temporary:
        sheet.quantize(160).save(temporary, format="png", optimize=True)


def main() -> None:
    """Writes the data set and, where it is asked for, a picture of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="new, or of the same parameters")
    parser.add_argument("--others", type=int, default=2, help="other figures; default: 2")
    parser.add_argument("--sheet", type=Path, help="also write this png of test clips")
    options = parser.parse_args()
    os.nice(10)
    dataset.FAMILIES["human"] = (CLASSES, render_clip)
    look = {**LOOK, "family": "human", "num_decoys": options.others}
    try:
        humanoid.pybullet()
        print(dataset.write_dataset(options.folder, CLIPS, **look))
        if options.sheet:
            draw_sheet(options.folder, options.sheet)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
