"""What upstream's data sets show in a test, once they are mended."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from slowfast_ac.pyslowfast.repairs.datasets import ViewNumber

cv2 = pytest.importorskip("cv2")


def test_the_only_crop_of_a_view_is_the_centre():
    for number in range(12):
        view = ViewNumber(number)
        assert view % 1 == 1
        assert [view % crops for crops in (2, 3)] == [number % 2, number % 3]
        assert [view // crops for crops in (1, 2, 3)] == [number, number // 2, number // 3]


@pytest.fixture
def frames(tmp_path):
    """Forty images, 24 x 48: brightness is the frame's number, and the centre is white."""
    paths = []
    for number in range(40):
        image = np.full((24, 48, 3), 2 * number, np.uint8)
        image[:, 20:28] = 255
        paths.append(str(tmp_path / f"{number:02d}.png"))
        cv2.imwrite(paths[-1], image)
    return paths


@pytest.fixture
def dataset(upstream, frames, monkeypatch):
    """Returns a function: class name, views and crops -> the data set of one video, for a test."""

    def make(name, views, crops):
        module = pytest.importorskip(f"slowfast.datasets.{name.lower()}")
        from slowfast.config.defaults import get_cfg

        cfg = get_cfg()
        cfg.merge_from_list(
            ["DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 5, "DATA.TEST_CROP_SIZE", 24]
            + ["MODEL.ARCH", "slow", "MODEL.NUM_CLASSES", 5]
            + ["DATA.MEAN", [0.0] * 3, "DATA.STD", [1.0] * 3]
            + ["TEST.NUM_ENSEMBLE_VIEWS", views, "TEST.NUM_SPATIAL_CROPS", crops]
        )
        labels = [[1]] * len(frames)
        paths = {"v": frames} if name == "Ssv2" else [frames]
        monkeypatch.setattr(module.utils, "load_image_lists", lambda *_, **__: (paths, [labels]))
        if name == "Ssv2":
            files = iter([{"a thing": 1}, [{"id": "v", "template": "a thing"}]])
            monkeypatch.setattr(module, "json", SimpleNamespace(load=lambda _: next(files)))
        manager = SimpleNamespace(exists=lambda _: True, open=open_or_empty)
        # Its name until 2021 was g_pathmgr.
        path_manager = "pathmgr" if hasattr(module, "pathmgr") else "g_pathmgr"
        monkeypatch.setattr(module, path_manager, manager)
        return getattr(module, name)(cfg, "test")

    return make


def open_or_empty(path, mode="r"):
    return open(path if str(path).endswith(".png") else "/dev/null", mode)


def numbers(clip):
    """The frames of a clip (3, T, H, W), by the brightness of its first column."""
    return (clip[0, :, 0, 0] * 255 / 2).round().long().tolist()


@pytest.mark.checkout
@pytest.mark.parametrize("name", ["Ssv2", "Charades"])
def test_a_single_crop_is_the_centre_and_three_are_what_they_were(dataset, name):
    (clip,) = dataset(name, 2, 1)[0][0]
    white = (clip[0, 0, 0] > 0.99).nonzero().flatten().tolist()
    assert white == list(range(8, 16))
    several = dataset(name, 2, 3)
    where = [(several[crop][0][0][0, 0, 0] > 0.99).nonzero().flatten().tolist() for crop in (0, 2)]
    assert where == [list(range(20, 24)), list(range(4))]


@pytest.mark.checkout
def test_views_of_ssv2_differ_and_one_is_the_middle_of_every_segment(dataset, sequences_apart):
    one = dataset("Ssv2", 1, 1).get_seq_frames(0)
    borders = [int(np.round(39 / 4 * number)) for number in range(5)]
    middles = [(a + b) // 2 for a, b in zip(borders[:-1], borders[1:], strict=True)]
    assert one == middles
    views = dataset("Ssv2", 3, 3)
    sequences = [views.get_seq_frames(index) for index in range(9)]
    assert sequences[0] == sequences[2] and sequences[3] == sequences[5] == middles
    assert len({tuple(sequence) for sequence in sequences}) == 3
    for sequence in sequences:
        inside = zip(borders[:-1], sequence, borders[1:], strict=True)
        assert all(a <= frame <= b for a, frame, b in inside)


@pytest.mark.checkout
def test_one_view_of_charades_is_the_clip_in_the_middle(dataset, sequences_apart):
    charades = dataset("Charades", 1, 1)
    assert charades.get_seq_frames(0) == [12, 17, 22, 27]
    (clip,) = charades[0][0]
    assert torch.equal(clip[:, :, :, :8], clip[:, :, :1, :1].expand(-1, -1, 24, 8))
    # Several views are upstream's: from the first frame to the last.
    several = dataset("Charades", 3, 1)
    assert several.get_seq_frames(0)[0] == 0 and several.get_seq_frames(2)[-1] == 39


def test_the_wheels_single_crop_is_the_centre(upstream, tmp_path, monkeypatch):
    if upstream.kind != "wheel":
        pytest.skip("a checkout's Kinetics takes the centre itself")
    from slowfast.config.defaults import get_cfg

    from slowfast_ac.data.video import write_video

    image = np.zeros((24, 48, 3), np.uint8)
    image[:, 20:28] = 255
    write_video(tmp_path / "v.mp4", [image] * 40, 30)
    (tmp_path / "test.csv").write_text(f"{tmp_path / 'v.mp4'} 0\n")
    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "DATA.NUM_FRAMES", 4, "DATA.TEST_CROP_SIZE", 24]
        + ["MODEL.ARCH", "slow", "DATA.MEAN", [0.0] * 3, "DATA.STD", [1.0] * 3]
        + ["TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 1]
    )
    kinetics = importlib.import_module("slowfast.datasets.kinetics").Kinetics(cfg, "test")
    (clip,) = kinetics[0][0]
    white = (clip[0, 0, 12] > 0.5).nonzero().flatten()
    assert 7 <= white.min() <= 9 and 14 <= white.max() <= 16
