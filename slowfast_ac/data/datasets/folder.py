"""Finds the videos in a folder, also by their names."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from slowfast_ac.data.reader import VideoReader
from slowfast_ac.errors import InputError

# Files with these suffixes count as videos without being opened, so that broken ones are reported.
SUFFIXES = frozenset(
    (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
    + (".mts", ".m2ts", ".ts", ".mxf", ".ogv", ".vob", ".asf", ".3g2")
)
SHOWN_FILES = 3


class VideoFolder:
    """The videos in a folder and its sub-folders.

    A file whose suffix is not in :data:`SUFFIXES` is opened to see whether it is a video.

    Args:
        root: the folder. Hidden files and folders are skipped, links are followed.

    Attributes:
        root: the folder.
        paths: the videos, relative to the folder, sorted.
        others: the other files, relative to the folder, sorted.

    Raises:
        InputError: if it is not a folder or contains no video.
    """

    def __init__(self, root: str | os.PathLike):
        if not os.path.isdir(root):
            raise InputError(f"{root}: there is no such folder of videos")
        self.root = Path(root)
        files = sorted(_walk(root))
        self.paths = [path for path in files if _is_film(self.root / path)]
        self.others = sorted(set(files) - set(self.paths))
        if not self.paths:
            held = f"; its {len(self.others)} files are not videos" if self.others else ""
            raise InputError(f"{root}: no video below this folder{held}")
        self._of_stem = defaultdict(list)
        for path in self.paths:
            self._of_stem[PurePath(path).stem].append(path)

    def left_out(self) -> list[str]:
        """Returns notes for the user on files that are not videos and folders without videos."""
        notes = []
        if self.others:
            shown = ", ".join(self.others[:SHOWN_FILES])
            more = ", ..." if len(self.others) > SHOWN_FILES else ""
            notes.append(f"{len(self.others)} files are not videos and are left out: {shown}{more}")
        full = {PurePath(path).parts[:-1] for path in self.paths}
        full = {parts[:depth] for parts in full for depth in range(len(parts) + 1)}
        empty = sorted(
            name
            for name in (*_folders(self.root, 1), *_folders(self.root, 2))
            if PurePath(name).parts not in full
        )
        if empty:
            shown = ", ".join(empty[:SHOWN_FILES]) + (", ..." if len(empty) > SHOWN_FILES else "")
            notes.append(f"{len(empty)} folders hold no video and are not classes: {shown}")
        return notes

    def find(self, stem: str, *folders: str) -> str | None:
        """Returns the video with this name, or None.

        Args:
            stem: file name without suffix.
            folders: preferred folder names. If several videos have the name, the one with most of
                these in its path is taken; spaces and underscores count as equal.
        """
        wanted = {underscored(name) for name in folders}
        return max(
            self._of_stem.get(stem, ()),
            key=lambda path: len(wanted & set(map(underscored, PurePath(path).parts))),
            default=None,
        )


def underscored(name: str) -> str:
    """Returns ``name`` with underscores in place of white space, as in many copies of Kinetics."""
    return re.sub(r"\s", "_", name)


def _walk(root: str | os.PathLike) -> Iterator[str]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # Otherwise, a link to a parent folder would be followed forever.
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def _folders(root: Path, depth: int) -> Iterator[str]:
    for path in root.glob("/".join("*" * depth)):
        if path.is_dir() and not any(part.startswith(".") for part in path.parts[-depth:]):
            yield os.path.relpath(path, root)


def _is_film(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        # Videos contain zero bytes; text does not.
        if 0 not in head:
            return False
        with VideoReader(path) as reader:
            # The names of FFmpeg's formats for single pictures end in _pipe.
            picture = reader.stream.container.format.name.endswith("_pipe")
            return not picture and len(reader.timeline.times) > 1
    except (InputError, OSError):
        return False
