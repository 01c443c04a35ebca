"""Generates clips: a target moves in one of six ways among drifting distractors.

The class determines which of the target's four oscillators run: x, y, size or angle. The others
rest at a random phase, so single frames of all classes look alike. The mirror image of a clip is an
equally likely clip of the same class, so PySlowFast's random flip keeps labels correct. The target
can be recognised by its appearance, a red or orange disc with a white rim and a black wedge;
nothing else has such a warm and bright colour. All lengths are relative to the short side of the
frame.

H, W: height and width of a frame in pixels; T: frames of a clip.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

# Which of x, y, size and angle run. Circle and diagonal differ in the phase between x and y.
_MOTIONS = {
    "shake": (1, 0, 0, 0),
    "nod": (0, 1, 0, 0),
    "diagonal": (1, 1, 0, 0),
    "circle": (1, 1, 0, 0),
    "pulse": (0, 0, 1, 0),
    "spin": (0, 0, 0, 1),
}
CLASSES: tuple[str, ...] = tuple(_MOTIONS)

# Ranges for a clip; lengths in short sides. At the extremes, the target is just inside the frame.
_PERIOD = (16 / 30, 28 / 30)  # seconds
_AMPLITUDE = (0.15, 0.19)
_RADIUS = (0.14, 0.18)
_PULSE = (0.28, 0.36)  # change of the radius, as a fraction
_CENTER = (0.45, 0.55)  # of width and height
_SWAY = 0.01  # of the camera
_DISTRACTOR_RADIUS = (0.09, 0.17)
_DISTRACTOR_SPEED = (0.08, 0.6)  # short sides per second

_TARGET_HUE = (-0.04, 0.1)
_OTHER_HUE = (0.2, 0.85)
_OVERSAMPLE = 4

Texture = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def render_clip(
    label: int,
    seed: int,
    size: tuple[int, int] = (128, 96),
    num_frames: int = 64,
    fps: float = 30.0,
    num_distractors: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one clip; the same arguments give the same clip.

    Clips with the same seed share everything but the motion: background, target, distractors and
    their paths. So the scene does not reveal the class.

    Args:
        label: index into :data:`CLASSES`.
        seed: seed of the scene, at least 0.
        size: (W, H) in pixels.
        num_frames: T. A period of the motion is 16 to 28 frames at 30 fps.
        fps: frames per second; motions are defined in seconds.
        num_distractors: number of other moving objects, which are independent of the class.

    Returns:
        Frames (T, H, W, 3), uint8 RGB, and the target's boxes (T, 4), float64: x0, y0, x1, y1 in
        pixels, x1 and y1 exclusive.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(num_frames) / fps
    motion = _motion(rng, CLASSES[label], times, size)
    # One resolution for all classes, so that sharpness does not reveal the class.
    target = _sprite(rng, _target_texture, min(size) * _RADIUS[1] * (1 + _PULSE[1]))
    return _render_scene(rng, [_Actor(target, *motion)], times, size, num_distractors)


class _Actor(NamedTuple):
    """An object that moves in front of the background.

    Args:
        sprite: see :func:`_sprite`.
        position: (T, 2), its centre in pixels.
        radius: (T,), in pixels.
        angle: (T,), in radians.
    """

    sprite: np.ndarray
    position: np.ndarray
    radius: np.ndarray
    angle: np.ndarray


def _render_scene(
    rng: np.random.Generator,
    actors: Sequence[_Actor],
    times: np.ndarray,
    size: tuple[int, int],
    num_distractors: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws background, distractors and actors, the last in front, under a swaying camera.

    Returns:
        Frames (T, H, W, 3), uint8 RGB, and the last actor's boxes (T, 4), float64.
    """
    (width, height), side = size, min(size)
    margin = math.ceil(_SWAY * side) + 1
    background = _background(rng, width + 2 * margin, height + 2 * margin)
    # Slower than the classes' motions.
    turns = times[:, None] * rng.uniform(0.1, 0.5, 2) + rng.uniform(0, 1, 2)
    sway = _SWAY * side * np.sin(2 * math.pi * turns)
    movers = []
    for _ in range(num_distractors):
        radius = np.full(len(times), rng.uniform(*_DISTRACTOR_RADIUS) * side)
        path = _drift(rng, times, size)
        angle = np.full(len(times), rng.uniform(0, 2 * math.pi))
        movers.append(_Actor(_sprite(rng, _distractor_texture, radius[0]), path, radius, angle))
    movers += actors

    middle = (np.array(background.shape[1::-1]) - 1) / 2
    frames = np.empty((len(times), height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = cv2.getRectSubPix(background, size, tuple(middle - sway[i]))
        for mover in movers:
            position = mover.position[i] + sway[i]
            _paste(frame, mover.sprite, position, mover.radius[i], mover.angle[i])
    position, radius = movers[-1].position + sway, movers[-1].radius[:, None]
    return frames, np.concatenate([position - radius, position + radius], axis=1)


def _motion(
    rng: np.random.Generator,
    name: str,
    times: np.ndarray,
    size: tuple[int, int],
    radii: tuple[float, float] = _RADIUS,
    amplitudes: tuple[float, float] = _AMPLITUDE,
    centers: tuple[float, float] = _CENTER,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns position (T, 2), radius (T,) in pixels and angle (T,) in radians of a motion.

    Args:
        rng: draws the random parameters.
        name: one of :data:`CLASSES`.
        times: (T,), seconds.
        size: (W, H) in pixels.
        radii: range, in short sides.
        amplitudes: range, in short sides.
        centers: range, relative to width and height.
    """
    side = min(size)
    # All parameters are drawn for every name, so that the rest of the scene does not depend on it.
    radius, amplitude = rng.uniform(*radii) * side, rng.uniform(*amplitudes) * side
    pulse, period = rng.uniform(*_PULSE), rng.uniform(*_PERIOD)
    center = rng.uniform(*centers, 2) * size
    phase = rng.uniform(0, 2 * math.pi, 4)
    sense, slant = rng.choice([-1, 1]), rng.choice([0, math.pi])
    if name == "diagonal":
        phase[1] = phase[0] + slant
    elif name == "circle":
        phase[1] = phase[0] + math.pi / 2
    turn = sense * 2 * math.pi * times[:, None] / period
    x, y, scale, angle = (phase + turn * _MOTIONS[name]).T
    position = center + amplitude * np.sin(np.stack([x, y], axis=1))
    return position, radius * (1 + pulse * np.sin(scale)), angle


def _drift(rng: np.random.Generator, times: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the positions (T, 2) of a slow, more or less straight walk that bounces off edges."""
    steps = np.diff(times, prepend=0.0)
    turns = rng.uniform(0, 1.5) * np.sqrt(steps) * rng.normal(size=len(times))
    heading = rng.uniform(0, 2 * math.pi) + turns.cumsum()
    speed = rng.uniform(*_DISTRACTOR_SPEED) * min(size)
    velocity = speed * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    path = rng.uniform(0, size) + (velocity * steps[:, None]).cumsum(axis=0)
    span = np.array(size)
    return np.abs((path + span) % (2 * span) - span)


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Returns an image (H, W, 3) of smooth noise under lines, ellipses and rectangles."""
    noise = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 24):
        grid = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        grid = (grid + grid.mean(axis=2, keepdims=True)) / 2
        noise += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / cells**0.5
    image = np.clip(rng.uniform(90, 165) + 60 * noise, 0, 255).astype(np.uint8)
    side = min(width, height)
    for _ in range(rng.integers(10, 20)):
        color = _color(rng, _OTHER_HUE, (0.0, 0.5), (0.15, 0.9))
        start, end = rng.integers(0, (width, height), (2, 2)).tolist()
        axes = rng.integers(side // 20, side // 5, 2).tolist()
        kind = rng.integers(3)
        if kind == 0:
            cv2.line(image, start, end, color, int(rng.integers(1, 2 + side // 40)), cv2.LINE_AA)
        elif kind == 1:
            tilt = rng.uniform(0, 180)
            cv2.ellipse(image, start, axes, tilt, 0, 360, color, cv2.FILLED, cv2.LINE_AA)
        else:
            corner = [start[0] + 2 * axes[0], start[1] + 2 * axes[1]]
            cv2.rectangle(image, start, corner, color, cv2.FILLED)
    return image


def _target_texture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (side, side, 3) and its mask; the wedge makes rotation visible."""
    x, y = _unit_grid(side)
    image = np.full((side, side, 3), 250, np.uint8)
    inner = np.hypot(x, y) < 0.84
    image[inner] = _color(rng, _TARGET_HUE, (0.95, 1.0), (0.85, 1.0))
    image[inner & (abs(np.arctan2(y, x)) < math.pi / 3)] = 15
    return image, np.hypot(x, y) < 1


def _distractor_texture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (side, side, 3) and its mask: one of four patterns on one of four shapes."""
    x, y = _unit_grid(side)
    wave = rng.uniform(4, 8)
    u, v = np.sin(wave * x + 1), np.sin(wave * y + 1)
    pattern = [u > 0, u * v > 0, u + v > 0.8, np.full_like(u, True, bool)][rng.integers(4)]
    light = _color(rng, _OTHER_HUE, (0.2, 0.9), (0.5, 1.0))
    dark = _color(rng, _OTHER_HUE, (0.0, 0.6), (0.05, 0.6))
    shape = [
        np.hypot(x, y) < 1,
        np.maximum(abs(x), abs(y)) < 0.7,
        (y < 0.5) & (y > 3**0.5 * abs(x) - 1),
        (abs(x) < 0.9) & (abs(y) < 0.4),
    ][rng.integers(4)]
    return np.where(pattern[..., None], light, dark).astype(np.uint8), shape


def _unit_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of the pixels' centres, (side, side) each, from -1 to 1."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    return tuple(np.meshgrid(axis, axis))


def _color(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> tuple[int, int, int]:
    hsv = rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(*hsv))


def _sprite(rng: np.random.Generator, texture: Texture, radius: float) -> np.ndarray:
    """Returns a float32 RGBA image with premultiplied alpha and a transparent border."""
    side = 2 * math.ceil(radius)
    image, mask = texture(rng, side * _OVERSAMPLE)
    alpha = np.where(mask, 255, 0)[..., None]
    rgba = np.concatenate([image * mask[..., None], alpha], axis=2).astype(np.float32)
    rgba = cv2.resize(rgba, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_CONSTANT)


def _paste(
    frame: np.ndarray, sprite: np.ndarray, position: np.ndarray, radius: float, angle: float
) -> None:
    """Draws a sprite into the frame (H, W, 3), rotated and scaled to the radius."""
    low = np.maximum(np.floor(position - radius) - 1, 0).astype(int)
    high = np.minimum(np.ceil(position + radius) + 1, frame.shape[1::-1]).astype(int)
    if (low >= high).any():
        return
    middle = (sprite.shape[0] - 1) / 2
    scale = radius / (sprite.shape[0] / 2 - 1)
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0]])
    # Pixel i covers [i, i + 1), so its centre, OpenCV's coordinate i, is at i + 0.5.
    matrix[:, 2] = position - 0.5 - low - matrix[:, :2] @ (middle, middle)
    patch = cv2.warpAffine(sprite, matrix, (high - low).tolist(), flags=cv2.INTER_LINEAR)
    region = frame[low[1] : high[1], low[0] : high[0]]
    region[:] = np.rint(patch[..., :3] + region * (1 - patch[..., 3:] / 255))
