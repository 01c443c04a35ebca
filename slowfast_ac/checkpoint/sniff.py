"""Recognises the kind of a weights file from its bytes alone.

File names are unreliable: in PySlowFast's zoo, ``.pkl`` files are caffe2 pickles or torch
checkpoints, and a dead download link leaves a web page under the name of the weights.
"""

import zipfile
from pathlib import Path

from slowfast_ac.errors import InputError

HEAD_BYTES = 512
# The number 0x1950a86a20f9469cfc6c, pickled: the start of torch's files before they were zips.
LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
# Protocols 2 and up start with the first; protocols 0 and 1 with the opcode of their content.
PICKLE_STARTS = (b"\x80", b"(", b"c", b"}", b"]")


def sniff(path: Path) -> str:
    """Returns the kind of the file ``path``.

    Returns:
        ``"torch zip"``, ``"legacy torch pickle"``, ``"safetensors"`` or ``"pickle"``.

    Raises:
        InputError: if the file is missing, a folder, empty or truncated, or contains no weights.
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
    """Rejects a zip that is truncated or is not a torch checkpoint."""
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
