"""Finds the videos that command-line arguments name, and chooses names for their outputs."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from slowfast_ac.data.datasets.folder import VideoFolder
from slowfast_ac.data.lists import read_lines
from slowfast_ac.errors import InputError


def find_videos(arguments: Sequence[str]) -> list[str]:
    """Returns the videos that ``arguments`` name: files, folders, globs (``**`` for sub-folders).

    A file is accepted whatever its suffix. It need not exist; the reader raises the error later.

    Raises:
        InputError: for a folder without videos, or a glob that matches nothing.
    """
    videos = []
    for argument in arguments:
        if os.path.isdir(argument):
            folder = VideoFolder(argument)
            videos += [os.path.join(argument, path) for path in folder.paths]
        elif glob.has_magic(argument) and not os.path.exists(argument):
            found = sorted(filter(os.path.isfile, glob.glob(argument, recursive=True)))
            if not found:
                raise InputError(f"{argument}: matches no file")
            videos += found
        else:
            videos.append(argument)
    return list(dict.fromkeys(videos))


def read_video_list(path: str | os.PathLike) -> list[str]:
    """Returns the videos of a list: PySlowFast's ``path label`` lines, or one path per line.

    Raises:
        InputError: if the list is missing, empty or not UTF-8 text.
    """
    videos = []
    for line in filter(str.strip, read_lines(path)):
        labelled = re.fullmatch(r"(.+?)[\s,]+\d+\s*", line)
        videos.append(labelled[1] if labelled and not os.path.exists(line) else line)
    return videos


def distinct_stems(videos: Sequence[str | os.PathLike], *, numbered: bool = False) -> list[str]:
    """Returns a distinct name for each video's outputs: its stem, with a number if repeated.

    Args:
        videos: the files.
        numbered: whether a video has several outputs, NAME-1, NAME-2 and so on, which have to be
            distinct as well.
    """
    taken: set[str] = set()
    # NAME of every taken NAME-NUMBER.
    parts: set[str] = set()
    numbers: dict[str, int] = {}
    names = []

    def part(name: str) -> str:
        match = re.fullmatch(r"(.*)-\d+", name) if numbered else None
        return match[1] if match else ""

    for video in videos:
        stem = name = Path(video).stem
        while name in taken or name in parts or part(name) in taken:
            numbers[stem] = numbers.get(stem, 1) + 1
            name = f"{stem}_{numbers[stem]}"
        taken.add(name)
        parts.add(part(name))
        names.append(name)
    return names
