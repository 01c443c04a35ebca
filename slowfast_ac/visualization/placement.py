"""Where in its frame each position of a map lies.

Every strided layer of PySlowFast's and PyTorchVideo's networks has an odd kernel, padded by half of
it, so position j of a map sees the input around pixel stride * j, not around the middle of its
share of the frame, which is half a stride further right and down. With few and large positions
that matters: stretching a 3 x 4 map over the frame, as is usual, misses the target it points at.
"""

import math

import numpy as np


def place_map(
    cam: np.ndarray, input_size: tuple[int, int], frame_size: tuple[int, int]
) -> np.ndarray:
    """Puts a map over a frame: bilinear between its positions, constant outside of them.

    Args:
        cam: (h, w), of a network whose strides are powers of two.
        input_size: height and width of the frame as the network saw it.
        frame_size: height and width of the result.

    Returns:
        (H, W), float32.
    """
    rows, columns = (
        _weights(cells, seen, pixels)
        for cells, seen, pixels in zip(cam.shape, input_size, frame_size, strict=True)
    )
    return rows @ cam.astype(np.float32) @ columns.T


def align_weights(cells: int, seen: int, onto_cells: int, onto_seen: int) -> np.ndarray:
    """Returns how a map of a resized frame is read at the positions of the frame's own map.

    Along one side; stretching the map instead would put half a scale's position half of the other
    scale's off.

    Args:
        cells: positions of the resized frame's map.
        seen: pixels of the resized frame.
        onto_cells: positions of the frame's own map.
        onto_seen: pixels of the frame.

    Returns:
        (onto_cells, cells), the weight of each position.
    """
    return _weights(cells, seen, onto_seen)[:: _stride(onto_cells, onto_seen)]


def _stride(cells: int, seen: int) -> int:
    # A map has ceil(seen / stride) positions.
    return 2 ** math.ceil(math.log2(seen / cells))


def _weights(cells: int, seen: int, pixels: int) -> np.ndarray:
    """Returns the weight of each of the map's positions in each pixel, (pixels, cells)."""
    stride = _stride(cells, seen)
    at = ((np.arange(pixels) + 0.5) * seen / pixels - 0.5) / stride
    distance = np.abs(at.clip(0, cells - 1)[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype(np.float32)
