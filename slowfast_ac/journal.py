"""Stores the results of many items one by one, so that a killed command can continue.

While a command works on OUTPUT, ``OUTPUT.partial/`` holds ``settings.json`` and, for each process,
``NUMBER-of-COUNT.jsonl`` with one line of JSON for each finished item. The process that finds every
item finished writes OUTPUT from these files and removes the folder.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, stamp, write_json
from slowfast_ac.ranks import Rank

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

KEY = "video"
# The item's file when its result was stored; not passed on.
_STAMP = "_stamp"


class Journal:
    """The results of one process, together with those of other processes and earlier runs.

    Args:
        output: the file to write in the end.
        settings: the settings that determine the results; JSON values.
        rank: which process this is.

    Raises:
        InputError: if there are results of other settings, if another process with the same number
            is writing to them, or for several processes on a file system without locks.
    """

    def __init__(self, output: StrPath, settings: Mapping[str, Any], rank: Rank) -> None:
        self.output = Path(output)
        self.rank = rank
        self.folder = self.output.with_name(self.output.name + ".partial")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(dict(settings))
        self._file = self._open(self.folder / f"{rank.number}-of-{rank.world_size}.jsonl")
        self._is_stale: Callable[[Mapping[str, Any]], bool] = lambda entry: False
        self.done = {entry[KEY] for _, _, entry in self._current()}

    def todo(self, names: Sequence[str]) -> list[str]:
        """Returns the items that this process has still to do.

        Args:
            names: the names of all items, in the same order in every process.
        """
        return [name for name in self.rank.share(names) if name not in self.done]

    def forget(self, is_stale: Callable[[Mapping[str, Any]], bool]) -> None:
        """Treats finished items as unfinished if ``is_stale`` returns true for their entry."""
        self._is_stale = is_stale
        self.done = {entry[KEY] for _, _, entry in self._current()}

    def add(self, entry: Mapping[str, Any]) -> None:
        """Stores the result of one item; a kill after this call does not lose it.

        Args:
            entry: JSON values, with the item's name under ``video``.
        """
        line = json.dumps({**entry, _STAMP: stamp(entry[KEY])})
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self.done.add(entry[KEY])

    def finish(
        self, names: Iterable[str], write: Callable[[Iterator[dict[str, Any]]], None]
    ) -> bool:
        """Writes the output and removes the folder, if every item is done.

        Args:
            names: the names of all items, including those of other processes.
            write: called with the items' entries, read one by one in the order of ``names``.

        Returns:
            Whether the output is written, by this process or another. If not, another process still
            has items to do, and the folder stays.
        """
        with _locked(self.folder / "settings.json") as is_there:
            if is_there:
                places = {entry[KEY]: (path, start) for path, start, entry in self._current()}
                names = list(names)
                if any(name not in places for name in names):
                    return False
                write(self._read(places[name] for name in names))
                shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def close(self) -> None:
        """Closes the file; its entries stay."""
        self._file.close()

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / "settings.json"
        # Compare as JSON does, which turns a tuple into a list.
        settings = json.loads(json.dumps(settings))
        if not path.exists():
            write_json(path, settings)
            return
        then = json.loads(path.read_text(encoding="utf-8"))
        for key in sorted(then.keys() | settings.keys()):
            if then.get(key) != settings.get(key):
                raise InputError(
                    f"{self.folder}: holds unfinished results with {key} {then.get(key)!r}, which "
                    f"is {settings.get(key)!r} now; delete it or choose another --output"
                )

    def _open(self, path: Path) -> IO[bytes]:
        file = open(path, "ab+")  # noqa: SIM115
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise InputError(f"{path}: another process writes to it") from error
            except OSError as error:
                # A file system without locks, which a single process does not need.
                if self.rank.world_size > 1:
                    file.close()
                    raise InputError(
                        f"{path}: cannot be locked ({error.strerror}), which {self.rank} needs; "
                        "choose --output on another file system, or use one process"
                    ) from error
        # A line that a kill cut short would corrupt the next one.
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
        return file

    def _entries(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        for path in sorted(self.folder.glob("*-of-*.jsonl")):
            with open(path, "rb") as file:
                start = 0
                for line in file:
                    if line.endswith(b"\n"):
                        yield path, start, json.loads(line)
                    start += len(line)

    def _current(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        """Yields the entries that still hold: their file has not been replaced since."""
        for path, start, entry in self._entries():
            now = stamp(entry[KEY])
            if (now is None or entry.get(_STAMP) == now) and not self._is_stale(entry):
                yield path, start, entry

    def _read(self, places: Iterable[tuple[Path, int]]) -> Iterator[dict[str, Any]]:
        with contextlib.ExitStack() as stack:
            files: dict[Path, IO[bytes]] = {}
            for path, start in places:
                if path not in files:
                    files[path] = stack.enter_context(open(path, "rb"))
                files[path].seek(start)
                entry = json.loads(files[path].readline())
                entry.pop(_STAMP, None)
                yield entry


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Waits until no other process holds the file; yields whether it still exists then."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        yield False
        return
    with file:
        if fcntl is not None:
            # Several processes are refused earlier where there are no locks.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield path.exists()
