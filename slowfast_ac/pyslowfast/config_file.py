"""Loads PySlowFast configs, with errors that name the key."""

import difflib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from slowfast_ac.errors import InputError

# How messages call the types of values.
KINDS = {
    "CfgNode": "a section of keys",
    "bool": "True or False",
    "dict": "a mapping",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "str": "text",
    "tuple": "a list",
}


def load_config(path: str | os.PathLike, opts: Sequence[str] = ()) -> CfgNode:
    """Loads a yaml file over PySlowFast's defaults. PySlowFast must be set up.

    Args:
        path: the file; ``_BASE_`` may name another one, relative to it.
        opts: alternating keys and values, which override the file.

    Raises:
        InputError: for a missing or malformed file, an unknown key (with the nearest known one),
            or a value of the wrong type.
    """
    cfg = over_defaults(CfgNode(read_config(path)), os.fspath(path))
    merge_opts(cfg, opts)
    return cfg


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a config file and those it names as ``_BASE_``, as plain data, without PySlowFast.

    Raises:
        InputError: naming the file, if it is missing or no config.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such config")
    try:
        # Unsafe yaml, upstream's default, could run code from the file.
        config = CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a yaml config, it is not text") from None
    except (yaml.YAMLError, OSError) as error:
        raise InputError(f"{path}: not a yaml config: {' '.join(str(error).split())}") from None
    except (AssertionError, AttributeError, TypeError, RecursionError):
        # fvcore raises these if the file is not a mapping of keys or its _BASE_ is not a file.
        config = None
    if not isinstance(config, dict):
        raise InputError(
            f"{path}: not a config: it must be a mapping of keys, and _BASE_ another config's path"
        )
    for key, value in _flat(config):
        if not isinstance(key, str):
            raise InputError(f"{path}: not a config: the key {key!r} is not text")
        if not isinstance(value, dict | list | tuple | str | int | float | None):
            raise InputError(f"{path}: {key}: {value} is a {type(value).__name__}; quote it")
    return config


def _flat(config: Mapping[object, object]) -> Iterator[tuple[object, object]]:
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _flat(value)


def over_defaults(config: CfgNode, source: str) -> CfgNode:
    """Returns PySlowFast's defaults overridden by ``config``. PySlowFast must be set up.

    Args:
        config: some of the keys.
        source: origin of the keys, for messages.

    Raises:
        InputError: naming an unknown key or a value of the wrong type.
    """
    from slowfast.config.defaults import get_cfg

    cfg = get_cfg()
    try:
        cfg.merge_from_other_cfg(_with_floats(config, cfg))
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(f"{source}: {_explain(error, cfg)}") from None
    return cfg


def merge_opts(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Overrides keys of ``cfg`` with options of the command line.

    Args:
        cfg: changed in place.
        opts: alternating keys and values.

    Raises:
        InputError: for a key that ``cfg`` lacks (with the nearest it has), a value of the wrong
            type, or a key without a value.
    """
    if len(opts) % 2:
        raise InputError(f"--opts: {opts[-1]} has no value; give KEY VALUE pairs")
    known, pairs = _flat_keys(cfg), list(zip(opts[::2], opts[1::2], strict=True))
    for key, _ in pairs:
        if key not in known:
            raise InputError(f"--opts: {_unknown(key, cfg)}")
    # fvcore rejects an integer for a float, such as AC.LAMBDA 1.
    values = [_as_float(value) if _is_float(cfg, key) else value for key, value in pairs]
    try:
        cfg.merge_from_list([part for pair in zip(opts[::2], values, strict=True) for part in pair])
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(f"--opts: {_explain(error, cfg)}") from None


def first_difference(then: CfgNode, now: CfgNode, ignored: Collection[str] = ()) -> str:
    """Returns the first key whose value differs, as ``KEY old, but new``, or an empty string.

    Args:
        then: a config.
        now: another, of the same PySlowFast.
        ignored: keys that may differ.
    """
    for key in _flat_keys(now):
        if key in ignored:
            continue
        old, new = _value(then, key), _value(now, key)
        # Compared as JSON, since yaml has lists where the defaults have tuples.
        if not isinstance(new, CfgNode) and json.dumps(old) != json.dumps(new):
            return f"{key} {old}, but {new}"
    return ""


def _value(cfg: CfgNode, key: str) -> object:
    *nodes, name = key.split(".")
    for node in nodes:
        cfg = cfg[node]
    return cfg[name]


def _explain(error: Exception, cfg: CfgNode) -> str:
    # str() of a KeyError is the repr of its message.
    message = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
    unknown = re.search(r"Non-existent (?:config )?key: (\S+)", message)
    if unknown:
        return _unknown(unknown[1].rstrip("'\""), cfg)
    mismatch = re.fullmatch(
        r"Type mismatch \(<class '[\w.]*?(\w+)'> vs. <class '[\w.]*?(\w+)'>\) with values "
        r"\(.* vs. (.*?)\) for config key: (\S+)",
        message,
    )
    if not mismatch:
        return message
    wanted, found, value, key = mismatch.groups()
    return f"{key}: {value} is {KINDS.get(found, found)}, not {KINDS.get(wanted, wanted)}"


def _unknown(key: str, cfg: CfgNode) -> str:
    near = difflib.get_close_matches(key, _flat_keys(cfg), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "see slowfast/config/defaults.py"
    return f"unknown config key {key}; {hint}"


def _is_float(cfg: CfgNode, key: str) -> bool:
    return isinstance(_value(cfg, key), float)


def _with_floats(config: CfgNode, defaults: CfgNode) -> CfgNode:
    """Returns a config whose integers are floats where the defaults are."""
    # fvcore rejects an integer for a float, such as LAMBDA: 1.
    result = CfgNode()
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, CfgNode) and isinstance(default, CfgNode):
            value = _with_floats(value, default)
        elif type(value) is int and isinstance(default, float):
            value = float(value)
        result[key] = value
    return result


def _as_float(value: object) -> object:
    return f"{value}.0" if re.fullmatch(r"[+-]?\d+", str(value)) else value


def _flat_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for name, value in cfg.items():
        keys.append(prefix + name)
        if isinstance(value, CfgNode):
            keys += _flat_keys(value, f"{prefix}{name}.")
    return keys
