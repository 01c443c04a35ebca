"""Checks that a file in a zoo's folder has the hash that its name and the index give."""

import hashlib
import re
from pathlib import Path

from slowfast_ac.errors import InputError

INDEX = "index.csv"
COLUMNS = (
    *("name", "file", "model", "num_frames", "sampling_rate", "alpha", "views", "num_classes"),
    *("data", "top1", "top5", "gflops", "parameters", "date", "sha256"),
)
_HASHED_NAME = re.compile(r".+_([0-9a-f]{8})\.(pyth|safetensors)")


def check_hash(path: Path) -> None:
    """Compares a file with the hash in its name.

    Raises:
        InputError: for a name without a hash, or a file that was changed, cut short or is missing.
    """
    match = _HASHED_NAME.fullmatch(path.name)
    if not match:
        raise InputError(f"{path}: not named like an entry of a zoo, NAME_<8 hex digits>.SUFFIX")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    digest = sha256(path)
    if not digest.startswith(match[1]):
        raise InputError(
            f"{path}: changed or damaged: its sha256 starts with {digest[:8]}, not {match[1]}; "
            "download it again"
        )


def is_entry(path: Path) -> bool:
    """Returns whether a file is named like an entry and is next to the index of a zoo.

    The name alone is not enough: the date in ``run_20261125.pyth`` looks like a hash.
    """
    index = path.parent / INDEX
    if not _HASHED_NAME.fullmatch(path.name) or not (path.is_file() and index.is_file()):
        return False
    with open(index, "rb") as file:
        return file.readline().strip() == ",".join(COLUMNS).encode()


def sha256(path: str | Path) -> str:
    """Returns the hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
