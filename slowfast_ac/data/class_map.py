"""Names of classes: PySlowFast's class map, and the other forms that people have them in."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence

from slowfast_ac.errors import InputError
from slowfast_ac.files import write_json

Classes = str | os.PathLike[str] | Mapping[str, int] | Sequence[str]
FORMS = '{"class name": label, ...}, {"label": "class name", ...}, a list, or one name a line'
_NUMBER_FIRST = re.compile(r"(\d+)[\s,;]+(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)[\s,;]+(\d+)")


def read_class_map(path: str | os.PathLike[str]) -> dict[str, int]:
    """Reads the names of classes and their labels.

    Args:
        path: JSON: PySlowFast's ``{"class name": label}`` (DEMO.LABEL_FILE_PATH), the other way
            round, a list, or an object with ``id2label`` or ``label2id``; or text: one name a line,
            with its label before or after it or with none, as UCF101's classInd.txt (labels from
            1) or a csv with the columns ``id`` and ``name``. Quotes around a name, as in
            PyTorchVideo's file of Kinetics, are taken off.

    Raises:
        InputError: when it is missing or malformed, a name is there twice, or its labels are not 0
            to n - 1, each once.
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
    if not isinstance(classes, Mapping):
        classes = _once([(name, label) for label, name in enumerate(classes)], "the class map")
    return _from_pairs(list(classes.items()), "the class map")


def parse_class_map(text: str, source: str) -> dict[str, int]:
    """Parses a class map in JSON.

    Args:
        text: see :func:`read_class_map`.
        source: where it is from, for messages.

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
        InputError: when the labels are not 0 to n - 1, each once.
    """
    _require_labels(classes, str(path))
    write_json(path, dict(classes))


def _read_lines(text: str) -> list[tuple[object, object]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[0].replace(" ", "").lower() in ("id,name", "name,id"):
        rows = list(csv.DictReader(lines, skipinitialspace=True))
        lowered = [{str(key).strip().lower(): value for key, value in row.items()} for row in rows]
        return [(row["name"], _label(row["id"])) for row in lowered]
    for pattern, name, label in ((_NUMBER_FIRST, 2, 1), (_NUMBER_LAST, 1, 2)):
        matches = [match for match in map(pattern.fullmatch, lines) if match]
        labels = sorted(int(match[label]) for match in matches)
        first = labels[0] if labels else 0
        # UCF101 counts from 1.
        if first <= 1 and labels == list(range(first, first + len(lines))):
            return [(match[name], int(match[label]) - first) for match in matches]
    return list(zip(lines, range(len(lines)), strict=True))


def _label(text: object) -> object:
    return int(text) if isinstance(text, str) and text.strip().isdecimal() else text


def _from_pairs(pairs: Sequence[tuple[object, object]], source: str) -> dict[str, int]:
    classes: dict[str, int] = {}
    for name, label in pairs:
        if isinstance(label, str) and label.isdecimal():
            label = int(label)
        if not isinstance(name, str) or not _unquoted(name):
            raise InputError(f"{source}: {name!r} is no name of a class; a class map is {FORMS}")
        if not isinstance(label, int) or isinstance(label, bool):
            raise InputError(f"{source}: the label of {name!r} is {label!r}, not an integer")
        if _unquoted(name) in classes:
            raise InputError(f"{source}: the name {name!r} is there twice")
        classes[_unquoted(name)] = label
    if not classes:
        raise InputError(f"{source}: no classes in it; a class map is {FORMS}")
    _require_labels(classes, source)
    return classes


def _once(pairs: list[tuple[str, object]], source: str) -> dict[str, object]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source}: the name {twice!r} is there twice")
    return dict(pairs)


def _unquoted(name: str) -> str:
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1].strip()
    return name


def _require_labels(classes: Mapping[str, int], source: str) -> None:
    if sorted(classes.values()) != list(range(len(classes))):
        raise InputError(f"{source}: labels must be 0 to {len(classes) - 1}, each once")
