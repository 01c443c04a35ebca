"""A folder of videos, in which a video is found by its name."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from slowfast_ac.errors import InputError

SUFFIXES = frozenset(
    (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
)


class VideoFolder:
    """The videos below a folder, whatever their suffix and sub-folder.

    Args:
        root: the folder. Hidden files and folders are left out, links are followed.

    Attributes:
        root: the folder.
        paths: its videos, relative to it, sorted.

    Raises:
        InputError: when it is no folder or holds no video.
    """

    def __init__(self, root: str | os.PathLike):
        if not os.path.isdir(root):
            raise InputError(f"{root}: there is no such folder of videos")
        self.root = Path(root)
        self.paths = sorted(_walk(root))
        if not self.paths:
            raise InputError(f"{root}: no video below this folder ({', '.join(sorted(SUFFIXES))})")
        self._of_stem = defaultdict(list)
        for path in self.paths:
            self._of_stem[PurePath(path).stem].append(path)

    def find(self, stem: str, *folders: str) -> str | None:
        """Returns the video of this name, or None.

        Args:
            stem: file name without suffix.
            folders: of several videos of that name, the one with most of these among its folders
                wins; spaces and underscores count as equal.
        """
        wanted = {underscored(name) for name in folders}
        return max(
            self._of_stem.get(stem, ()),
            key=lambda path: len(wanted & set(map(underscored, PurePath(path).parts))),
            default=None,
        )


def underscored(name: str) -> str:
    """Returns ``name`` with underscores for white space, as many copies of Kinetics have it."""
    return re.sub(r"\s", "_", name)


def _walk(root: str | os.PathLike) -> Iterator[str]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # A link to a parent folder would be followed for ever.
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.relpath(os.path.join(folder, name), root)
