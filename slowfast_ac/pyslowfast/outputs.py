"""Checks, creates and locks the folders that a run writes to."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_ac.errors import InputError
from slowfast_ac.files import check_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def check_outputs(cfg: CfgNode) -> None:
    """Rejects outputs that could not be written. Creates nothing.

    Raises:
        InputError: naming the key, the path and the reason.
    """
    if _is_remote(cfg.OUTPUT_DIR):
        return
    check_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR")
    for key, path in _files(cfg):
        if path.is_dir():
            raise InputError(f"{key}: {path} is a folder; give the name of a file")
        check_folder(path.parent, key)
    for key, path in _folders(cfg):
        check_folder(path, key)


def make_folders(cfg: CfgNode) -> None:
    """Creates the folders of the outputs, including OUTPUT_DIR."""
    if _is_remote(cfg.OUTPUT_DIR):
        return
    for folder in (Path(cfg.OUTPUT_DIR), *(path.parent for _, path in _files(cfg))):
        folder.mkdir(parents=True, exist_ok=True)


def last_checkpoint(output: str | os.PathLike) -> Path | None:
    """Returns the last checkpoint in a run's OUTPUT_DIR, or None without one."""
    return max((Path(output) / "checkpoints").glob("checkpoint_epoch_*.pyth"), default=None)


@contextlib.contextmanager
def hold(cfg: CfgNode) -> Iterator[None]:
    """Locks OUTPUT_DIR, which must exist, until the block ends or the process dies.

    The machines of one run share the folder, so each has its own lock.

    Raises:
        InputError: if another run is using the folder.
    """
    if fcntl is None or _is_remote(cfg.OUTPUT_DIR):
        yield
        return
    path = Path(cfg.OUTPUT_DIR) / f".running-{cfg.SHARD_ID}"
    with open(path, "a+", encoding="utf-8") as file:
        try:
            # The lock belongs to the process: it is released when the process ends, however it
            # ends, and workers do not inherit it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise InputError(
                f"OUTPUT_DIR: another run, {file.read().strip()}, is at work in "
                f"{cfg.OUTPUT_DIR}; choose another folder, or start one task only"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def absolute(path: str) -> str:
    """Makes a local path absolute, since OpenCV treats ``a:b.mp4`` as a URL with protocol ``a``."""
    return path if not path or _is_remote(path) else os.path.abspath(path)


def results_file(cfg: CfgNode) -> Path | None:
    """Returns the file of TEST.SAVE_RESULTS_PATH, or None if none is written."""
    results = cfg.TEST.get("SAVE_RESULTS_PATH", "")
    if not (cfg.TEST.ENABLE and results) or _is_remote(cfg.OUTPUT_DIR + results):
        return None
    return Path(cfg.OUTPUT_DIR) / results


def _files(cfg: CfgNode) -> Iterator[tuple[str, Path]]:
    results = results_file(cfg)
    if results:
        yield "TEST.SAVE_RESULTS_PATH", results
    demo = cfg.get("DEMO")
    if demo and demo.ENABLE and demo.OUTPUT_FILE and not _is_remote(demo.OUTPUT_FILE):
        yield "DEMO.OUTPUT_FILE", Path(demo.OUTPUT_FILE)


def _folders(cfg: CfgNode) -> Iterator[tuple[str, Path]]:
    board = cfg.get("TENSORBOARD")
    if board and board.ENABLE and board.LOG_DIR:
        yield "TENSORBOARD.LOG_DIR", Path(cfg.OUTPUT_DIR) / board.LOG_DIR


def _is_remote(path: str) -> bool:
    return "://" in path
