"""A decoded frame as players show it: upright, and of one size through a video."""

import av
import numpy as np


def one_size(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Returns the frame, stretched to a size where it has another, as players do."""
    if (frame.width, frame.height) == (width, height):
        return frame
    return _timed(frame.reformat(width, height), frame)


def upright(frame: av.VideoFrame) -> av.VideoFrame:
    """Returns the frame, turned and mirrored to the nearest right angle of its display matrix."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return frame
    # Rows (a, b, .), (c, d, .): a pixel at (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    mirrored = (c < 0, b < 0) if turned else (a < 0, d < 0)
    if not turned and not any(mirrored):
        return frame
    image = frame.to_ndarray(format="rgb24")
    if turned:
        image = image.transpose(1, 0, 2)
    image = image[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    return _timed(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"), frame)


def _timed(made: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
    made.pts, made.time_base = source.pts, source.time_base
    return made
