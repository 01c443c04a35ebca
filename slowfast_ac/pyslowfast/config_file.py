"""Loading PySlowFast's configs, with errors that name the key."""

import difflib
import os
import re
from collections.abc import Sequence

import yaml
from fvcore.common.config import CfgNode

from slowfast_ac.errors import InputError


def load_config(path: str | os.PathLike, opts: Sequence[str] = ()) -> CfgNode:
    """Loads a yaml file over PySlowFast's defaults. PySlowFast must be set up.

    Args:
        path: the file; ``_BASE_`` names another, relative to it.
        opts: keys and values in turn, which override the file.

    Raises:
        InputError: for a missing or malformed file, an unknown key (with the nearest known one),
            or a value of the wrong type.
    """
    from slowfast.config.defaults import get_cfg

    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such config")
    if len(opts) % 2:
        raise InputError(f"--opts: {opts[-1]} has no value; give KEY VALUE pairs")
    cfg = get_cfg()
    try:
        # Unsafe yaml, upstream's default, would run code that the file holds.
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except yaml.YAMLError as error:
        raise InputError(
            f"{path}: not a valid yaml config: {' '.join(str(error).split())}"
        ) from None
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: {_explain(error, cfg)}") from None
    except (AssertionError, AttributeError, TypeError, RecursionError):
        # What fvcore meets in a file that is no mapping of keys, or whose _BASE_ is no file.
        raise InputError(
            f"{path}: not a config: it must be a mapping of keys, and _BASE_ another config's path"
        ) from None
    known = _flat_keys(cfg)
    for key in opts[::2]:
        if key not in known:
            raise InputError(f"--opts: {_unknown(key, cfg)}")
    try:
        cfg.merge_from_list(list(opts))
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(f"--opts: {_explain(error, cfg)}") from None
    return cfg


def _explain(error: Exception, cfg: CfgNode) -> str:
    message = " ".join(str(error).strip("'\"").split())
    unknown = re.search(r"Non-existent (?:config )?key: (\S+)", message)
    if not unknown:
        return message
    return _unknown(unknown[1].rstrip("'\""), cfg)


def _unknown(key: str, cfg: CfgNode) -> str:
    near = difflib.get_close_matches(key, _flat_keys(cfg), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "see slowfast/config/defaults.py"
    return f"unknown config key {key}; {hint}"


def _flat_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for name, value in cfg.items():
        keys.append(prefix + name)
        if isinstance(value, CfgNode):
            keys += _flat_keys(value, f"{prefix}{name}.")
    return keys
