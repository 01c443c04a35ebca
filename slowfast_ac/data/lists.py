"""Reads, checks and writes PySlowFast's lists of videos: ``path label`` lines without a header."""

import os
import shlex
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from slowfast_ac.data import video
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_text


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Args:
        path: the video, including DATA.PATH_PREFIX.
        label: class number, from 0.
        line: line number in the list, from 1; 0 for an entry that does not come from a file.
    """

    path: str
    label: int
    line: int = 0


def read_list(
    path: str | os.PathLike,
    separator: str = " ",
    prefix: str = "",
    num_classes: int | None = None,
) -> list[Entry]:
    """Reads a list as PySlowFast does, but strictly.

    PySlowFast itself treats a line that it cannot split as a path with label 0.

    Args:
        path: the list.
        separator: DATA.PATH_LABEL_SEPARATOR.
        prefix: DATA.PATH_PREFIX, joined to every path.
        num_classes: labels must be below it; None sets no limit.

    Raises:
        InputError: for a missing or empty list, or naming the first bad line and the reason.
    """
    entries = []
    for number, text in enumerate(read_lines(path), start=1):
        try:
            video_path, label = parse_line(text, separator, num_classes)
        except InputError as error:
            raise InputError(f"{path} line {number}: {error}") from None
        entries.append(Entry(os.path.join(prefix, video_path), label, number))
    return entries


class ListFormat(TypedDict):
    """Arguments of :func:`read_list`."""

    separator: str
    prefix: str


def list_format(config: Mapping[str, object] | None) -> ListFormat:
    """Returns the arguments ``separator`` and ``prefix`` of :func:`read_list` for a run's lists.

    Args:
        config: the run's config; keys that it lacks have PySlowFast's defaults.
    """
    data = (config or {}).get("DATA")
    keys: Mapping[str, object] = data if isinstance(data, Mapping) else {}
    # The wheel lacks the first key and splits at white space.
    separator, prefix = keys.get("PATH_LABEL_SEPARATOR"), keys.get("PATH_PREFIX")
    return {"separator": str(separator or " "), "prefix": str(prefix or "")}


def read_lines(path: str | os.PathLike) -> list[str]:
    """Returns the lines of a list, split where PySlowFast splits them.

    Raises:
        InputError: if the list is missing, empty or not UTF-8 text.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read this list: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; a list holds `path label` lines") from None
    if text.startswith("\ufeff"):
        raise InputError(
            f"{path}: starts with a byte order mark, which PySlowFast takes for a part of the "
            "first path; save it as UTF-8 without BOM"
        )
    if not text.strip():
        raise InputError(f"{path}: this list is empty")
    return text.splitlines()


def parse_line(text: str, separator: str = " ", num_classes: int | None = None) -> tuple[str, int]:
    """Splits one line into path and label.

    Like PySlowFast, it also accepts three fields, (path, frame, label), and ignores the middle one.

    Raises:
        InputError: saying what is wrong with the line, without its number.
    """
    if not text.strip():
        raise InputError("empty; remove this line (PySlowFast reads it as a video with label 0)")
    fields = text.split(separator)
    if len(fields) == 1:
        reason = _other_separator(text, separator) or "no label (PySlowFast would take 0)"
        raise InputError(f"{reason}: {text!r}")
    spaces = (
        f"the path contains the separator {separator!r}, which PySlowFast cannot read; rename it "
        "or let `slowfast-ac prepare` link it without spaces"
    )
    if len(fields) > 3 or (len(fields) == 3 and _is_cut_path(*fields[:2])):
        raise InputError(f"{len(fields)} fields instead of `path label`: {spaces}: {text!r}")
    path, label = fields[0], fields[-1]
    if not path:
        raise InputError(f"no path before the separator {separator!r}: {text!r}")
    try:
        number = int(label)
    except ValueError:
        reason = _other_separator(text, separator) or f"label {label!r} is not an integer"
        raise InputError(f"{reason}: {text!r}") from None
    if number < 0:
        raise InputError(f"label {number} is negative; labels count from 0")
    if num_classes is not None and number >= num_classes:
        raise InputError(
            f"label {number} is not below MODEL.NUM_CLASSES {num_classes}; labels count from 0"
        )
    return path, number


def format_list(entries: Iterable[Entry]) -> str:
    """Returns the text of a list that every version of PySlowFast reads: single spaces separate.

    Raises:
        InputError: for a path that a list cannot contain: with white space, or not in UTF-8.
    """
    lines = []
    for entry in entries:
        require_utf8(entry.path)
        if len(entry.path.split()) != 1:
            raise InputError(f"{entry.path!r}: PySlowFast's lists cannot hold a path with spaces")
        lines.append(f"{entry.path} {entry.label}\n")
    return "".join(lines)


def require_utf8(path: str) -> None:
    """Rejects a path that cannot be written into a text file.

    Raises:
        InputError: naming it.
    """
    # Python decodes other bytes of a name to these.
    if any("\udc80" <= char <= "\udcff" for char in path):
        raise InputError(f"{path!r}: the name is not UTF-8; rename the file")


def write_list(path: str | os.PathLike, entries: Iterable[Entry]) -> None:
    """Writes a list, whole or not at all; see :func:`format_list`."""
    write_text(path, format_list(entries))


def check_list(
    path: str | os.PathLike,
    separator: str = " ",
    prefix: str = "",
    num_classes: int | None = None,
    sample: int = 1000,
) -> list[Entry]:
    """Reads a list and opens some of its videos, to find bad ones before a run.

    Args:
        path: the list.
        separator: DATA.PATH_LABEL_SEPARATOR.
        prefix: DATA.PATH_PREFIX.
        num_classes: MODEL.NUM_CLASSES.
        sample: largest number of videos to open, spread evenly over the list.

    Returns:
        All entries, as :func:`read_list` does.

    Raises:
        InputError: for a bad line, or naming the first unreadable video, the reason, the number of
            unreadable ones and the command that finds them all.
    """
    entries = read_list(path, separator, prefix, num_classes)
    chosen = np.linspace(0, len(entries) - 1, min(sample, len(entries))).astype(int)
    opened = [entries[i] for i in chosen]
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_why_unreadable, (entry.path for entry in opened)))
    bad = [(entry, problem) for entry, problem in zip(opened, problems, strict=True) if problem]
    if bad:
        entry, problem = bad[0]
        raise InputError(
            f"{path} line {entry.line}: {problem} ({len(bad)} of {len(opened)} opened videos are "
            f"unreadable); write a list without them: {_clean_command(path, separator, prefix)}"
        )
    return entries


def _other_separator(text: str, separator: str) -> str | None:
    for other in (",", "\t", ";", "|", " "):
        head, _, label = text.rpartition(other)
        if other != separator and head and label.strip().isdigit():
            expected = "a space" if separator == " " else repr(separator)
            return f"separated by {other!r} — PySlowFast expects {expected}"
    return None


def _is_cut_path(first: str, second: str) -> bool:
    # `my clip.mp4 3` has three fields too. A path without a suffix followed by a "frame" with one
    # is a single path that contains the separator.
    return not os.path.splitext(first)[1] and bool(os.path.splitext(second)[1])


def _why_unreadable(path: str) -> str | None:
    try:
        video.probe(path)
    except InputError as error:
        return str(error)
    return None


def _clean_command(path: str | os.PathLike, separator: str, prefix: str) -> str:
    folder, name = os.path.split(path)
    words = ["slowfast-ac", "check-data", str(path)]
    if prefix:
        words += ["--prefix", prefix]
    if separator != " ":
        words += ["--separator", separator]
    words += ["--write-clean", os.path.join(folder, "clean", name)]
    return shlex.join(words)
