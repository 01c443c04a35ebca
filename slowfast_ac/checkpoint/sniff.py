"""Recognises the kind of file that holds the weights, from its bytes alone.

A file's name says little: PySlowFast's zoo has caffe2 pickles and torch checkpoints under ``.pkl``,
and a dead download link leaves a web page under the name of the weights.
"""

import zipfile
from pathlib import Path

from slowfast_ac.errors import InputError

HEAD_BYTES = 512
# The number 0x1950a86a20f9469cfc6c, pickled: what torch wrote first before its files were zips.
LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
# Protocol 2 and up; protocols 0 and 1 start with the opcode of what they hold.
PICKLE_STARTS = (b"\x80", b"(", b"c", b"}", b"]")


def sniff(path: Path) -> str:
    """Returns the kind of the file ``path`` holds.

    Returns:
        ``"torch zip"``, ``"legacy torch pickle"``, ``"safetensors"`` or ``"pickle"``.

    Raises:
        InputError: the file is missing, a folder, empty, cut short, or holds no weights.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: a folder without model.safetensors; give a file, such as "
            "checkpoint_epoch_00010.pyth"
        )
    if not path.exists():
        raise InputError(f"{path}: no such file")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: an empty file; copy or download it again")
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)

    if head.lstrip().lower().startswith(WEB_PAGE):
        raise InputError(f"{path}: a web page saved as weights; the download link leads elsewhere")
    for start, name in COMPRESSED.items():
        if head.startswith(start):
            raise InputError(f"{path}: compressed with {name}; unpack it and give the file inside")
    if head.startswith(b"PK\x03\x04"):
        _check_torch_zip(path)
        return "torch zip"
    if LEGACY_MAGIC in head[:32]:
        return "legacy torch pickle"
    if head[8:9] == b"{":
        header_bytes = int.from_bytes(head[:8], "little")
        if 8 + header_bytes > size:
            raise InputError(
                f"{path}: truncated safetensors file, {size:,} bytes where the header alone takes "
                f"{8 + header_bytes:,}; copy or download it again"
            )
        return "safetensors"
    if head.startswith(PICKLE_STARTS):
        return "pickle"
    raise InputError(f"{path}: not a checkpoint; it starts with the bytes {head[:8]!r}")


def _check_torch_zip(path: Path) -> None:
    """Rejects a zip that is cut short or that torch did not write as a checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        raise InputError(
            f"{path}: truncated zip, {path.stat().st_size:,} bytes and no table of contents at "
            "the end; copy or download it again"
        ) from None
    if "constants.pkl" in members:
        raise InputError(f"{path}: a TorchScript program; give the checkpoint it was made from")
    if "data.pkl" not in members:
        raise InputError(f"{path}: a zip archive without weights (no data.pkl); unpack it")
