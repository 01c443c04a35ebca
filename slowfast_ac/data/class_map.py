"""Reads class names from PySlowFast's class map and other common formats."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence

from slowfast_ac.errors import InputError
from slowfast_ac.files import write_json

Classes = str | os.PathLike[str] | Mapping[str, int] | Mapping[int, str] | Sequence[str]
CLASS_MAP = "classes.json"
FORMS = '{"class name": label, ...}, {"label": "class name", ...}, a list, or one name a line'
_ITEM = re.compile(r"\b(?:item|label)\s*:?\s*\{([^}]*)\}")
_ITEM_NAME = re.compile(r"\b(?:display_name|name|label_name)\s*:\s*([\"'])(.*?)\1")
_ITEM_ID = re.compile(r"\b(?:id|label_id)\s*:\s*(\d+)")
_NUMBER_FIRST = re.compile(r"(\d+)[\s,;]+(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)[\s,;]+(\d+)")


def read_class_map(path: str | os.PathLike[str]) -> dict[str, int]:
    """Reads class names and their labels.

    Args:
        path: a JSON or text file. JSON: PySlowFast's ``{"class name": label}``
            (DEMO.LABEL_FILE_PATH), the reverse, a list, or an object with ``id2label`` or
            ``label2id``. Text: one name per line, with or without a label before or after it, such
            as UCF101's classInd.txt (labels from 1), a csv or tsv file with a column of labels and
            one of names, or a label map in TensorFlow's pbtxt format, such as AVA's. Quotes around
            a name, as in PyTorchVideo's Kinetics file, are removed.

    Raises:
        InputError: if the file is missing or malformed, a name appears twice, or the labels are not
            0 to n - 1, each once.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read this class map: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; a class map is {FORMS}") from None
    if text.lstrip().startswith(("{", "[")):
        return parse_class_map(text, str(path))
    return _from_pairs(_read_lines(text), str(path))


def to_class_map(classes: Classes) -> dict[str, int]:
    """Returns the labels of a file of class names, a class map or a list of names.

    Raises:
        InputError: as :func:`read_class_map`.
    """
    if isinstance(classes, str | os.PathLike):
        return read_class_map(classes)
    data = dict(classes) if isinstance(classes, Mapping) else list(classes)
    return parse_class_map(json.dumps(data, default=int), "the class map")


def find_class_map(lists: str | os.PathLike[str]) -> str | None:
    """Returns the class map that ``prepare`` wrote beside the lists in a folder, or None.

    If a data set has several splits, each has its own folder, and the class map is in the parent
    folder.

    Args:
        lists: DATA.PATH_TO_DATA_DIR.
    """
    folder = os.path.abspath(lists)
    parent, name = os.path.split(folder)
    places = [folder, parent] if re.fullmatch(r"split\d+", name) else [folder]
    paths = [os.path.join(place, CLASS_MAP) for place in places]
    return next(filter(os.path.isfile, paths), None)


def parse_class_map(text: str, source: str) -> dict[str, int]:
    """Parses a class map in JSON.

    Args:
        text: see :func:`read_class_map`.
        source: origin of the text, for messages.

    Raises:
        InputError: as :func:`read_class_map`.
    """
    try:
        data = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, source))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: not a JSON class map: {error}") from None
    if isinstance(data, dict):
        data = data.get("label2id") or data.get("id2label") or data
    if isinstance(data, list):
        return _from_pairs(list(zip(data, range(len(data)), strict=True)), source)
    if not isinstance(data, dict) or not data:
        raise InputError(f"{source}: not a class map: {FORMS}")
    if all(isinstance(name, str) and label.isdecimal() for label, name in data.items()):
        return _from_pairs([(name, int(label)) for label, name in data.items()], source)
    return _from_pairs(list(data.items()), source)


def class_names(classes: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the names of a class map in the order of their labels."""
    return tuple(sorted(classes, key=lambda name: classes[name]))


def write_class_map(path: str | os.PathLike[str], classes: Mapping[str, int]) -> None:
    """Writes a class map, whole or not at all.

    Raises:
        InputError: if the labels are not 0 to n - 1, each once.
    """
    _require_labels(classes, str(path))
    write_json(path, dict(classes))


def _read_lines(text: str) -> list[tuple[object, object]]:
    items = _ITEM.findall(text)
    if items:
        names = [match[2] if (match := _ITEM_NAME.search(item)) else "" for item in items]
        numbers = [match[1] if (match := _ITEM_ID.search(item)) else "" for item in items]
        return _counted(list(zip(names, numbers, strict=True)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    table = list(csv.reader(lines, delimiter="\t" if "\t" in text else ",", skipinitialspace=True))
    if len(table) > 1 and all(len(row) == 2 for row in table):
        for label, name in ((0, 1), (1, 0)):
            # A header has no number where the other rows have one.
            numbers = [row[label].strip() for row in table]
            if not numbers[0].isdecimal() and all(map(str.isdecimal, numbers[1:])):
                return _counted([(row[name], row[label].strip()) for row in table[1:]])
    for pattern, name, label in ((_NUMBER_FIRST, 2, 1), (_NUMBER_LAST, 1, 2)):
        matches = [match for match in map(pattern.fullmatch, lines) if match]
        pairs = _counted([(match[name], match[label]) for match in matches])
        if len(pairs) == len(lines) and sorted(pair[1] for pair in pairs) == [*range(len(lines))]:
            return pairs
    return list(zip(lines, range(len(lines)), strict=True))


def _counted(pairs: Sequence[tuple[str, str]]) -> list[tuple[object, object]]:
    """Returns the labels as numbers from 0; UCF101 and TensorFlow count from 1."""
    labels = [int(label) if label.isdecimal() else label for _, label in pairs]
    if sorted(labels, key=str) == sorted(range(1, len(pairs) + 1), key=str):
        labels = [label - 1 for label in labels]
    return [(name, label) for (name, _), label in zip(pairs, labels, strict=True)]


def _from_pairs(pairs: Sequence[tuple[object, object]], source: str) -> dict[str, int]:
    classes: dict[str, int] = {}
    for name, label in pairs:
        if isinstance(label, str) and label.isdecimal():
            label = int(label)
        if not isinstance(name, str) or not _unquoted(name):
            raise InputError(f"{source}: {name!r} is not a class name; a class map is {FORMS}")
        if not isinstance(label, int) or isinstance(label, bool):
            raise InputError(f"{source}: the label of {name!r} is {label!r}, not an integer")
        if _unquoted(name) in classes:
            raise InputError(f"{source}: the name {name!r} appears twice")
        classes[_unquoted(name)] = label
    if not classes:
        raise InputError(f"{source}: no classes in it; a class map is {FORMS}")
    _require_labels(classes, source)
    return classes


def _once(pairs: list[tuple[str, object]], source: str) -> dict[str, object]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: the name {twice!r} appears twice")
    return dict(pairs)


def _unquoted(name: str) -> str:
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1].strip()
    return name


def _require_labels(classes: Mapping[str, int], source: str) -> None:
    if sorted(classes.values()) != list(range(len(classes))):
        raise InputError(f"{source}: labels must be 0 to {len(classes) - 1}, each once")
