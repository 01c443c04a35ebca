"""The clips of a test are those of upstream's own loader, or the key that changes them is named."""

import numpy as np
import pytest
import torch

from slowfast_ac.data.clips import (
    CROPS,
    Preprocessing,
    read_clips,
    to_pathways,
    uniform_clip_starts,
)
from slowfast_ac.data.video import probe, write_video
from slowfast_ac.data.view_keys import HONOURED, REFUSED, check_views
from slowfast_ac.errors import InputError

KEYS = {
    "clips between frames": (90, 30, ()),
    "another rate": (60, 25, ()),
    "a short video": (31, 25, ()),
    "hardly longer than a clip": (58, 29.97, ()),
    "target fps": (60, 25, ("DATA.TARGET_FPS", 15)),
    "one crop, scaled to the crop": (60, 25, ("TEST.NUM_SPATIAL_CROPS", 1)),
    "one crop of a larger frame": (
        60,
        25,
        ("TEST.NUM_SPATIAL_CROPS", 1, "DATA.TRAIN_JITTER_SCALES", [40, 48]),
    ),
    "BGR": (60, 25, ("DATA.REVERSE_INPUT_CHANNEL", True)),
    "views": (80, 30, ("TEST.NUM_ENSEMBLE_VIEWS", 7)),
}


@pytest.mark.checkout
@pytest.mark.parametrize("name", list(KEYS))
def test_views_are_those_of_the_checkouts_loader(upstream, tmp_path, name):
    from slowfast.config.defaults import get_cfg
    from slowfast.datasets.kinetics import Kinetics

    count, fps, opts = KEYS[name]
    noise = np.random.default_rng(0).integers(0, 255, (count, 9, 16, 3)).astype(np.uint8)
    path = tmp_path / "noise.mp4"
    write_video(path, noise.repeat(4, axis=1).repeat(4, axis=2), fps)
    (tmp_path / "test.csv").write_text(f"{path} 0\n")
    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.ARCH", "slowfast", "SLOWFAST.ALPHA", 4]
        + ["DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 4, "DATA.TEST_CROP_SIZE", 32]
        + ["DATA.TRAIN_JITTER_SCALES", [32, 40], "DATA.DECODING_BACKEND", "pyav"]
        + ["TEST.NUM_ENSEMBLE_VIEWS", 3, "TEST.NUM_SPATIAL_CROPS", 3, *opts]
    )
    theirs = Kinetics(cfg, "test")
    preprocessing = Preprocessing.from_config(cfg)
    crops = CROPS if cfg.TEST.NUM_SPATIAL_CROPS == 3 else ("center",)
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS
    starts = uniform_clip_starts(probe(path).duration, preprocessing, views)
    number = 0
    for clip in read_clips(path, preprocessing, starts):
        ours = to_pathways(clip.frames, preprocessing, *crops)
        for row in range(len(crops)):
            for pathway, other in zip(ours, theirs[number][0], strict=True):
                assert torch.equal(pathway[row], other)
            number += 1
    assert number == len(theirs)


OTHER_VALUES = {
    "TEST.DATASET": "ssv2",
    "DATA.USE_OFFSET_SAMPLING": True,
    "DATA.ENSEMBLE_METHOD": "max",
    "MULTIGRID.LONG_CYCLE_SAMPLING_RATE": 8,
    "AUG.GEN_MASK_LOADER": True,
}


@pytest.mark.parametrize("key", list(REFUSED))
def test_a_key_that_is_not_known_is_refused_by_name(key):
    node, name = key.split(".")
    check_views({})
    check_views({node: {name: REFUSED[key].default}})
    with pytest.raises(InputError, match=f"^{key}: {OTHER_VALUES[key]!r} is not known here: "):
        check_views({node: {name: OTHER_VALUES[key]}})


@pytest.mark.parametrize("dataset", ["ssv2", "charades", "ava", "imagenet", "my_own"])
def test_the_sampling_of_other_data_sets_is_refused(tiny_cfg, dataset):
    cfg = tiny_cfg("TEST.DATASET", dataset)
    with pytest.raises(InputError, match=f"TEST.DATASET: '{dataset}' is not known here"):
        Preprocessing.from_config(cfg)


def test_every_key_is_honoured_or_refused_and_not_both():
    assert not HONOURED.keys() & REFUSED.keys()
    assert all(key.count(".") == 1 for key in (*HONOURED, *REFUSED))


def test_one_crop_larger_than_the_frame_is_refused():
    preprocessing = Preprocessing(8, 4, None, 32, (0.45,) * 3, (0.225,) * 3, single_crop_scale=24)
    frames = np.zeros((8, 40, 40, 3), np.uint8)
    with pytest.raises(InputError, match="DATA.TRAIN_JITTER_SCALES: 24 is less than .* 32"):
        to_pathways(frames, preprocessing, "center")
    assert to_pathways(frames, preprocessing, *CROPS)[0].shape == (3, 3, 8, 32, 32)
