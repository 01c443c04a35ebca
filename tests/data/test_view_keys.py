"""The clips of a test are those of upstream's own loader, or the key that changes them is named."""

import inspect

import av
import cv2
import numpy as np
import pytest
import torch

from slowfast_ac.data.clips import CROPS, read_clips, to_pathways
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.sampling import Span
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
    "offset sampling": (90, 25, ("DATA.USE_OFFSET_SAMPLING", True)),
    "offset sampling of one view": (
        90,
        25,
        ("DATA.USE_OFFSET_SAMPLING", True, "TEST.NUM_ENSEMBLE_VIEWS", 1),
    ),
    "offset sampling of a short video": (24, 25, ("DATA.USE_OFFSET_SAMPLING", True)),
    "torchvision": (60, 25, ("DATA.DECODING_BACKEND", "torchvision")),
    "torchvision, one crop": (
        60,
        25,
        (
            *("DATA.DECODING_BACKEND", "torchvision", "TEST.NUM_SPATIAL_CROPS", 1),
            *("DATA.TRAIN_JITTER_SCALES", [34, 48]),
        ),
    ),
}


@pytest.fixture
def noise_video(tmp_path):
    """Writes a video of which no two frames are alike, and the lists that name it."""

    def write(count, fps, size=(9, 16)):
        noise = np.random.default_rng(0).integers(0, 255, (count, *size, 3)).astype(np.uint8)
        path = tmp_path / "noise.mp4"
        write_video(path, noise.repeat(4, axis=1).repeat(4, axis=2), fps)
        (tmp_path / "test.csv").write_text(f"{path} 0\n")
        return path

    return write


@pytest.fixture
def test_config(upstream, tmp_path):
    """Returns a config of small clips and two pathways, with other keys over it."""
    from slowfast.config.defaults import get_cfg

    def make(*opts):
        cfg = get_cfg()
        cfg.merge_from_list(
            ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.ARCH", "slowfast", "SLOWFAST.ALPHA", 4]
            + ["DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 4, "DATA.TEST_CROP_SIZE", 32]
            + ["DATA.MEAN", [0.4, 0.45, 0.5], "DATA.STD", [0.2, 0.25, 0.3]]
            + ["TEST.NUM_ENSEMBLE_VIEWS", 3, "TEST.NUM_SPATIAL_CROPS", 3, *opts]
        )
        return cfg

    return make


def assert_same_views(path, cfg, theirs):
    preprocessing = Preprocessing.from_config(cfg)
    crops = CROPS if cfg.TEST.NUM_SPATIAL_CROPS == 3 else ("center",)
    whole = Span(0.0, probe(path).duration)
    number = 0
    for _, clip in read_clips(path, preprocessing, [whole], cfg.TEST.NUM_ENSEMBLE_VIEWS, crops):
        ours = to_pathways(clip.frames, preprocessing, *crops)
        for row in range(len(crops)):
            for pathway, other in zip(ours, theirs[number][0], strict=True):
                assert torch.equal(pathway[row], other)
            number += 1
    assert number == len(theirs)


@pytest.mark.checkout
@pytest.mark.parametrize("name", list(KEYS))
def test_views_are_those_of_the_checkouts_loader(test_config, noise_video, name, skip_unknown_keys):
    from slowfast.datasets import utils
    from slowfast.datasets.kinetics import Kinetics

    count, fps, opts = KEYS[name]
    skip_unknown_keys(opts)
    path = noise_video(count, fps)
    scales = ["DATA.TRAIN_JITTER_SCALES", [32, 40], "DATA.DECODING_BACKEND", "pyav"]
    cfg = test_config(*scales, *opts)
    theirs = Kinetics(cfg, "test")
    sampling = inspect.getsource(utils.spatial_sampling)
    if cfg.DATA.TRAIN_JITTER_SCALES[0] != 32 and "max_scale, crop_size}) == 1" in sampling:
        pytest.skip("this checkout asserts that a single crop is the whole short side")
    assert_same_views(path, cfg, theirs)


def write_frames(path, folder):
    """Writes a video's frames as pictures without loss; returns their names in the folder."""
    folder.mkdir()
    names = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            names.append(f"{folder.name}/{number:06}.png")
            cv2.imwrite(str(folder / f"{number:06}.png"), frame.to_ndarray(format="bgr24"))
    return names


def write_frame_lists(folder, names):
    """Writes the lists of frames of Ssv2 and Charades, with upstream's misspelt header."""
    lines = [f'v 0 {number} {name} "0"\n' for number, name in enumerate(names)]
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text(
            "original_vido_id video_id frame_id path labels\n" + "".join(lines)
        )


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("count", [90, 20, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_views_of_ssv2_are_those_of_its_loader_on_the_frames(
    test_config, noise_video, tmp_path, crops, views, count, reverse, sequences_apart
):
    ssv2 = pytest.importorskip("slowfast.datasets.ssv2")
    path = noise_video(count, 12)
    names = write_frames(path, tmp_path / "v")
    (tmp_path / "something-something-v2-labels.json").write_text('{"Moving something": 0}')
    entry = '[{"id": "v", "template": "Moving [something]"}]'
    for split in ("train", "validation"):
        (tmp_path / f"something-something-v2-{split}.json").write_text(entry)
    write_frame_lists(tmp_path, names)
    cfg = test_config(
        *("TEST.DATASET", "ssv2", "DATA.PATH_PREFIX", str(tmp_path)),
        *("TEST.NUM_SPATIAL_CROPS", crops, "TEST.NUM_ENSEMBLE_VIEWS", views),
        *("DATA.REVERSE_INPUT_CHANNEL", reverse),
    )
    assert_same_views(path, cfg, ssv2.Ssv2(cfg, "test"))


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("views", [1, 4])
@pytest.mark.parametrize("count", [90, 20])
def test_views_of_charades_are_those_of_its_loader_on_the_frames(
    test_config, noise_video, tmp_path, crops, views, count, sequences_apart
):
    charades = pytest.importorskip("slowfast.datasets.charades")
    path = noise_video(count, 24)
    names = write_frames(path, tmp_path / "v")
    write_frame_lists(tmp_path, names)
    cfg = test_config(
        *("TEST.DATASET", "charades", "DATA.PATH_PREFIX", str(tmp_path)),
        *("TEST.NUM_SPATIAL_CROPS", crops, "TEST.NUM_ENSEMBLE_VIEWS", views),
    )
    assert_same_views(path, cfg, charades.Charades(cfg, "test"))


OTHER_VALUES = {
    "TEST.DATASET": "ava",
    "DATA.ENSEMBLE_METHOD": "median",
    "MULTIGRID.LONG_CYCLE_SAMPLING_RATE": 8,
    "AUG.GEN_MASK_LOADER": True,
}


@pytest.mark.parametrize("key", list(REFUSED))
def test_a_key_that_is_not_known_is_refused_by_name(key):
    node, name = key.split(".")
    check_views({})
    check_views({node: {name: REFUSED[key].default}})
    with pytest.raises(InputError, match=f"^{key}: {OTHER_VALUES[key]!r} is not supported here: "):
        check_views({node: {name: OTHER_VALUES[key]}})


@pytest.mark.parametrize("dataset", ["ava", "imagenet", "my_own"])
def test_the_sampling_of_other_data_sets_is_refused(tiny_cfg, dataset):
    cfg = tiny_cfg("TEST.DATASET", dataset)
    with pytest.raises(InputError, match=f"TEST.DATASET: '{dataset}' is not supported here"):
        Preprocessing.from_config(cfg)


def test_a_key_of_which_no_other_value_is_known_is_not_called_honoured():
    partly = {"TEST.DATASET", "DATA.ENSEMBLE_METHOD"}
    assert HONOURED.keys() & REFUSED.keys() == partly
    assert all(key.count(".") == 1 for key in (*HONOURED, *REFUSED))


def test_one_crop_larger_than_the_frame_is_refused():
    preprocessing = Preprocessing(8, 4, None, 32, (0.45,) * 3, (0.225,) * 3, single_crop_scale=24)
    frames = np.zeros((8, 40, 40, 3), np.uint8)
    with pytest.raises(InputError, match="DATA.TRAIN_JITTER_SCALES: 24 is less than .* 32"):
        to_pathways(frames, preprocessing, "center")
    assert to_pathways(frames, preprocessing, *CROPS)[0].shape == (3, 3, 8, 32, 32)
