"""The splits of Kinetics, UCF101, HMDB51 and plain class folders, matched to the files found."""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from slowfast_ac.data.class_map import Classes, to_class_map
from slowfast_ac.data.datasets.folder import VideoFolder
from slowfast_ac.errors import InputError

SPLITS = ("train", "val", "test")
SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Sample:
    """One listed video.

    Args:
        name: its name in the annotation.
        class_name: its class.
        path: the file, relative to the data set's folder; None if it is missing.
    """

    name: str
    class_name: str
    path: str | None


@dataclass(frozen=True)
class Dataset:
    """The listed videos of a data set.

    Args:
        name: ``kinetics``, ``ucf101``, ``hmdb51`` or ``folder``.
        root: folder of the videos.
        classes: {class name: label}.
        splits: ``{"": {"train": samples, "val": ..., "test": ...}}``. If a data set has several
            splits, the keys are their names, such as ``split1``.
        notes: notes for the user about the splits.
    """

    name: str
    root: Path
    classes: dict[str, int]
    splits: dict[str, dict[str, list[Sample]]]
    notes: list[str] = field(default_factory=list)


def kinetics(
    root: str | os.PathLike,
    annotations: Sequence[str | os.PathLike],
    classes: str | os.PathLike | None = None,
) -> Dataset:
    """Reads Kinetics's official csv files: label, youtube_id, time_start, time_end, split.

    Videos are named ``<youtube_id>_<start, 6 digits>_<end, 6 digits>`` and may be in a single
    folder, or in folders by split or class.

    Args:
        root: folder of the videos.
        annotations: the csv files. The split is taken from the column, or else from the file name.
        classes: class map; by default labels follow the sorted class names.

    Raises:
        InputError: naming the file, and the line where there is one.
    """
    folder = VideoFolder(root)
    notes = folder.left_out()
    samples = defaultdict(list)
    for path in annotations:
        for line, row in _read_csv(path, ("youtube_id", "time_start", "time_end")):
            if "label" not in row:
                notes.append(f"{path} has no labels, as Kinetics-400's test.csv, and is left out")
                break
            if not row["label"]:
                raise InputError(f"{path} line {line}: has an empty label")
            try:
                start, end = (round(float(row[key])) for key in ("time_start", "time_end"))
            except ValueError:
                raise InputError(f"{path} line {line}: times must be seconds") from None
            name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            split = _split_of(row.get("split") or PurePath(path).stem, f"{path} line {line}")
            file = folder.find(name, split, row["label"])
            samples[split].append(Sample(name, row["label"], file))
    names = {sample.class_name for listed in samples.values() for sample in listed}
    labels = class_labels(names, classes)
    return _with_all_splits(Dataset("kinetics", folder.root, labels, {"": dict(samples)}, notes))


def ucf101(
    root: str | os.PathLike, annotations: str | os.PathLike, numbers: Sequence[int]
) -> Dataset:
    """Reads UCF101's official ``ucfTrainTestlist`` folder. Labels are those of classInd.txt less 1.

    Args:
        root: folder of the videos, ``UCF-101``.
        annotations: folder of classInd.txt, trainlist01.txt, testlist01.txt and so on.
        numbers: which of the splits 1 to 3 to read.

    Raises:
        InputError: naming the file, and the line where there is one.
    """
    folder, annotations = VideoFolder(root), Path(annotations)
    labels = {}
    for where, (number, name) in _read_fields(annotations / "classInd.txt", 2):
        if number != str(len(labels) + 1):
            raise InputError(f"{where}: class number {number} instead of {len(labels) + 1}")
        labels[name] = len(labels)
    splits = {}
    for split in numbers:
        files = {"train": f"trainlist{split:02d}.txt", "test": f"testlist{split:02d}.txt"}
        splits[f"split{split}"] = samples = {}
        for name, file in files.items():
            samples[name] = []
            for where, (video, *label) in _read_fields(annotations / file, 1, 2):
                class_name = video.split("/")[0]
                if class_name not in labels:
                    raise InputError(f"{where}: {class_name!r} is not a class of classInd.txt")
                if label and label[0] != str(labels[class_name] + 1):
                    raise InputError(f"{where}: label {label[0]} is not that of classInd.txt")
                path = folder.find(PurePath(video).stem, class_name)
                samples[name].append(Sample(video, class_name, path))
    return _with_all_splits(Dataset("ucf101", folder.root, labels, _unnamed_if_one(splits)))


def hmdb51(
    root: str | os.PathLike, annotations: str | os.PathLike, numbers: Sequence[int]
) -> Dataset:
    """Reads HMDB51's official ``testTrainMulti_7030_splits``. Labels follow the sorted class names.

    Args:
        root: folder of the class folders.
        annotations: folder of ``<class>_test_split<1 to 3>.txt``, lines ``<video> <0, 1 or 2>``: 1
            for training, 2 for testing, 0 for neither.
        numbers: which of the splits 1 to 3 to read.

    Raises:
        InputError: naming the file, and the line where there is one.
    """
    folder, names, splits = VideoFolder(root), set(), {}
    for number in numbers:
        ending = f"_test_split{number}.txt"
        files = sorted(Path(annotations).glob(f"*{ending}"))
        if not files:
            raise InputError(f"{annotations}: holds no file <class>{ending}")
        splits[f"split{number}"] = samples = {"train": [], "test": []}
        for file in files:
            class_name = file.name.removesuffix(ending)
            names.add(class_name)
            for where, (video, use) in _read_fields(file, 2):
                if use not in ("0", "1", "2"):
                    raise InputError(f"{where}: {use!r} instead of 0, 1 or 2")
                path = folder.find(PurePath(video).stem, class_name)
                sample = Sample(f"{class_name}/{video}", class_name, path)
                if use != "0":
                    samples["train" if use == "1" else "test"].append(sample)
    labels = class_labels(names, None)
    return _with_all_splits(Dataset("hmdb51", folder.root, labels, _unnamed_if_one(splits)))


def class_folders(
    root: str | os.PathLike,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
    classes: str | os.PathLike | None = None,
) -> Dataset:
    """Reads ``ROOT/<class>/...`` and divides each class, or reads ``ROOT/<split>/<class>/...``.

    Args:
        root: the folder. If it has a sub-folder train, its sub-folders are the splits.
        val_fraction: fraction of each class's videos for validation.
        test_fraction: fraction of each class's videos for testing.
        seed: seed of the division. A video's place depends on its path and the seed.
        classes: class map; by default labels follow the sorted class names.

    Raises:
        InputError: for bad fractions, or a folder without class folders.
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise InputError(
            f"--val-fraction {val_fraction} --test-fraction {test_fraction}: give parts of 1 that "
            "leave some for training"
        )
    folder, stray = VideoFolder(root), []
    notes = folder.left_out()
    top_names = {PurePath(path).parts[0].lower() for path in folder.paths}
    divided = any(SPLIT_OF.get(name) == "train" for name in top_names)
    depth = 2 if divided else 1
    of_class, samples = defaultdict(list), {"train": [], "val": [], "test": []}
    for path in folder.paths:
        parts = PurePath(path).parts
        if len(parts) <= depth:
            stray.append(path)
        elif divided:
            split = _split_of(parts[0], str(folder.root))
            samples[split].append(Sample(path, parts[1], path))
        else:
            of_class[parts[0]].append(path)
    for class_name, paths in of_class.items():
        for split, part in _divide(paths, val_fraction, test_fraction, seed).items():
            samples[split] += [Sample(path, class_name, path) for path in part]
    names = {sample.class_name for listed in samples.values() for sample in listed}
    if not names:
        raise InputError(f"{root}: no class folder; videos must be in ROOT/<class>/")
    if stray:
        notes.append(f"{len(stray)} videos are in no class folder and are left out: {stray[0]} ...")
    splits = {"": {split: listed for split, listed in samples.items() if listed}}
    dataset = _with_all_splits(
        Dataset("folder", folder.root, class_labels(names, classes), splits, notes)
    )
    # The folder determines every split, an empty one too.
    for split in SPLITS:
        dataset.splits[""].setdefault(split, [])
    return dataset


def _split_of(name: str, where: str) -> str:
    if name.lower() not in SPLIT_OF:
        raise InputError(f"{where}: split {name!r} is none of {', '.join(SPLIT_OF)}")
    return SPLIT_OF[name.lower()]


def class_labels(names: Iterable[str], classes: Classes | None) -> dict[str, int]:
    """Returns the labels of classes: from a class map, or by the order of the sorted names.

    Raises:
        InputError: if the class map lacks a class.
    """
    if classes is None:
        return {name: label for label, name in enumerate(sorted(names))}
    labels = to_class_map(classes)
    unknown = sorted(set(names) - set(labels))
    if unknown:
        source = classes if isinstance(classes, str | os.PathLike) else "the class map"
        raise InputError(f"{source}: lacks the class {unknown[0]!r} ({len(unknown)} in all)")
    return labels


def _divide(
    paths: list[str], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[str]]:
    # By hash instead of a shuffle, so that adding a video later moves few others.
    order = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(f"{seed}/{path}")).digest())
    val, test = (
        max(1, round(len(paths) * part)) if part else 0 for part in (val_fraction, test_fraction)
    )
    if val + test >= len(paths):
        val = test = 0
    parts = {"val": order[:val], "test": order[val : val + test], "train": order[val + test :]}
    return {split: sorted(part) for split, part in parts.items()}


def _with_all_splits(dataset: Dataset) -> Dataset:
    # PySlowFast needs both lists: it validates on val.csv during training and tests on test.csv.
    for samples in dataset.splits.values():
        for absent, other in (("val", "test"), ("test", "val")):
            if absent not in samples and other in samples:
                samples[absent] = samples[other]
                note = f"there is no {absent} split: {absent}.csv is the same list as {other}.csv"
                if note not in dataset.notes:
                    dataset.notes.append(note)
    return dataset


def _unnamed_if_one(splits: dict[str, dict]) -> dict[str, dict]:
    return splits if len(splits) > 1 else {"": next(iter(splits.values()))}


def _read_csv(path: str | os.PathLike, columns: Sequence[str]) -> Iterator[tuple[int, dict]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = set(columns) - set(reader.fieldnames or ())
            if absent:
                raise InputError(f"{path}: has no column {', '.join(sorted(absent))}")
            for row in reader:
                if any(not row[column] for column in columns):
                    raise InputError(f"{path} line {reader.line_num}: has an empty field")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read this annotation: {error}") from None


def _read_fields(path: Path, *counts: int) -> Iterator[tuple[str, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this annotation: {error}") from None
    for number, line in enumerate(lines, start=1):
        fields, where = line.split(), f"{path} line {number}"
        if fields and len(fields) not in counts:
            raise InputError(f"{where}: {len(fields)} fields instead of {counts[-1]}: {line!r}")
        if fields:
            yield where, fields
