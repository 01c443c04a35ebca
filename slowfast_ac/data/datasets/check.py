"""Checks a list by decoding all its videos in full."""

import contextlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from slowfast_ac.data.datasets.folder import underscored
from slowfast_ac.data.datasets.remarks import TARGET_FPS, remarks
from slowfast_ac.data.lists import Entry, parse_line, read_lines
from slowfast_ac.data.parallel import keep_results
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_csv, write_text
from slowfast_ac.journal import KEY, Journal
from slowfast_ac.ranks import ALONE, Rank


@dataclass(frozen=True)
class Finding:
    """An error in one line of a list, or a note about it.

    Args:
        line: line number, from 1.
        severity: ``error`` (the line must be removed) or ``note`` (PySlowFast can read it).
        kind: ``line``, ``unreadable``, ``short``, ``label`` or ``conflict`` for an error;
            ``repeated``, ``folder`` or the kind of a :class:`~.remarks.Remark` for a note.
        path: the video, including the prefix; empty if the line could not be split.
        reason: a sentence.
    """

    line: int
    severity: str
    kind: str
    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The findings of one list.

    Args:
        lines: the list's lines.
        findings: the findings, sorted by line number.
    """

    lines: list[str]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def notes(self) -> list[Finding]:
        """The findings that are notes."""
        return [finding for finding in self.findings if finding.severity == "note"]

    @property
    def good_lines(self) -> list[str]:
        """The lines without an error, unchanged and in order."""
        bad = {finding.line for finding in self.errors}
        return [text for number, text in enumerate(self.lines, start=1) if number not in bad]

    def write_clean(self, path: str | os.PathLike) -> None:
        """Writes the good lines, whole or not at all.

        Raises:
            InputError: if there are none, since PySlowFast refuses an empty list.
        """
        if not self.good_lines:
            raise InputError(f"{path}: not written, since no line of the list is good")
        write_text(path, "".join(f"{text}\n" for text in self.good_lines))

    def write_csv(self, path: str | os.PathLike) -> None:
        """Writes the findings as a table."""
        rows = ((f.line, f.severity, f.kind, f.path, f.reason) for f in self.findings)
        write_csv(path, ("line", "severity", "kind", "path", "reason"), rows)


def check_videos(
    path: str | os.PathLike,
    separator: str = " ",
    prefix: str = "",
    num_classes: int | None = None,
    classes: Mapping[str, int] | None = None,
    clip_frames: int | None = None,
    workers: int | None = None,
    tell: Callable[[Finding], None] | None = None,
    report: str | os.PathLike | None = None,
    rank: Rank = ALONE,
) -> Report | None:
    """Checks every line of a list and decodes every video in full, in parallel.

    Only one frame of a video is in memory at a time, so its length does not matter.

    Args:
        path: the list.
        separator: DATA.PATH_LABEL_SEPARATOR.
        prefix: DATA.PATH_PREFIX.
        num_classes: labels must be below it; by default the number of ``classes``.
        classes: class map; a video in a folder named after a class must have that class's label.
        clip_frames: frames that a clip spans at 30 fps, DATA.NUM_FRAMES x DATA.SAMPLING_RATE. A
            shorter video is an error: PySlowFast would repeat its last frame.
        workers: number of processes; None for one per CPU core of this process.
        tell: called with each finding of this process as soon as it is known: first for the lines
            that name no video, then for the videos in order.
        report: a csv file for all findings. Results are stored beside it as they come, so that a
            later call can continue after a kill.
        rank: which of several processes this is; each decodes a part of the videos.

    Returns:
        The report, or None if other processes still have videos to decode; the last one returns it.

    Raises:
        InputError: if the list itself cannot be read, or for several processes without a
            ``report``.
    """
    if rank.world_size > 1 and report is None:
        raise InputError(f"--report: needed, since this is {rank} and each checks its own videos")
    lines = read_lines(path)
    checked = _Checked(lines, separator, prefix, num_classes, classes, clip_frames)
    merged: Report | None = None

    def merge(videos: Iterable[Mapping[str, Any]]) -> None:
        nonlocal merged
        findings = [*checked.of_lines, *(found for video in videos for found in checked.of(video))]
        # The sort is stable, so a line's findings stay in order.
        merged = Report(lines, sorted(findings, key=lambda finding: finding.line))
        if report is not None:
            merged.write_csv(report)

    with contextlib.ExitStack() as stack:
        kept = report or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "report.csv"
        journal = stack.enter_context(
            contextlib.closing(Journal(kept, {"results": "whole videos, decoded"}, rank))
        )
        for finding in checked.of_lines if tell is not None and rank.number == 0 else ():
            tell(finding)
        for video in keep_results(_decode, checked.paths, journal, workers, "decoding"):
            for finding in checked.of(video) if tell is not None else ():
                tell(finding)
        journal.finish(checked.paths, merge)
    return merged


class _Checked:
    """Compares the lines of a list with their decoded videos; see :func:`check_videos`.

    Attributes:
        paths: {video: video} for each distinct video.
        of_lines: the findings of lines that name no video.
    """

    def __init__(
        self,
        lines: list[str],
        separator: str,
        prefix: str,
        num_classes: int | None,
        classes: Mapping[str, int] | None,
        clip_frames: int | None,
    ) -> None:
        if num_classes is None and classes is not None:
            num_classes = len(classes)
        self.of_lines: list[Finding] = []
        self._clip_frames = clip_frames
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        entries = []
        for number, text in enumerate(lines, start=1):
            try:
                video_path, label = parse_line(text, separator, num_classes)
            except InputError as error:
                self.of_lines.append(Finding(number, "error", "line", "", str(error)))
                continue
            entries.append(Entry(os.path.join(prefix, video_path), label, number))
            self._entries[entries[-1].path].append(entries[-1])
        self.paths = {path: path for path in self._entries}
        self._of_entries: dict[int, list[Finding]] = defaultdict(list)
        for finding in _check_repeats(self._entries) + _check_folders(entries, classes or {}):
            self._of_entries[finding.line].append(finding)

    def of(self, video: Mapping[str, Any]) -> Iterator[Finding]:
        """Yields the findings of every line of a video, errors first."""
        for entry in self._entries[video[KEY]]:
            found = self._of_entries.get(entry.line, [])
            found = found + _check_video(entry, video, self._clip_frames)
            yield from sorted(found, key=lambda finding: finding.severity)


def _decode(path: str) -> dict[str, Any]:
    with VideoReader(path) as reader:
        frames = sum(1 for _ in reader.frames())
        if not frames:
            raise InputError(f"cannot read video {path}: no frame can be decoded")
        return {
            "frames": frames,
            "seconds": reader.timeline.end,
            "fps": reader.timeline.fps,
            "remarks": remarks(reader, frames),
        }


def _check_video(entry: Entry, video: Mapping[str, Any], clip_frames: int | None) -> list[Finding]:
    if "error" in video:
        return [Finding(entry.line, "error", "unreadable", entry.path, video["error"])]
    findings = []
    needed = (clip_frames or 0) / TARGET_FPS
    if video["seconds"] + 0.5 / video["fps"] < needed:
        reason = (
            f"too short: {video['frames']} frames last {video['seconds']:.2f} s, a clip of "
            f"{clip_frames} frames at {TARGET_FPS} fps takes {needed:.2f} s"
        )
        findings.append(Finding(entry.line, "error", "short", entry.path, reason))
    for kind, reason in video["remarks"]:
        findings.append(Finding(entry.line, "note", kind, entry.path, reason))
    return findings


def _check_repeats(entries: Mapping[str, list[Entry]]) -> list[Finding]:
    findings = []
    for path, repeats in entries.items():
        others = ", ".join(f"{entry.label} on line {entry.line}" for entry in repeats)
        if len({entry.label for entry in repeats}) > 1:
            reason = f"listed with different labels: {others}"
            findings += [Finding(e.line, "error", "conflict", path, reason) for e in repeats]
        else:
            reason = f"listed before, on line {repeats[0].line}"
            findings += [Finding(e.line, "note", "repeated", path, reason) for e in repeats[1:]]
    return findings


def _check_folders(entries: list[Entry], classes: Mapping[str, int]) -> list[Finding]:
    if not classes:
        return []
    labels = {underscored(name.strip('"')): label for name, label in classes.items()}
    findings = []
    for entry in entries:
        # The innermost folder named after a class; videos may be in sub-folders of it.
        folders = map(underscored, reversed(PurePath(entry.path).parts[:-1]))
        name = next((name for name in folders if name in labels), None)
        if name is None:
            reason = "not in a folder named after a class, so its label is not checked"
            findings.append(Finding(entry.line, "note", "folder", entry.path, reason))
        elif labels[name] != entry.label:
            reason = f"label {entry.label}, but class folder {name} has label {labels[name]}"
            findings.append(Finding(entry.line, "error", "label", entry.path, reason))
    return findings
