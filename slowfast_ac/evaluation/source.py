"""Reads what a run directory tells about its test: the videos, the classes, accuracy by clip."""

import os
from dataclasses import dataclass
from pathlib import Path

from slowfast_ac.config import config_value
from slowfast_ac.data.class_map import find_class_map
from slowfast_ac.data.lists import list_format, read_list
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.results import Results
from slowfast_ac.files import StrPath
from slowfast_ac.pyslowfast.config_file import read_config
from slowfast_ac.pyslowfast.log import LOG, clip_accuracy, read_log


@dataclass(frozen=True)
class Source:
    """The data about a test that a run directory contains.

    Args:
        videos: paths, in the order of the results; None if the list is not known.
        names: the videos as the list has them, without DATA.PATH_PREFIX.
        note: why the list is not known although there is one; otherwise empty.
        classes: class map, or None.
        clip_accuracy: ``top1`` and ``top5`` in % of the last validation, which classifies one clip
            per video; empty if there was none.
    """

    videos: list[str] | None
    names: list[str] | None
    note: str
    classes: Path | None
    clip_accuracy: dict[str, float]


def read_source(path: StrPath, results: Results, test_list: StrPath | None = None) -> Source:
    """Returns what is known about the videos of a result.

    Args:
        path: result file or run directory.
        results: its contents.
        test_list: list of the tested videos; by default the run's own, if it still fits.

    Raises:
        InputError: for a list that was given and does not fit the results, or a damaged config.
    """
    path = Path(path)
    config_file = path / "config.yaml"
    config = read_config(config_file) if config_file.is_file() else {}
    known, note = None, ""
    own = _data_folder(config) / "test.csv" if config else None
    if test_list is not None:
        known = _tested_videos(test_list, config, results)
    elif own is not None and own.is_file():
        try:
            known = _tested_videos(own, config, results)
        except InputError as error:
            # It has changed since the test, or another data set has a file of this name.
            note = str(error)
    classes = find_class_map(_data_folder(config)) if config else None
    videos, names = known or (None, None)
    return Source(
        videos,
        names,
        note,
        Path(classes) if classes else None,
        clip_accuracy(read_log(path)) if (path / LOG).is_file() else {},
    )


def _data_folder(config: dict) -> Path:
    return Path(str(config_value(config, "DATA.PATH_TO_DATA_DIR") or "."))


def _tested_videos(path: StrPath, config: dict, results: Results) -> tuple[list[str], list[str]]:
    """Returns the paths of a list's videos, and the same without the prefix."""
    style = list_format(config)
    entries = read_list(path, style["separator"])
    if len(entries) != len(results.labels):
        raise InputError(
            f"{path}: {len(entries)} videos, but the results have {len(results.labels)}"
        )
    if not results.multi_label:
        for entry, label in zip(entries, results.labels.tolist(), strict=True):
            if entry.label != label:
                raise InputError(
                    f"{path} line {entry.line}: label {entry.label}, but the results have {label}: "
                    "not the tested videos, or in another order"
                )
    names = [entry.path for entry in entries]
    return [os.path.join(style["prefix"], name) for name in names], names
