"""Repairs that keep checkpoints complete when a run is killed, and name truncated ones."""

import contextlib
import functools
import importlib
import logging
import os
import shutil
import zipfile
from pathlib import Path

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair
from slowfast_ac.pyslowfast.repairs.imports import BOTH

logger = logging.getLogger(__name__)

# Upstream treats any file in checkpoints/ whose name contains "checkpoint" as one, so files are
# written in another folder first.
STAGING = ".unfinished"


def is_whole(path: str | os.PathLike) -> bool:
    """Returns whether a checkpoint file is complete.

    torch.save writes a zip archive, whose directory is at the end. Files in other formats (legacy
    pickles) count as complete unless they are empty.
    """
    with open(path, "rb") as file:
        start = file.read(2)
    return bool(start) and (start != b"PK" or zipfile.is_zipfile(path))


def require_whole(path: str | os.PathLike) -> None:
    """Rejects a missing, empty or truncated checkpoint.

    Raises:
        InputError: naming the file.
    """
    if "://" in str(path):
        return
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such checkpoint")
    if not is_whole(path):
        raise InputError(f"{path}: the checkpoint is truncated; delete it or give another")


def last_whole(path_to_job: str, task: str = "") -> str | None:
    """Returns the checkpoint from which a run in this folder would continue, or None.

    Args:
        path_to_job: OUTPUT_DIR.
        task: upstream's TASK, with which the names of self-supervised checkpoints begin.
    """
    folder = Path(path_to_job) / "checkpoints"
    if "://" in str(path_to_job) or not folder.is_dir():
        return None
    start = f"{task}_checkpoint" if task else "checkpoint"
    found = sorted(path for path in folder.glob(f"{start}*") if is_whole(path))
    return str(found[-1]) if found else None


def _save_whole(original):
    @functools.wraps(original)
    def save_checkpoint(path_to_job, *args, **kwargs):
        if "://" in str(path_to_job):
            return original(path_to_job, *args, **kwargs)
        written = original(os.path.join(path_to_job, STAGING), *args, **kwargs)
        if written is None:  # not the master process
            return None
        final = Path(path_to_job) / "checkpoints" / Path(written).name
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(written, final)
        # Including files that a killed run may have left.
        shutil.rmtree(os.path.join(path_to_job, STAGING), ignore_errors=True)
        return str(final)

    return save_checkpoint


def _last_whole(module, original):
    @functools.wraps(original)
    def get_last_checkpoint(path_to_job, *args, **kwargs):
        folder = Path(module.get_checkpoint_dir(path_to_job))
        if "://" not in str(path_to_job) and folder.is_dir():
            for path in sorted(folder.glob("*checkpoint*")):
                # Another process of the run may do the same at the same time.
                with contextlib.suppress(FileNotFoundError):
                    if not is_whole(path):
                        name = f"truncated_{path.name.replace('checkpoint', 'ckpt')}"
                        os.replace(path, path.with_name(name))
                        logger.warning("%s is truncated: renamed to %s, not used", path, name)
        return original(path_to_job, *args, **kwargs)

    return get_last_checkpoint


def _has_whole(module, original):
    @functools.wraps(original)
    def has_checkpoint(path_to_job):
        folder = Path(module.get_checkpoint_dir(path_to_job))
        if "://" in str(path_to_job) or not folder.is_dir():
            return original(path_to_job)
        return any(is_whole(path) for path in folder.glob("*checkpoint*"))

    return has_checkpoint


def _name_truncated(original):
    @functools.wraps(original)
    def load_checkpoint(path_to_checkpoint, *args, **kwargs):
        require_whole(path_to_checkpoint)
        return original(path_to_checkpoint, *args, **kwargs)

    return load_checkpoint


def _mend(_: Upstream) -> None:
    module = importlib.import_module("slowfast.utils.checkpoint")
    module.save_checkpoint = _save_whole(module.save_checkpoint)
    module.get_last_checkpoint = _last_whole(module, module.get_last_checkpoint)
    module.has_checkpoint = _has_whole(module, module.has_checkpoint)
    module.load_checkpoint = _name_truncated(module.load_checkpoint)


REPAIRS = (
    Repair(
        "whole checkpoints",
        "a killed run leaves a truncated file under a checkpoint's name, which the next run loads",
        BOTH,
        lambda _: True,
        _mend,
    ),
)
