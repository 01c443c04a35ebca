"""Places the positions of a map on its frame.

Every strided layer of PySlowFast's and PyTorchVideo's networks has an odd kernel, padded by half of
it. So position j of a map sees the input around pixel stride * j, not around the middle of its
share of the frame, which is half a stride further right and down. With few, large positions this
matters: stretching a 3 x 4 map over the frame, as is usual, misses the target it points at.
"""

import math

import numpy as np


def place_map(
    cam: np.ndarray, input_size: tuple[int, int], frame_size: tuple[int, int]
) -> np.ndarray:
    """Puts a map over a frame: bilinear between its positions, constant outside them.

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


def _weights(cells: int, seen: int, pixels: int) -> np.ndarray:
    """Returns the weight of each of the map's positions in each pixel, (pixels, cells)."""
    # A map has ceil(seen / stride) positions.
    stride = 2 ** math.ceil(math.log2(seen / cells))
    at = ((np.arange(pixels) + 0.5) * seen / pixels - 0.5) / stride
    distance = np.abs(at.clip(0, cells - 1)[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype(np.float32)
