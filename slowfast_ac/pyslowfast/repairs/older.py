"""Repairs of checkouts older than the current main, chosen by their code, not by their commit."""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from slowfast_ac.pyslowfast import decoder
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair

# Names that NumPy 1.24 removed, and their replacements.
NUMPY_NAMES = {"bool": bool, "float": float, "int": int, "object": object, "str": str}
_OLD_NUMPY = re.compile(rf"\bnp\.({'|'.join(NUMPY_NAMES)})\b(?!_)")


def _takes_config(_: Upstream) -> bool:
    """Returns whether the loop passes a config although PyTorchVideo takes two numbers."""
    function = importlib.import_module("slowfast.utils.distributed").init_distributed_training
    return len(inspect.signature(function).parameters) == 2


def _give_numbers(_: Upstream) -> None:
    module = importlib.import_module("slowfast.utils.distributed")
    original = module.init_distributed_training

    @functools.wraps(original)
    def init_distributed_training(cfg):
        return original(cfg.NUM_GPUS, cfg.SHARD_ID)

    del init_distributed_training.__wrapped__  # its signature is different
    module.init_distributed_training = init_distributed_training


def _divides_by_no_gpu(_: Upstream) -> bool:
    defaults = importlib.import_module("slowfast.config.defaults")
    # Until March 2021, it was called for the defaults only.
    if not hasattr(defaults, "assert_and_infer_cfg"):
        return False
    cfg = defaults.get_cfg()
    cfg.NUM_GPUS = 0
    try:
        defaults.assert_and_infer_cfg(cfg)
    except ZeroDivisionError:
        return True
    return False


def _assert_without_gpu(_: Upstream) -> None:
    defaults = importlib.import_module("slowfast.config.defaults")
    original = defaults.assert_and_infer_cfg

    @functools.wraps(original)
    def assert_and_infer_cfg(cfg):
        num_gpus, cfg.NUM_GPUS = cfg.NUM_GPUS, max(1, cfg.NUM_GPUS)
        try:
            return original(cfg)
        finally:
            cfg.NUM_GPUS = num_gpus

    defaults.assert_and_infer_cfg = assert_and_infer_cfg


def _decoder() -> ModuleType:
    return importlib.import_module("slowfast.datasets.decoder")


def _decodes_one_clip(_: Upstream) -> bool:
    module = _decoder()
    return not hasattr(module, "get_multiple_start_end_idx") and not hasattr(
        module.torchvision_decode, "__wrapped__"
    )


def _decode_one_clip(_: Upstream) -> None:
    module = _decoder()
    original = module.torchvision_decode
    decoder.install(module, importlib.import_module("slowfast.datasets.video_container"))
    several = SimpleNamespace(get_multiple_start_end_idx=_place_each(module.get_start_end_idx))

    @functools.wraps(original)
    def torchvision_decode(video_handle, sampling_rate, num_frames, *args, **options):
        frames, fps, decoded_all, _ = decoder.torchvision_decode(
            several, video_handle, [sampling_rate], [num_frames], *args, **options
        )
        return frames[0], fps, decoded_all

    module.torchvision_decode = torchvision_decode


def _place_each(place: Callable) -> Callable:
    """Returns today's ``get_multiple_start_end_idx``, built from a function for a single clip."""
    takes_offset = "use_offset" in inspect.signature(place).parameters

    def get_multiple_start_end_idx(
        video_size, clip_sizes, clip_idx, num_clips, min_delta=0, max_delta=0, use_offset=False
    ):
        offset = {"use_offset": use_offset} if takes_offset else {}
        spans = [place(video_size, size, clip_idx, num_clips, **offset)[:2] for size in clip_sizes]
        return np.array([(start, end, 0.0) for start, end in spans])

    return get_multiple_start_end_idx


def _places_without_offset(_: Upstream) -> bool:
    place = getattr(_decoder(), "get_multiple_start_end_idx", None)
    return place is not None and "use_offset" not in inspect.signature(place).parameters


def _place_with_offset(_: Upstream) -> None:
    module = _decoder()
    original, place_each = module.get_multiple_start_end_idx, _place_each(module.get_start_end_idx)

    def get_multiple_start_end_idx(*args, use_offset=False, **options):
        if use_offset:
            return place_each(*args, use_offset=True, **options)
        return original(*args, **options)

    module.get_multiple_start_end_idx = get_multiple_start_end_idx


def _sources(upstream: Upstream) -> list[Path]:
    return sorted((upstream.root / "slowfast").rglob("*.py"))


def _modules_of_old_numpy(upstream: Upstream) -> list[str]:
    if hasattr(np, "float"):
        return []
    names = [
        ".".join(path.relative_to(upstream.root).with_suffix("").parts)
        for path in _sources(upstream)
        if _OLD_NUMPY.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    return [name for name in names if not _has_old_names(name)]


def _has_old_names(module: str) -> bool:
    return hasattr(getattr(sys.modules.get(module), "np", None), "float")


def _add_numpy_names(upstream: Upstream) -> None:
    # A copy only for upstream's modules, since other code may check whether NumPy has these names.
    mended = ModuleType("numpy")
    vars(mended).update({**vars(np), **NUMPY_NAMES})
    for name in _modules_of_old_numpy(upstream):
        importlib.import_module(name).np = mended


REPAIRS = (
    Repair(
        "PyTorchVideo's init_distributed_training",
        "train_net passes a config, as in 2022, to a function that now takes two numbers",
        ("checkout",),
        _takes_config,
        _give_numbers,
    ),
    Repair(
        "assertions without a GPU",
        "assert_and_infer_cfg divides by NUM_GPUS, so by 0 on a CPU",
        ("checkout",),
        _divides_by_no_gpu,
        _assert_without_gpu,
    ),
    Repair(
        "decoder of one clip",
        "torchvision has no video functions any more, and until 2022, decode took a single clip",
        ("checkout",),
        _decodes_one_clip,
        _decode_one_clip,
    ),
    Repair(
        "DATA.USE_OFFSET_SAMPLING",
        "in 2022 the key did not reach the function that places the clips",
        ("checkout",),
        _places_without_offset,
        _place_with_offset,
    ),
    Repair(
        "NumPy's old names",
        "np.int, np.float and others were removed in NumPy 1.24",
        ("checkout",),
        lambda upstream: bool(_modules_of_old_numpy(upstream)),
        _add_numpy_names,
    ),
)
