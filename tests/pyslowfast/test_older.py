"""Repairs of older checkouts, each on a stand-in of the code as it was."""

import importlib
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast_ac.data.video import write_video
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import imports, older

HERE = Upstream("checkout", None)


@pytest.fixture
def stand_in(monkeypatch):
    """Returns a function: name of an upstream module, members -> a stand-in that is found."""
    real, found = importlib.import_module, {}
    monkeypatch.setattr(
        *(older, "importlib"),
        SimpleNamespace(import_module=lambda name: found.get(name) or real(name)),
    )

    def add(name, **members):
        found[name] = SimpleNamespace(**members)
        return found[name]

    return add


def test_a_config_becomes_the_two_numbers_that_pytorchvideo_takes(stand_in):
    given = []
    module = stand_in(
        "slowfast.utils.distributed",
        init_distributed_training=lambda num_gpus, shard_id: given.append((num_gpus, shard_id)),
    )
    assert older._takes_config(HERE)
    older._give_numbers(HERE)
    module.init_distributed_training(SimpleNamespace(NUM_GPUS=4, SHARD_ID=2))
    assert given == [(4, 2)]
    assert not older._takes_config(HERE)


def test_assertions_of_2021_pass_on_a_cpu_and_still_assert(stand_in):
    def assert_and_infer_cfg(cfg):
        assert cfg.BATCH_SIZE % cfg.NUM_GPUS == 0
        return cfg

    def get_cfg():
        return CfgNode({"NUM_GPUS": 1, "BATCH_SIZE": 6})

    defaults = stand_in(
        "slowfast.config.defaults", assert_and_infer_cfg=assert_and_infer_cfg, get_cfg=get_cfg
    )
    assert older._divides_by_no_gpu(HERE)
    older._assert_without_gpu(HERE)
    assert not older._divides_by_no_gpu(HERE)
    cfg = get_cfg()
    cfg.NUM_GPUS = 0
    assert defaults.assert_and_infer_cfg(cfg).NUM_GPUS == 0
    cfg.NUM_GPUS = 4
    with pytest.raises(AssertionError):
        defaults.assert_and_infer_cfg(cfg)


def get_start_end_idx(video_size, clip_size, clip_idx, num_clips):
    """Where a clip was until 2022: the formula of January 2021."""
    delta = max(video_size - clip_size, 0)
    start = random.uniform(0, delta) if clip_idx == -1 else delta * clip_idx / num_clips
    return start, start + clip_size - 1


@pytest.fixture
def video(tmp_path):
    """30 frames of 64 x 64 pixels, each as bright as 8 times its number."""
    frames = np.full((30, 64, 64, 3), 0, dtype=np.uint8)
    frames += (8 * np.arange(30, dtype=np.uint8))[:, None, None, None]
    write_video(tmp_path / "video.mp4", frames, 30)
    return tmp_path / "video.mp4"


@pytest.mark.parametrize("backend", ["torchvision", "pyav"])
@pytest.mark.parametrize(("clip", "first"), [(0, 0), (1, 11)])
def test_a_decoder_of_one_clip_gets_its_frames(stand_in, video, backend, clip, first):
    def torchvision_decode(*args, **kwargs):
        raise AttributeError("_probe_video_from_memory")

    def decode(
        container, sampling_rate, num_frames, clip_idx=-1, num_clips=10, video_meta=None,
        target_fps=30, backend="pyav", max_spatial_scale=0,
    ):  # fmt: skip
        assert backend == "torchvision"
        frames, fps, decoded_all = module.torchvision_decode(
            container, sampling_rate, num_frames, clip_idx, video_meta, num_clips, target_fps,
            ("visual",), max_spatial_scale,
        )  # fmt: skip
        start, end = get_start_end_idx(
            len(frames), sampling_rate * num_frames / target_fps * fps,
            clip_idx if decoded_all else 0, num_clips if decoded_all else 1,
        )  # fmt: skip
        index = torch.linspace(start, end, num_frames).clamp(0, len(frames) - 1).long()
        return frames[index]

    module = stand_in(
        *("slowfast.datasets.decoder",),
        **{"torchvision_decode": torchvision_decode, "decode": decode, "pyav_decode": decode},
        get_start_end_idx=get_start_end_idx,
    )
    import av

    container = stand_in(
        "slowfast.datasets.video_container",
        get_video_container=lambda path, multi_thread_decode, backend: av.open(str(path)),
    )
    assert older._decodes_one_clip(HERE)
    older._decode_one_clip(HERE)
    assert not older._decodes_one_clip(HERE)
    meta = {}
    for _ in range(2):  # the second call has what the first has learned of the file
        handle = container.get_video_container(video, False, backend)
        clips = module.decode(handle, 2, 4, clip, 2, video_meta=meta, backend=backend)
        numbers = clips.float().mean(dim=(1, 2, 3)) / 8
        expected = first + torch.linspace(0, 7, 4).long()
        assert torch.allclose(numbers, expected.float(), atol=0.6), numbers


def test_offset_sampling_reaches_the_clips_of_2022(stand_in):
    module = stand_in(
        "slowfast.datasets.decoder",
        get_start_end_idx=lambda size, clip, i, n, use_offset=False: (
            (i * ((size - clip) // (n - 1)) if use_offset else (size - clip) * i / n),
            0,
            0,
        ),
        get_multiple_start_end_idx=lambda size, clips, i, n, min_delta=0, max_delta=0: "plain",
    )
    assert older._places_without_offset(HERE)
    older._place_with_offset(HERE)
    assert not older._places_without_offset(HERE)
    assert module.get_multiple_start_end_idx(30, [8], 2, 3, use_offset=False) == "plain"
    spans = module.get_multiple_start_end_idx(30, [8, 10], 2, 3, use_offset=True)
    assert spans[:, 0].tolist() == [22, 20]


def test_numpys_old_names_are_there_for_upstreams_files_alone(stand_in, tmp_path):
    (tmp_path / "slowfast/models").mkdir(parents=True)
    (tmp_path / "slowfast/models/old.py").write_text("x = np.zeros(3, dtype=np.int)\n")
    (tmp_path / "slowfast/models/new.py").write_text("x = np.zeros(3, np.int64) + np.float_\n")
    module = stand_in("slowfast.models.old", np=np)
    upstream = Upstream("checkout", tmp_path)
    assert older._modules_of_old_numpy(upstream) == ["slowfast.models.old"]
    older._add_numpy_names(upstream)
    assert module.np.zeros(3, dtype=module.np.int).dtype == int
    assert not hasattr(np, "int")


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("from torch._six import int_classes\n", True),
        ("import torch\nif torch.__version__ < '1':\n    from torch._six import x\n", False),
        ("import torch_that_is_missing\n", False),
    ],
)
def test_torch_six_is_added_where_the_file_asks_for_it(tmp_path, monkeypatch, text, needed):
    (tmp_path / "slowfast/datasets").mkdir(parents=True)
    (tmp_path / "slowfast/datasets/multigrid_helper.py").write_text(text)
    monkeypatch.setattr(imports, "is_missing", lambda name: True)
    # A checkout of 2021 may have brought it into this process.
    monkeypatch.delitem(sys.modules, "torch._six", raising=False)
    assert imports._needs_six(Upstream("checkout", tmp_path)) == needed
