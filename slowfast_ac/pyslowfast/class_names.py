"""Adds class names to the checkpoints of a run, from the class map beside its lists."""

import functools
import importlib
import inspect
import json
import logging

import torch
from fvcore.common.config import CfgNode

from slowfast_ac.data.class_map import find_class_map, read_class_map
from slowfast_ac.errors import InputError

logger = logging.getLogger(__name__)


def install_class_names() -> None:
    """Makes PySlowFast's ``save_checkpoint`` add the names; a second call has no effect."""
    module = importlib.import_module("slowfast.utils.checkpoint")
    original = module.save_checkpoint
    if getattr(original, "has_class_names", False):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def save_checkpoint(*args, **kwargs):
        classes = _classes(signature.bind(*args, **kwargs).arguments["cfg"])
        if classes is None:
            return original(*args, **kwargs)
        save = torch.save
        # Upstream assembles and writes the file in one function, so torch.save is where to add it.
        torch.save = lambda data, *rest, **options: save(
            {**data, "classes": classes}, *rest, **options
        )
        try:
            return original(*args, **kwargs)
        finally:
            torch.save = save

    save_checkpoint.has_class_names = True
    module.save_checkpoint = save_checkpoint


def _classes(cfg: CfgNode) -> str | None:
    """Returns the class map as JSON, or None if there is no matching one."""
    path = find_class_map(cfg.DATA.PATH_TO_DATA_DIR) if cfg.DATA.PATH_TO_DATA_DIR else None
    if path is None:
        return None
    try:
        classes = read_class_map(path)
    except InputError as error:
        logger.warning("%s; the checkpoint has no class names", error)
        return None
    if len(classes) != cfg.MODEL.NUM_CLASSES:
        logger.warning(
            "%s: has %d classes, but MODEL.NUM_CLASSES is %d; the checkpoint has no class names",
            *(path, len(classes), cfg.MODEL.NUM_CLASSES),
        )
        return None
    return json.dumps(classes)
