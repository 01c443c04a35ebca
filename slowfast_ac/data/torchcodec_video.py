"""Decodes frames of a video's timeline with torchcodec."""

import os
from collections.abc import Sequence

import numpy as np

from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.timeline import TIME_TOLERANCE, Timeline
from slowfast_ac.errors import InputError


class TorchCodecVideo:
    """A video whose timeline PyAV reads and whose frames torchcodec decodes.

    Args:
        path: the file.

    Raises:
        InputError: if torchcodec does not work here or cannot read the file as PyAV does.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            raise InputError(
                "DATA.DECODING_BACKEND: torchcodec needs the package torchcodec and FFmpeg's "
                f"libraries: run pip install torchcodec, or choose pyav ({_line(error)})"
            ) from error
        self.name = os.fspath(path)
        with VideoReader(path) as reader:
            self.timeline: Timeline = reader.timeline
            stream, container = reader.stream.index, reader.stream.container.format.name
            self._size = reader.shown_size
        self._container = container.split(",")[0]
        try:
            self._decoder = VideoDecoder(
                f"file:{os.path.abspath(self.name)}", dimension_order="NHWC", stream_index=stream
            )
        except Exception as error:  # torchcodec raises whatever its C++ code throws
            raise self._refused(_line(error)) from error
        if len(self._decoder) != len(self.timeline.times):
            raise self._refused(
                f"it finds {len(self._decoder)} frames of {len(self.timeline.times)}"
            )

    def __enter__(self) -> "TorchCodecVideo":
        return self

    def __exit__(self, *exception: object) -> None:
        del self._decoder

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes frames of the timeline, ascending, (T, H, W, 3), uint8 RGB.

        Raises:
            InputError: if torchcodec fails, or returns frames of another time or size.
        """
        try:
            batch = self._decoder.get_frames_at(indices=list(indices))
        except Exception as error:
            raise self._refused(_line(error)) from error
        times = batch.pts_seconds.numpy()
        expected = self.timeline.times[list(indices)]
        begin = self._decoder.metadata.begin_stream_seconds
        late = np.abs(times - begin - expected).max()
        if late > max(TIME_TOLERANCE, self.timeline.tolerance):
            raise self._refused(f"its frames are {late:.3f} s from the requested ones")
        if tuple(batch.data.shape[1:3]) != self._size:
            raise self._refused("its frames have another size")
        return batch.data.numpy()

    def _refused(self, reason: str) -> InputError:
        return InputError(
            f"cannot read video {self.name}: torchcodec does not read this {self._container} file "
            f"as PyAV does ({reason}); choose DATA.DECODING_BACKEND pyav"
        )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
