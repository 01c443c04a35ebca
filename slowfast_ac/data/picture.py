"""Converts decoded frames to what a player shows: upright pixels, of one size for a whole video."""

import threading
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_local = threading.local()


def to_rgb(frame: av.VideoFrame, short_side: int = 0) -> np.ndarray:
    """Returns the pixels of a frame, (H, W, 3), uint8.

    Args:
        frame: a decoded frame.
        short_side: size that the short side is resized to, up or down, keeping the aspect ratio; 0
            keeps the frame's size.
    """
    if not short_side:
        return convert(frame, format="rgb24").to_ndarray()
    scale = short_side / min(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    # The filter of torchvision's former decoder.
    return convert(frame, width, height, "rgb24", interpolation="AREA").to_ndarray()


def convert(frame: av.VideoFrame, *args: Any, **kwargs: Any) -> av.VideoFrame:
    """Returns ``frame.reformat(*args, **kwargs)``, but faster.

    A frame's own ``reformat`` sets up a converter with threads for every frame, which for a small
    frame takes ten times as long as the conversion.
    """
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    return _local.reformatter.reformat(frame, *args, threads=1, **kwargs)


def one_size(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Returns the frame, stretched to the given size if it has another, as players do."""
    if (frame.width, frame.height) == (width, height):
        return frame
    return _timed(convert(frame, width, height), frame)


class Orientation(NamedTuple):
    """The turns that make a stored picture upright.

    Args:
        transposed: whether rows and columns are swapped, before any mirroring.
        rows_mirrored: whether the picture is flipped upside down.
        columns_mirrored: whether the picture is flipped left to right.
    """

    transposed: bool = False
    rows_mirrored: bool = False
    columns_mirrored: bool = False


def orientation(frame: av.VideoFrame) -> Orientation:
    """Returns the orientation in a frame's display matrix, to the nearest right angle."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    # Rows (a, b, .), (c, d, .): a pixel at (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, b < 0, c < 0)
    return Orientation(False, d < 0, a < 0)


def upright(frame: av.VideoFrame, turn: Orientation) -> av.VideoFrame:
    """Returns a stored frame upright."""
    if not any(turn):
        return frame
    image = to_rgb(frame)
    if turn.transposed:
        image = image.transpose(1, 0, 2)
    image = image[:: -1 if turn.rows_mirrored else 1, :: -1 if turn.columns_mirrored else 1]
    return _timed(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"), frame)


def _timed(made: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
    made.pts, made.time_base = source.pts, source.time_base
    return made
