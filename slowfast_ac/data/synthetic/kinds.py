"""Generates clips of kind x motion: appearance shows where to look, and motion what happens.

The class is the target's kind, one of three, and its motion, one of four. Besides the drifting
distractors of :mod:`slowfast_ac.data.synthetic.clip`, decoys in a target's colour perform the same
motions with another appearance. So a motion alone does not reveal whose it is, and a still frame
does not reveal what the target does: a network has to find the target and watch it.

A kind is a warm shape with a white rim and a black core: disc, square or triangle. A decoy is a
warm cross, bar or half disc with neither. All lengths are relative to the short side of the frame.
"""

from collections.abc import Callable

import numpy as np

from slowfast_ac.data.synthetic.clip import (
    _PULSE,
    _TARGET_HUE,
    _Actor,
    _color,
    _motion,
    _render_scene,
    _sprite,
    _unit_grid,
)

MOTIONS = ("shake", "nod", "circle", "pulse")

# A shape returns which points of the plane it covers; it fits into the unit disc.
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
_KINDS: dict[str, Shape] = {
    "disc": lambda x, y: np.hypot(x, y) < 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.5**0.5,
    "triangle": lambda x, y: (y < 0.5) & (y > 3**0.5 * abs(x) - 1),
}
_DECOYS: tuple[Shape, ...] = (
    lambda x, y: (np.minimum(abs(x), abs(y)) < 0.25) & (np.maximum(abs(x), abs(y)) < 0.9),
    lambda x, y: (abs(x) < 0.9) & (abs(y) < 0.35),
    lambda x, y: (np.hypot(x, y) < 1) & (y > 0),
)
KINDS: tuple[str, ...] = tuple(_KINDS)
CLASSES: tuple[str, ...] = tuple(f"{kind}_{motion}" for kind in KINDS for motion in MOTIONS)

# Smaller than a single target, so that several fit into a frame.
_RADIUS = (0.12, 0.15)
_AMPLITUDE = (0.09, 0.12)
_CENTER = (0.27, 0.73)  # relative to width and height
_RIM, _CORE = 0.8, 0.4  # relative to the shape's size


def render_clip(
    label: int,
    seed: int,
    size: tuple[int, int] = (128, 96),
    num_frames: int = 64,
    fps: float = 30.0,
    num_distractors: int = 2,
    num_decoys: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one clip; the same arguments give the same clip.

    Clips with the same seed share everything but the target's shape and motion, including the
    decoys and their motions. So neither scene nor decoys reveal the class.

    Args:
        label: index into :data:`CLASSES`.
        seed: seed of the scene, at least 0.
        size: (W, H) in pixels.
        num_frames: T. A period of the motion is 16 to 28 frames at 30 fps.
        fps: frames per second; motions are defined in seconds.
        num_distractors: number of drifting objects in other colours.
        num_decoys: number of objects in a target's colour that perform the classes' motions.

    Returns:
        Frames (T, H, W, 3), uint8 RGB, and the boxes (T, 4), float64, of the disc around the
        target: x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
    """
    kind, motion = CLASSES[label].split("_")
    rng = np.random.default_rng(seed)
    times = np.arange(num_frames) / fps
    centers = _spread(rng, num_decoys + 1) * size
    target = _actor(rng, _target_texture(_KINDS[kind]), motion, centers[0], times, size)
    decoys = []
    for center in centers[1:]:
        shape = _DECOYS[rng.integers(len(_DECOYS))]
        name = MOTIONS[rng.integers(len(MOTIONS))]
        decoys.append(_actor(rng, _decoy_texture(shape), name, center, times, size))
    return _render_scene(rng, [*decoys, target], times, size, num_distractors)


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns points (count, 2) of the unit square that are far apart.

    This is Mitchell's best-candidate algorithm: of twenty random points, the one farthest from all
    previous points. "Spectrally optimal sampling for distribution ray tracing", SIGGRAPH 1991.
    """
    points = rng.uniform(*_CENTER, (1, 2))
    for _ in range(count - 1):
        candidates = rng.uniform(*_CENTER, (20, 2))
        gaps = np.linalg.norm(candidates[:, None] - points, axis=2).min(axis=1)
        points = np.concatenate([points, candidates[[gaps.argmax()]]])
    return points


def _actor(
    rng: np.random.Generator,
    texture: Callable,
    motion: str,
    center: np.ndarray,
    times: np.ndarray,
    size: tuple[int, int],
) -> _Actor:
    position, radius, angle = _motion(rng, motion, times, size, _RADIUS, _AMPLITUDE, (0.0, 0.0))
    sprite = _sprite(rng, texture, min(size) * _RADIUS[1] * (1 + _PULSE[1]))
    return _Actor(sprite, center + position, radius, angle)


def _target_texture(shape: Shape) -> Callable:
    def texture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = _unit_grid(side)
        image = np.full((side, side, 3), 250, np.uint8)
        image[shape(x / _RIM, y / _RIM)] = _warm(rng)
        image[shape(x / _CORE, y / _CORE)] = 15
        return image, shape(x, y)

    return texture


def _decoy_texture(shape: Shape) -> Callable:
    def texture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((side, side, 3), _warm(rng), np.uint8), shape(*_unit_grid(side))

    return texture


def _warm(rng: np.random.Generator) -> tuple[int, int, int]:
    return _color(rng, _TARGET_HUE, (0.95, 1.0), (0.85, 1.0))
