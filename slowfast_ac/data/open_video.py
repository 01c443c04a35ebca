"""Opens video files, chooses the stream to read, and explains why other files are not read."""

import errno
import gc
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

import av

from slowfast_ac.errors import InputError

# FFmpeg formats that are not videos: lists of other files or network streams, which may never end,
# devices, pictures and text.
NO_FILMS = {"concat", "concatf", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"}
NO_FILMS |= {"image2", "image2pipe", "tty", "bin", "idf", "adf", "xbin", "vapoursynth", "avisynth"}

# A forked process, such as a loader's worker, has its parent's decoders but not their threads. If
# garbage collection frees a decoder there, it waits forever for these threads, or crashes.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)


def open_container(
    source: str | os.PathLike | BinaryIO | av.container.InputContainer,
) -> av.container.InputContainer:
    """Opens a path or a binary file; an open container is returned as it is."""
    if isinstance(source, av.container.InputContainer):
        return source
    # With the protocol, since a file name may contain a colon.
    is_path = isinstance(source, str | os.PathLike)
    file = f"file:{os.fspath(source)}" if is_path else source
    films = sorted(set(av.formats_available) - NO_FILMS)
    # A title in an old encoding should not make a video unreadable.
    return av.open(file, metadata_errors="ignore", options={"format_whitelist": ",".join(films)})


def films_of(videos: Sequence[av.VideoStream]) -> list[av.VideoStream]:
    """Returns the video streams that are not marked as a cover picture.

    Raises:
        InputError: if there is none; the file is not named.
    """
    films = [s for s in videos if not s.disposition & av.stream.Disposition.attached_pic]
    if not films:
        raise InputError(f"it has {'a cover picture and no film' if videos else 'no video stream'}")
    films = [stream for stream in films if stream.codec_context is not None]
    if not films:
        raise InputError("its codec is not supported")
    return films


def choose_film(
    container: av.container.InputContainer, videos: Sequence[av.VideoStream]
) -> av.VideoStream:
    """Returns the first of a container's video streams that is not a cover picture.

    Raises:
        InputError: if there is none; the file is not named.
    """
    films = films_of(videos)
    if len(films) > 1:
        # A cover picture is not always marked as one, but has a single frame.
        counts = dict.fromkeys((stream.index for stream in films), 0)
        for packet in container.demux(films):
            counts[packet.stream_index] += packet.size > 0
            if counts[films[0].index] > 1:
                break
        films.sort(key=lambda stream: counts[stream.index] < 2)
        rewind(container, films[0])
    return films[0]


def rewind(
    container: av.container.InputContainer, stream: av.VideoStream, is_timed: bool = True
) -> None:
    """Seeks to the beginning of a stream: to its start time or, without times, its first byte."""
    if is_timed or stream.start_time is not None:
        # A seek to the exact start skips the first key frame of MPEG-TS.
        container.seek(min(stream.start_time or 0, 0), stream=stream)
    else:
        container.seek(0, stream=stream, unsupported_byte_offset=True)


def regular_file(name: str) -> tuple[str, int, int]:
    """Returns the absolute path, the size in bytes and the modification time of a regular file.

    Raises:
        InputError: if it is empty or not a regular file; a pipe or a device may never end.
    """
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if "://" in name:
            why = "only files are read; download it first"
        raise InputError(f"cannot read video {name}: {why}") from error
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        why = os.strerror(errno.EISDIR) if is_folder else "a pipe or a device, which may never end"
        raise InputError(f"cannot read video {name}: {why}, not a file")
    if status.st_size == 0:
        raise InputError(f"cannot read video {name}: the file is empty")
    return os.path.abspath(name), status.st_size, status.st_mtime_ns


def reason(error: Exception) -> str:
    """Returns one line that says why PyAV, or this package, could not read a file."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, av.error.InvalidDataError):
        return f"{error.strerror} (no video, or cut short)"
    if isinstance(error, av.error.ArgumentError):
        return "not read as a film (a playlist, a picture or text?)"
    said = getattr(error, "strerror", None)
    if said is None and isinstance(error, IndexError | ValueError):
        # PyAV's own code failed on data that no valid video has.
        return f"no video, or damaged ({' '.join(str(error).split())})"
    why = said or f"{type(error).__name__}: {error}"
    return " ".join(why.split())
