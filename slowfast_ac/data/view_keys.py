"""PySlowFast's keys that change which clips its test shows a network, and how they are handled.

``predict`` gives the scores of ``run`` with TRAIN.ENABLE False only if both see the same clips. So
each of these keys is either honoured or, if its value is not supported, refused by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from slowfast_ac.errors import InputError


class RefusedKey(NamedTuple):
    """A key of which only some values are supported.

    Args:
        default: its value if a config lacks it.
        is_known: returns whether a value is supported.
        why: effect of an unsupported value.
    """

    default: Any
    is_known: Callable[[Any], bool]
    why: str


DATASETS = ("kinetics", "charades", "ssv2")
ENSEMBLE_METHODS = ("sum", "max")

HONOURED = {
    "TEST.DATASET": "which frames a clip has; charades and ssv2 normalise BGR",
    "DATA.USE_OFFSET_SAMPLING": "clips from the first frame to the last",
    "DATA.DECODING_BACKEND": "torchvision resizes frames while it decodes them",
    "DATA.ENSEMBLE_METHOD": "mean of the views' scores (sum) or the highest (max)",
    "DATA.NUM_FRAMES": "frames of a clip",
    "DATA.SAMPLING_RATE": "their distance, in frames at DATA.TARGET_FPS",
    "DATA.TARGET_FPS": "frame rate that DATA.SAMPLING_RATE refers to",
    "DATA.TEST_CROP_SIZE": "size of a crop and, with three crops, the short side of the frames",
    "DATA.TRAIN_JITTER_SCALES": "the first is the short side of the frames for a single crop",
    "DATA.MEAN": "subtracted from each channel",
    "DATA.STD": "each channel is divided by it",
    "DATA.REVERSE_INPUT_CHANNEL": "BGR instead of RGB, reversed after normalisation",
    "SLOWFAST.ALPHA": "fast frames per slow frame",
    "TEST.NUM_ENSEMBLE_VIEWS": "clips",
    "TEST.NUM_SPATIAL_CROPS": "crops, 3 or the centre",
}

REFUSED = {
    "TEST.DATASET": RefusedKey(
        "kinetics",
        lambda value: value.lower() in DATASETS,
        f"it samples frames in another way than {', '.join(DATASETS)}",
    ),
    "DATA.ENSEMBLE_METHOD": RefusedKey(
        "sum", lambda value: value in ENSEMBLE_METHODS, "upstream knows sum and max"
    ),
    "MULTIGRID.LONG_CYCLE_SAMPLING_RATE": RefusedKey(
        0, lambda value: value <= 0, "it draws a sampling rate at random, also in a test"
    ),
    "AUG.GEN_MASK_LOADER": RefusedKey(
        False, lambda value: not value, "it gives the network a mask with its clip"
    ),
}


def check_views(cfg: Mapping[str, Any]) -> None:
    """Rejects a config whose test shows clips that this package cannot reproduce.

    Args:
        cfg: nodes of keys. Missing keys have their defaults.

    Raises:
        InputError: naming the key.
    """
    for key, refused in REFUSED.items():
        node, name = key.split(".")
        value = (cfg.get(node) or {}).get(name, refused.default)
        if not refused.is_known(value):
            raise InputError(
                f"{key}: {value!r} is not supported here: {refused.why}; test with slowfast-ac "
                f"run, or set it to {refused.default!r}"
            )
