"""DeepMimic's humanoid: its captured motions, its skeleton, and figures drawn by pybullet.

Both are shipped with pybullet. The motions are those of Peng et al., "DeepMimic", SIGGRAPH 2018.

x: to the right, y: up, z: towards the camera, in metres. T: frames of a clip; a rotation is a
quaternion x, y, z, w.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from slowfast_ac.errors import InputError


class Motion(NamedTuple):
    """The part of a captured motion that the clips of a class show.

    Args:
        name: see :func:`sample`.
        start: range of the clip's first moment, in the capture's seconds.
        speed: the capture's seconds in one of the clip's.
        heading: where the captured motion goes, in degrees from x towards -z.
    """

    name: str
    start: tuple[float, float]
    speed: float
    heading: float = 0.0


# The ranges of the start keep the moment that tells the class within a clip of one second.
MOTIONS = {
    "walk": Motion("walk", (0.0, 1.3), 1.0),
    "run": Motion("run", (0.0, 0.8), 1.0),
    "jump": Motion("jump", (0.3, 0.55), 1.0),
    "punch": Motion("punch", (0.3, 0.6), 1.0, 30),
    "kick": Motion("kick", (0.2, 0.45), 1.0),
    "spinkick": Motion("spinkick", (0.2, 0.4), 1.0),
    "cartwheel": Motion("cartwheel", (0.7, 1.0), 1.3, 105),
    "backflip": Motion("backflip", (0.4, 0.6), 1.0),
    "roll": Motion("roll", (0.2, 0.5), 1.1),
    "crawl": Motion("crawl", (0.0, 2.9), 1.5, 25),
    "dance": Motion("dance_a", (0.0, 1.6), 1.0),
    "getup": Motion("getup_facedown", (1.2, 1.5), 1.6),
}

# Joint: parent, its place in the parent's frame, then the limb: its centre, and the radius and
# length of a capsule or the sides of a box. In DeepMimic's order and unit, a quarter of a metre.
_UNIT = 0.25
_ROOT = ((0.0, 0.28, 0.0), (0.36, 0.0))
_SPINE = {
    "chest": ("root", (0.0, 0.945, 0.0), (0.0, 0.48, 0.0), (0.44, 0.0)),
    "neck": ("chest", (0.0, 0.896, 0.0), (0.0, 0.7, 0.0), (0.36, 0.0)),
}
_SIDE = {
    "hip": ("root", (0.0, 0.0, 0.34), (0.0, -0.84, 0.0), (0.22, 1.35)),
    "knee": ("hip", (0.0, -1.686, 0.0), (0.0, -0.8, 0.0), (0.2, 1.35)),
    "ankle": ("knee", (0.0, -1.639, 0.0), (0.18, -0.09, 0.0), (0.708, 0.22, 0.36)),
    "shoulder": ("chest", (-0.096, 0.974, 0.732), (0.0, -0.56, 0.0), (0.18, 0.85)),
    "elbow": ("shoulder", (0.0, -1.099, 0.0), (0.0, -0.62, 0.0), (0.16, 0.85)),
}
JOINTS = (*_SPINE, *(f"{side} {name}" for side in ("right", "left") for name in _SIDE))
_HINGES = ("knee", "elbow")
_MIRRORED = [0, 1, 2, *range(8, 13), *range(3, 8)]  # left for right, the root first


class Track(NamedTuple):
    """A figure's way through a clip.

    Args:
        position: (T, 3), of the root.
        rotation: (T, 13, 4), of the root, and of :data:`JOINTS` against their parents.
    """

    position: np.ndarray
    rotation: np.ndarray


def sample(name: str, times: np.ndarray, mirrored: bool = False) -> Track:
    """Returns a captured motion at some times, T of them.

    A motion that loops goes on from where it has come to. Another one stays at its end.

    Args:
        name: ``humanoid3d_NAME.txt`` of pybullet's data.
        times: (T,), in seconds, at least 0.
        mirrored: left for right.

    Raises:
        InputError: without pybullet.
    """
    position, rotation, interval, loops = _load(name)
    last = len(position) - 1
    cycle, frame = np.divmod(times / interval, last) if loops else (0 * times, times / interval)
    low = np.clip(frame.astype(int), 0, last - 1)
    part = np.clip(frame - low, 0, 1)[:, None]
    moved = cycle[:, None] * (position[-1] - position[0]) * (1, 0, 1)
    position = position[low] + part * (position[low + 1] - position[low]) + moved
    # Frames are so close that the chord between two rotations is as good as the arc.
    first, second = rotation[low], rotation[low + 1]
    second = second * np.where((first * second).sum(axis=2, keepdims=True) < 0, -1, 1)
    rotation = first + part[..., None] * (second - first)
    rotation /= np.linalg.norm(rotation, axis=2, keepdims=True)
    if mirrored:
        position, rotation = position * (1, 1, -1), rotation[:, _MIRRORED] * (-1, -1, 1, 1)
    return Track(position, rotation)


@functools.cache
def _load(name: str) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Returns positions (N, 3), rotations (N, 13, 4), seconds between frames, and if it loops.

    A frame of the file holds its duration, the root's position, and the rotations as w, x, y, z or,
    of a hinge, as the angle around z.
    """
    path = Path(pybullet()[1]) / f"data/motions/humanoid3d_{name}.txt"
    capture = json.loads(path.read_text(encoding="utf-8"))
    frames = np.array(capture["Frames"])
    rotations, column = [], 4
    for joint in ("root", *JOINTS):
        if joint.endswith(_HINGES):
            half = frames[:, column] / 2
            rotations.append(np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1))
            column += 1
        else:
            rotations.append(np.roll(frames[:, column : column + 4], -1, axis=1))
            column += 4
    return frames[:, 1:4], np.stack(rotations, axis=1), frames[0, 0], capture["Loop"] == "wrap"


@functools.cache
def pybullet() -> tuple[Any, str]:
    """Returns pybullet, connected to a world of this process, and the folder of its data.

    Raises:
        InputError: without pybullet.
    """
    try:
        import pybullet
        import pybullet_data
    except ImportError:
        raise InputError("these clips need pybullet: pip install pybullet") from None
    pybullet.connect(pybullet.DIRECT)
    return pybullet, pybullet_data.getDataPath()


def clear() -> None:
    """Removes all figures from the world."""
    pybullet()[0].resetSimulation()


def build(colors: Mapping[str, tuple[int, int, int]], girth: float) -> int:
    """Adds a figure to the world and returns its number there.

    Args:
        colors: RGB from 0 to 255, of ``shirt``, ``trousers`` and ``skin``.
        girth: how thick it is, in the skeleton's own thickness.
    """
    bullet, _ = pybullet()
    parents, places, shapes = [], [], []
    for joint in JOINTS:
        side, _, name = joint.rpartition(" ")
        parent, place, center, extent = (_SIDE if side else _SPINE)[name]
        parent = f"{side} {parent}" if parent in _SIDE else parent
        parents.append(0 if parent == "root" else JOINTS.index(parent) + 1)
        places.append(np.multiply(place, (_UNIT, _UNIT, -_UNIT if side == "left" else _UNIT)))
        shapes.append(_shape(center, extent, girth, colors[_part(name)]))
    count = len(JOINTS)
    return bullet.createMultiBody(
        baseVisualShapeIndex=_shape(*_ROOT, girth, colors["trousers"]),
        linkMasses=[1.0] * count,
        linkCollisionShapeIndices=[-1] * count,
        linkVisualShapeIndices=shapes,
        linkPositions=places,
        linkOrientations=[[0, 0, 0, 1]] * count,
        linkInertialFramePositions=[[0, 0, 0]] * count,
        linkInertialFrameOrientations=[[0, 0, 0, 1]] * count,
        linkParentIndices=parents,
        linkJointTypes=[bullet.JOINT_SPHERICAL] * count,
        linkJointAxis=[[0, 0, 1]] * count,
        # Otherwise it sorts them, and the rotations go to other joints.
        flags=bullet.URDF_MAINTAIN_LINK_ORDER,
    )


def _part(joint: str) -> str:
    if joint in ("chest", "shoulder"):
        return "shirt"
    return "skin" if joint in ("neck", "elbow") else "trousers"


def _shape(
    center: tuple[float, ...], extent: tuple[float, ...], girth: float, color: tuple[int, int, int]
) -> int:
    bullet, _ = pybullet()
    about: dict[str, Any] = {"visualFramePosition": np.multiply(center, _UNIT)}
    about["rgbaColor"] = (*(channel / 255 for channel in color), 1.0)
    if len(extent) == 3:
        half = np.multiply(extent, _UNIT / 2)
        return bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=half, **about)
    about["radius"], length = extent[0] * girth * _UNIT, extent[1] * _UNIT
    if not length:
        return bullet.createVisualShape(bullet.GEOM_SPHERE, **about)
    # A capsule is along z, a limb along y.
    about["visualFrameOrientation"] = Rotation.from_euler("x", 90, degrees=True).as_quat()
    return bullet.createVisualShape(bullet.GEOM_CAPSULE, length=length, **about)


def pose(body: int, track: Track, frame: int) -> None:
    """Brings a figure into its pose of a frame."""
    bullet, _ = pybullet()
    rotation = track.rotation[frame]
    bullet.resetBasePositionAndOrientation(body, track.position[frame], rotation[0])
    bullet.resetJointStatesMultiDof(body, range(len(JOINTS)), rotation[1:].tolist())


def take_picture(
    eye: np.ndarray, looked_at: np.ndarray, angle: float, size: tuple[int, int], light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the world as pybullet's renderer for the CPU draws it.

    Args:
        eye: (3,), where the camera is.
        looked_at: (3,), what is in the middle of the picture.
        angle: from the picture's bottom to its top, in degrees.
        size: (W, H) in pixels.
        light: (3,), where it comes from.

    Returns:
        The picture (H, W, 3), uint8 RGB, and the number of the figure in each pixel, (H, W); -1
        where there is none.
    """
    bullet, _ = pybullet()
    width, height = size
    image = bullet.getCameraImage(
        width,
        height,
        bullet.computeViewMatrix(eye, looked_at, (0, 1, 0)),
        bullet.computeProjectionMatrixFOV(angle, width / height, 0.1, 50),
        lightDirection=light,
        lightAmbientCoeff=0.55,
        lightDiffuseCoeff=0.5,
        lightSpecularCoeff=0.0,
        shadow=0,
        renderer=bullet.ER_TINY_RENDERER,
    )
    return np.reshape(image[2], (height, width, 4))[..., :3], np.reshape(image[4], (height, width))
