"""Checking a list by decoding every video of it in full."""

import math
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from slowfast_ac.data.datasets.folder import underscored
from slowfast_ac.data.lists import Entry, parse_line, read_lines
from slowfast_ac.data.parallel import map_processes
from slowfast_ac.data.video import VideoReader, probe
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_csv, write_text

# DATA.TARGET_FPS, at which PySlowFast counts DATA.NUM_FRAMES and DATA.SAMPLING_RATE.
TARGET_FPS = 30


@dataclass(frozen=True)
class Finding:
    """What is wrong with, or notable about, one line of a list.

    Args:
        line: line number, from 1.
        severity: ``error`` (the line must go) or ``note`` (PySlowFast reads it).
        kind: ``line``, ``unreadable``, ``short``, ``label`` or ``conflict`` for an error;
            ``frame rate``, ``repeated`` or ``folder`` for a note.
        path: the video, prefix included; empty when the line could not be split.
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
        findings: by line number.
    """

    lines: list[str]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that make a line bad."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def notes(self) -> list[Finding]:
        """The findings that do not."""
        return [finding for finding in self.findings if finding.severity == "note"]

    @property
    def good_lines(self) -> list[str]:
        """The lines without an error, in order, as they were."""
        bad = {finding.line for finding in self.errors}
        return [text for number, text in enumerate(self.lines, start=1) if number not in bad]

    def write_clean(self, path: str | os.PathLike) -> None:
        """Writes the good lines, whole or not at all.

        Raises:
            InputError: when there are none, since PySlowFast refuses an empty list.
        """
        if not self.good_lines:
            raise InputError(f"{path}: not written, since no line of the list is good")
        write_text(path, "".join(f"{text}\n" for text in self.good_lines))

    def write_csv(self, path: str | os.PathLike) -> None:
        """Writes the findings as a table."""
        rows = ((f.line, f.severity, f.kind, f.path, f.reason) for f in self.findings)
        write_csv(path, ("line", "severity", "kind", "path", "reason"), rows)


@dataclass(frozen=True)
class _Decoded:
    """What decoding a video in full tells, in frames and seconds.

    Args:
        num_frames: frames that can be decoded.
        duration: from the first of them to the end of the last.
        shortest: interval between two frames.
        longest: interval between two frames.
    """

    num_frames: int
    duration: float
    shortest: float
    longest: float


def check_videos(
    path: str | os.PathLike,
    separator: str = " ",
    prefix: str = "",
    num_classes: int | None = None,
    classes: Mapping[str, int] | None = None,
    clip_frames: int | None = None,
    workers: int | None = None,
) -> Report:
    """Checks every line of a list and decodes every video in full, in parallel.

    A video is held one frame at a time, so its length does not matter.

    Args:
        path: the list.
        separator: DATA.PATH_LABEL_SEPARATOR.
        prefix: DATA.PATH_PREFIX.
        num_classes: labels must be below it; by default the number of ``classes``.
        classes: class map; a video in a folder called like a class must have its label.
        clip_frames: frames that a clip spans at 30 fps, DATA.NUM_FRAMES x DATA.SAMPLING_RATE. A
            shorter video is an error: PySlowFast would repeat its last frame.
        workers: processes; None for one per CPU core.

    Raises:
        InputError: when the list itself cannot be read.
    """
    if num_classes is None and classes is not None:
        num_classes = len(classes)
    lines = read_lines(path)
    entries, findings = [], []
    for number, text in enumerate(lines, start=1):
        try:
            video_path, label = parse_line(text, separator, num_classes)
        except InputError as error:
            findings.append(Finding(number, "error", "line", "", str(error)))
            continue
        entries.append(Entry(os.path.join(prefix, video_path), label, number))
    findings += _check_repeats(entries)
    if classes is not None:
        findings += _check_folders(entries, classes)
    paths = list(dict.fromkeys(entry.path for entry in entries))
    results = map_processes(_decode, paths, workers, "decoding")
    decoded = dict(zip(paths, results, strict=True))
    for entry in entries:
        findings += _check_video(entry, decoded[entry.path], clip_frames)
    return Report(lines, sorted(findings, key=lambda finding: (finding.line, finding.severity)))


def _decode(path: str) -> _Decoded:
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"cannot read video {path}: not a file")
    probe(path)
    num_frames, shortest, longest = 1, math.inf, 0.0
    with VideoReader(path) as reader:
        times = (time for time, _ in reader.frames())
        first = last = next(times)
        for time in times:
            shortest, longest = min(shortest, time - last), max(longest, time - last)
            num_frames += 1
            last = time
        interval = (last - first) / (num_frames - 1) if num_frames > 1 else 1 / reader.fps
        return _Decoded(num_frames, num_frames * interval, shortest, longest)


def _check_video(
    entry: Entry, decoded: _Decoded | InputError, clip_frames: int | None
) -> list[Finding]:
    if isinstance(decoded, InputError):
        return [Finding(entry.line, "error", "unreadable", entry.path, str(decoded))]
    findings = []
    interval = decoded.duration / decoded.num_frames
    needed = (clip_frames or 0) / TARGET_FPS
    if decoded.duration + interval / 2 < needed:
        reason = (
            f"too short: {decoded.num_frames} frames last {decoded.duration:.2f} s, a clip of "
            f"{clip_frames} frames at {TARGET_FPS} fps takes {needed:.2f} s"
        )
        findings.append(Finding(entry.line, "error", "short", entry.path, reason))
    # A clock of milliseconds, as webm has, rounds equal intervals to unequal ones.
    tolerance = max(0.0015, 0.1 * interval)
    if decoded.num_frames > 2 and decoded.longest - decoded.shortest > tolerance:
        reason = (
            f"variable frame rate: {decoded.shortest * 1000:.0f} to {decoded.longest * 1000:.0f} ms"
            " between frames; PySlowFast takes them for equally spaced"
        )
        findings.append(Finding(entry.line, "note", "frame rate", entry.path, reason))
    return findings


def _check_repeats(entries: list[Entry]) -> list[Finding]:
    of_path = defaultdict(list)
    for entry in entries:
        of_path[entry.path].append(entry)
    findings = []
    for path, repeats in of_path.items():
        others = ", ".join(f"{entry.label} on line {entry.line}" for entry in repeats)
        if len({entry.label for entry in repeats}) > 1:
            reason = f"listed with different labels: {others}"
            findings += [Finding(e.line, "error", "conflict", path, reason) for e in repeats]
        else:
            reason = f"listed before, on line {repeats[0].line}"
            findings += [Finding(e.line, "note", "repeated", path, reason) for e in repeats[1:]]
    return findings


def _check_folders(entries: list[Entry], classes: Mapping[str, int]) -> list[Finding]:
    labels = {underscored(name.strip('"')): label for name, label in classes.items()}
    findings = []
    for entry in entries:
        # The innermost folder that is a class: videos may lie deeper than their class folder.
        folders = map(underscored, reversed(PurePath(entry.path).parts[:-1]))
        name = next((name for name in folders if name in labels), None)
        if name is None:
            reason = "in no folder that is called like a class, so its label is not checked"
            findings.append(Finding(entry.line, "note", "folder", entry.path, reason))
        elif labels[name] != entry.label:
            reason = f"label {entry.label}, but class folder {name} has label {labels[name]}"
            findings.append(Finding(entry.line, "error", "label", entry.path, reason))
    return findings
