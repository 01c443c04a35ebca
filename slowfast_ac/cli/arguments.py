"""Arguments that several commands share."""

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slowfast_ac.files import StrPath
    from slowfast_ac.journal import Journal
    from slowfast_ac.ranks import Rank


class RenamedFlag(argparse.Action):
    """``store_true`` for a flag whose other names are deprecated."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, dest, nargs=0, default=False, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        """Sets the flag, with a FutureWarning for an old name."""
        name = self.option_strings[0]
        if option_string != name:
            warnings.warn(f"{option_string} is deprecated; use {name}", FutureWarning, stacklevel=2)
        setattr(namespace, self.dest, True)


def add_pyslowfast(parser: argparse.ArgumentParser, purpose: str = "checkout") -> None:
    """Adds ``--pyslowfast``."""
    parser.add_argument(
        "--pyslowfast", metavar="PATH", help=f"{purpose} (default: PYSLOWFAST_ROOT)"
    )


def add_opts(parser: argparse.ArgumentParser, purpose: str = "the last argument") -> None:
    """Adds ``--opts``, config keys and their values in turn, which takes all further words."""
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help=f"KEY VALUE pairs, {purpose}"
    )


def chosen_videos(args: argparse.Namespace) -> list[str]:
    """Returns the videos of ``args.videos`` and of the list ``args.list``.

    Raises:
        InputError: if there are none, the list is bad, or a name is not UTF-8.
    """
    from slowfast_ac.data.find_videos import find_videos, read_video_list
    from slowfast_ac.data.lists import require_utf8
    from slowfast_ac.errors import InputError

    listed = read_video_list(args.list) if args.list else []
    if not listed and not args.videos:
        raise InputError("VIDEO: give a video, a folder or --list FILE")
    videos = list(dict.fromkeys([*find_videos(args.videos), *listed]))
    for video in videos:
        require_utf8(video)
    return videos


def finish(
    journal: "Journal",
    videos: Iterable[str],
    write: Callable[[Iterator[dict[str, Any]]], None],
    rank: "Rank",
) -> int:
    """Has the last process write the output; returns the exit status, 1 for unread videos.

    The other processes always exit with 0, since torchrun stops all of them when one fails.
    """
    unread = 0

    def counted(entries: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        nonlocal unread
        for entry in entries:
            unread += "error" in entry
            yield entry

    if not journal.finish(videos, lambda entries: write(counted(entries))):
        tell_unfinished(rank, journal.output)
    return 1 if unread else 0


def tell_unfinished(rank: "Rank", output: "StrPath") -> None:
    """Prints that another process, the last one to finish, writes the results."""
    print(f"this was {rank}; the last one writes {output}")
