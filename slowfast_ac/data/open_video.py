"""Opening a video file: which files are read, which of their streams, and what to say of others."""

import errno
import gc
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

import av

from slowfast_ac.errors import InputError

# What FFmpeg would read although it is no film: lists of other files or of the network, which may
# never end, devices, pictures and text.
NO_FILMS = {"concat", "concatf", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"}
NO_FILMS |= {"image2", "image2pipe", "tty", "bin", "idf", "adf", "xbin", "vapoursynth", "avisynth"}

# A forked process, such as a loader's worker, has its parent's decoders but not their threads. To
# free one there, as any garbage collection may, is to wait for its threads for ever, or a crash.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)


def open_container(
    source: str | os.PathLike | BinaryIO | av.container.InputContainer,
) -> av.container.InputContainer:
    """Opens a path or a binary file; an open container is returned as it is."""
    if isinstance(source, av.container.InputContainer):
        return source
    # The protocol, since a name may hold a colon.
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
        raise InputError("its codec is not known here")
    return films


def choose_film(
    container: av.container.InputContainer, videos: Sequence[av.VideoStream]
) -> av.VideoStream:
    """Returns the first of a container's video streams that is no cover picture.

    Raises:
        InputError: if there is none; the file is not named.
    """
    films = films_of(videos)
    if len(films) > 1:
        # A cover need not be marked as one; it is one frame.
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
    """Goes back to the beginning of a stream, which in one without times is its first byte."""
    if is_timed or stream.start_time is not None:
        # MPEG-TS skips its first key frame when asked for the exact start.
        container.seek(min(stream.start_time or 0, 0), stream=stream)
    else:
        container.seek(0, stream=stream, unsupported_byte_offset=True)


def regular_file(name: str) -> tuple[str, int, int]:
    """Returns absolute path, bytes and time of the last change of a file that is to be read.

    Raises:
        InputError: if it is none, or empty. A pipe or a device may never end.
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
    """Returns in one line why PyAV, or this package, could not read a file."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, av.error.InvalidDataError):
        return f"{error.strerror} (no video, or cut short)"
    if isinstance(error, av.error.ArgumentError):
        return "not read as a film (a playlist, a picture or text?)"
    said = getattr(error, "strerror", None)
    if said is None and isinstance(error, IndexError | ValueError):
        # PyAV's own code met something that no film has.
        return f"no video, or damaged ({' '.join(str(error).split())})"
    why = said or f"{type(error).__name__}: {error}"
    return " ".join(why.split())
