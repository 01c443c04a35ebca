"""Checking a list by decoding every video of it in full."""

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from slowfast_ac.data.datasets.folder import underscored
from slowfast_ac.data.datasets.remarks import TARGET_FPS, Remark, remarks
from slowfast_ac.data.lists import Entry, parse_line, read_lines
from slowfast_ac.data.parallel import iter_processes
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_csv, write_text


@dataclass(frozen=True)
class Finding:
    """An error in one line of a list, or a note about it.

    Args:
        line: line number, from 1.
        severity: ``error`` (the line must go) or ``note`` (PySlowFast reads it).
        kind: ``line``, ``unreadable``, ``short``, ``label`` or ``conflict`` for an error;
            ``repeated``, ``folder`` or a :class:`~.remarks.Remark`'s for a note.
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
    """The result of decoding a whole video.

    Args:
        num_frames: frames that can be decoded.
        duration: seconds.
        fps: frames per second, on average.
        remarks: on the video.
    """

    num_frames: int
    duration: float
    fps: float
    remarks: list[Remark]


def check_videos(
    path: str | os.PathLike,
    separator: str = " ",
    prefix: str = "",
    num_classes: int | None = None,
    classes: Mapping[str, int] | None = None,
    clip_frames: int | None = None,
    workers: int | None = None,
    tell: Callable[[Finding], None] | None = None,
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
        tell: is called with each finding as soon as it is known, in the order of the lines.

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
    of_line = defaultdict(list)
    for finding in findings:
        of_line[finding.line].append(finding)
    entry_of = {entry.line: entry for entry in entries}
    paths = list(dict.fromkeys(entry.path for entry in entries))
    decoded: dict[str, _Decoded | InputError] = {}
    ordered, line = [], 1
    results = iter_processes(_decode, paths, workers, "decoding")
    # Once more after the last result, for lines at the end that name no video.
    for done in itertools.chain(results, [None]):
        if done is not None:
            decoded[paths[done[0]]] = done[1]
        while line <= len(lines):
            entry = entry_of.get(line)
            if entry is not None:
                if entry.path not in decoded:
                    break
                of_line[line] += _check_video(entry, decoded[entry.path], clip_frames)
            for finding in sorted(of_line[line], key=lambda finding: finding.severity):
                ordered.append(finding)
                if tell is not None:
                    tell(finding)
            line += 1
    return Report(lines, ordered)


def _decode(path: str) -> _Decoded:
    with VideoReader(path) as reader:
        num_frames = sum(1 for _ in reader.frames())
        if not num_frames:
            raise InputError(f"cannot read video {path}: no frame can be decoded")
        timeline = reader.timeline
        return _Decoded(num_frames, timeline.end, timeline.fps, remarks(reader, num_frames))


def _check_video(
    entry: Entry, decoded: _Decoded | InputError, clip_frames: int | None
) -> list[Finding]:
    if isinstance(decoded, InputError):
        return [Finding(entry.line, "error", "unreadable", entry.path, str(decoded))]
    findings = []
    needed = (clip_frames or 0) / TARGET_FPS
    if decoded.duration + 0.5 / decoded.fps < needed:
        reason = (
            f"too short: {decoded.num_frames} frames last {decoded.duration:.2f} s, a clip of "
            f"{clip_frames} frames at {TARGET_FPS} fps takes {needed:.2f} s"
        )
        findings.append(Finding(entry.line, "error", "short", entry.path, reason))
    for kind, reason in decoded.remarks:
        findings.append(Finding(entry.line, "note", kind, entry.path, reason))
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
        # The innermost folder that is a class: videos may be deeper than their class folder.
        folders = map(underscored, reversed(PurePath(entry.path).parts[:-1]))
        name = next((name for name in folders if name in labels), None)
        if name is None:
            reason = "in no folder that is called like a class, so its label is not checked"
            findings.append(Finding(entry.line, "note", "folder", entry.path, reason))
        elif labels[name] != entry.label:
            reason = f"label {entry.label}, but class folder {name} has label {labels[name]}"
            findings.append(Finding(entry.line, "error", "label", entry.path, reason))
    return findings
