"""What tests of inference share: trained networks of every kind, clips, videos and commands."""

import argparse
import copy

import numpy as np
import pytest
import torch
from torch import nn

from slowfast_ac.cli import export as export_command
from slowfast_ac.cli import predict as predict_command
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video import write_video
from slowfast_ac.inference.load import TrainedModel

SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
CE = ("MODEL.LOSS_FUNC", "cross_entropy")
# Config keys and values of tiny networks; those of SlowFastAC are tiny_cfg's own.
NETWORKS = {
    "SlowFastAC": ("DATA.NUM_FRAMES", 8),
    "SlowFast": (*CE, "MODEL.MODEL_NAME", "SlowFast", "DATA.NUM_FRAMES", 8),
    "Slow": SLOW,
    "nonlocal": (*SLOW, "NONLOCAL.LOCATION", [[[]], [[1, 3]], [[0]], [[]]]),
    "C2D": (*SLOW, "MODEL.ARCH", "c2d"),
    "I3D": (*SLOW, "MODEL.ARCH", "i3d"),
}
# The test crop is larger than the training crop, so that the head classifies several places.
SIZES = ("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "DATA.TEST_CROP_SIZE", 96)
SIZES += ("MODEL.FC_INIT_STD", 0.02)


def options(*opts):
    """Returns keys and values for the name of a network, if there is one, and what follows it."""
    return (*NETWORKS[opts[0]], *opts[1:]) if opts and opts[0] in NETWORKS else opts


@pytest.fixture
def classes():
    """A class map of the tiny networks."""
    return {f"class {number}": number for number in range(7)}


@pytest.fixture
def randomised():
    """Returns a function: network, clips -> sets its weights to random values, see below."""
    return _randomised


@pytest.fixture
def noise():
    """Returns a function: config, count -> random clips."""
    return _noise


@pytest.fixture
def packed():
    """Returns a function: config, clips -> upstream's pathways."""
    return _packed


@pytest.fixture
def scores():
    """Returns a function: network, config, clips -> its scores."""
    return _scores


def _randomised(model, clips, seed=0):
    """Sets all weights and BatchNorm statistics to random values; the logits' deviation is 1.

    If scores were all alike, or 0 and 1, they would agree whatever the network computes.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(seed + 7)
        elif tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * tensor[0].numel() ** -0.5)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    (linear,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    outputs = []
    handle = linear.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        model.eval()(clips)
        handle.remove()
        linear.weight /= outputs[0].std()
        linear.bias /= outputs[0].std()
    return model


def _noise(cfg, count, seed=5):
    generator = torch.Generator().manual_seed(seed)
    size = cfg.DATA.TEST_CROP_SIZE
    return torch.randn(count, 3, cfg.DATA.NUM_FRAMES, size, size, generator=generator)


def _packed(cfg, clips):
    """Upstream's pathways of a batch."""
    from slowfast.datasets.utils import pack_pathway_output

    pathways = zip(*(pack_pathway_output(cfg, clip) for clip in clips), strict=True)
    return [torch.stack(clips) for clips in pathways]


@torch.no_grad()
def _scores(model, cfg, clips):
    found = model(_packed(cfg, clips))
    assert found.std(dim=1).min() > 0.01, "scores that are all alike prove nothing"
    return found


@pytest.fixture(scope="session")
def remembered():
    """Returns a function: name, function -> a copy of what it returned the first time."""
    results = {}

    def call(name, function):
        if name not in results:
            results[name] = function()
        return copy.deepcopy(results[name])

    return call


@pytest.fixture
def trained(build_model, tiny_cfg, tmp_path, remembered):
    """Returns a function: a network's name or keys and values -> config, network and file."""

    def build(opts):
        cfg = tiny_cfg(*options(*opts))
        return cfg, _randomised(build_model(cfg), _packed(cfg, _noise(cfg, 2)))

    def make(*opts, **saved):
        cfg, model = remembered(f"trained {opts}", lambda: build(opts))
        path = tmp_path / "in" / "checkpoint.pyth"
        path.parent.mkdir(exist_ok=True)
        data = {"model_state": model.state_dict(), "epoch": 3, "cfg": cfg.dump()}
        torch.save({**data, **saved}, path)
        return cfg, model, path

    return make


@pytest.fixture
def calibrated(build_model, tiny_cfg, tmp_path, remembered):
    """Like ``trained``, for clips of smooth videos, with several views and head positions.

    Returns a function: name or keys and values -> PySlowFast's network, its config and its file.
    """

    def build(opts):
        cfg = tiny_cfg(*options(*opts), *SIZES)
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        # BatchNorm's statistics of smooth clips, without which scores are 0 and 1.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = None
        noise = torch.randn(4, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
        clip = nn.functional.interpolate(noise, size=(8, 64, 64), mode="trilinear")
        with torch.no_grad():
            model.train()(
                [clip] if cfg.MODEL.ARCH != "slowfast" else [clip[:, :, ::4][:, :, :2], clip]
            )
        return model.eval(), cfg

    def make(*opts):
        model, cfg = remembered(f"calibrated {opts}", lambda: build(opts))
        path = tmp_path / "checkpoint_epoch_00001.pyth"
        torch.save({"epoch": 0, "model_state": model.state_dict(), "cfg": cfg.dump()}, path)
        return model, cfg, path

    return make


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    return path


def _write_videos(folder, count, fps):
    """Writes three wide mp4 files of moving stripes, 100 x 80; returns their paths."""
    x, y = np.meshgrid(np.arange(100), np.arange(80))
    paths = []
    for number, slope in enumerate((0.0, 0.7, -1.3)):
        frames = []
        for time in range(count):
            phase = (x + slope * y) / (6 + number) + time * (0.2 + 0.3 * number)
            image = 128 + 100 * np.sin(phase)[..., None] * [1.0, 0.5 + time / 100, -0.4]
            frames.append(image.clip(0, 255).astype(np.uint8))
        write_video(folder / f"video_{number}.mp4", frames, fps)
        paths.append(str(folder / f"video_{number}.mp4"))
    return paths


@pytest.fixture
def write_videos():
    return _write_videos


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Three videos of 2 seconds, 25 frames a second."""
    return _write_videos(tmp_path_factory.mktemp("videos"), 50, 25)


@pytest.fixture
def run_predict():
    """Returns a function: words of the command -> its exit status."""

    def run(*words):
        parser = argparse.ArgumentParser()
        predict_command.add_arguments(parser)
        return predict_command.main(parser.parse_args([str(word) for word in words]))

    return run


@pytest.fixture
def run_export():
    """Returns a function: checkpoint and words of the command -> what it returns."""

    def run(checkpoint, *words):
        parser = argparse.ArgumentParser()
        export_command.add_arguments(parser)
        words = ["--checkpoint", checkpoint, *words]
        return export_command.main(parser.parse_args([str(word) for word in words]))

    return run


@pytest.fixture
def checkpoint(calibrated):
    """A file of a calibrated SlowFastAC."""
    return calibrated()[2]


def _brightness(**changes):
    """A predictor whose two scores are the mean of the clip and its number of pixels."""
    settings = {"num_frames": 4, "sampling_rate": 5, "alpha": 2, "crop_size": 16}
    preprocessing = Preprocessing(
        **{**settings, **changes}, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), target_fps=25
    )

    def scores(pathways):
        clip = pathways[-1]
        return torch.stack([clip.mean(dim=(1, 2, 3, 4)), torch.ones(len(clip))], dim=1)

    return TrainedModel("stub", scores, preprocessing, 2, ("bright", "one"), None)


@pytest.fixture
def brightness():
    """Returns a function: changes of the preprocessing -> a predictor, see below."""
    return _brightness


@pytest.fixture(scope="session")
def fading(tmp_path_factory):
    """A video of 8 seconds that grows brighter by 1 / 255 a frame, 25 frames a second."""
    path = tmp_path_factory.mktemp("fading") / "fading.mp4"
    write_video(path, (np.full((32, 48, 3), 20 + time, np.uint8) for time in range(200)), 25)
    return str(path)
