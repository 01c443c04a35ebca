"""Writes files completely or not at all: under a temporary name that is then renamed."""

import contextlib
import csv
import hashlib
import importlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from slowfast_ac.errors import InputError

StrPath = str | os.PathLike[str]


def check_suffix(path: StrPath, suffixes: Sequence[str], kind: str = "the file") -> None:
    """Rejects a file name whose suffix is not one of the allowed ones.

    Args:
        path: the file.
        suffixes: the allowed suffixes.
        kind: the kind of file, for the message.

    Raises:
        InputError: naming the file.
        ModuleNotFoundError: for ``.parquet`` without the package that writes it.
    """
    if Path(path).suffix not in suffixes:
        raise InputError(f"{path}: the suffix of {kind} must be {' or '.join(suffixes)}")
    if Path(path).suffix == ".parquet":
        importlib.import_module("pyarrow")


def check_folder(folder: StrPath, kind: str) -> None:
    """Rejects a folder that cannot be created or written to. Creates nothing.

    Args:
        folder: the folder.
        kind: the option or config key that names it, for the message.

    Raises:
        InputError: naming the folder and the reason.
    """
    folder = Path(folder)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(f"{kind}: {folder} cannot be made, since {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{kind}: {folder} cannot be written, since {there} is read-only")


def require_other_folder(folder: StrPath, videos: Iterable[StrPath]) -> None:
    """Rejects a folder for results that contains one of the videos.

    The results of ``NAME.mp4`` could replace it, or the boxes in ``NAME.json`` beside it.

    Raises:
        InputError: naming the folder and the video.
    """
    folder = Path(folder).resolve()
    for video in videos:
        if Path(video).parent.resolve() == folder:
            raise InputError(
                f"{folder}: contains {video}, and the results could replace it or its json; choose "
                "another folder for them"
            )


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that replaces it when the block succeeds.

    The temporary name keeps the suffix of ``path``, since writers choose the format by it, and
    starts with a dot, so that it is not mistaken for a finished file. If the block raises, the
    temporary file is removed and ``path`` does not change.

    Args:
        path: the final file. Missing parent folders are created.

    Raises:
        InputError: for a folder, device or pipe of that name.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a regular file; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp files are private (0600); a result should follow the user's umask.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_pair(path: StrPath, suffix: str) -> Iterator[Path]:
    """Works like :func:`atomic_path`, for a writer that makes a second file beside the first.

    The second file is replaced first. A kill between the two steps leaves the new second file
    beside the old first one, so a reader has to check that they belong together.

    Args:
        path: the final file.
        suffix: suffix of the second file, whose name is otherwise that of the first.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        second = temporary.with_suffix(suffix)
        try:
            yield temporary
            os.replace(second, path.with_suffix(suffix))
        finally:
            second.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes ``text`` to ``path``, whole or not at all; file names in it as their bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: str | os.PathLike[str], data: object) -> None:
    """Writes ``data`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[object]) -> None:
    """Writes one line of JSON per row to ``path``, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def append_json_line(path: StrPath, row: object) -> None:
    """Appends one line of JSON to ``path``, which can be read while it grows."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_csv(
    path: str | os.PathLike[str], header: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Writes a comma-separated table with a header to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def write_parquet(path: StrPath, columns: Mapping[str, str], rows: Iterable[Mapping]) -> None:
    """Writes a table to ``path``, whole or not at all, a thousand rows at a time.

    Args:
        path: the file.
        columns: {name: Arrow's name of the type, or ``list<TYPE>``}.
        rows: one {name: value} per row.
    """
    import pyarrow
    from pyarrow import parquet

    def arrow(name: str) -> pyarrow.DataType:
        if name.startswith("list<"):
            return pyarrow.list_(pyarrow.type_for_alias(name[len("list<") : -1]))
        return pyarrow.type_for_alias(name)

    schema = pyarrow.schema([(name, arrow(kind)) for name, kind in columns.items()])
    rows = iter(rows)
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while batch := list(itertools.islice(rows, 1000)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def stamp(path: StrPath) -> list[int] | None:
    """Returns a file's size in bytes and its time of change in nanoseconds; None without a file.

    Two files of one name that differ in neither are taken to be the same.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def sha256(path: StrPath) -> str:
    """Returns a file's SHA-256 digest in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
