"""Tiny videos of every kind, as bytes to be written under the names that a data set gives them."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from slowfast_ac.data.clips import read_clips
from slowfast_ac.data.lists import read_list
from slowfast_ac.data.sampling import Span

MILLISECOND = Fraction(1, 1000)
VARIABLE_GAPS = (33, 33, 100, 33, 200, 33, 40, 60)


def encode(path, milliseconds, width=32, height=24, codec="libx264", with_sound=False, **options):
    """Writes one frame for each time; each is a moving edge, so that no two are alike.

    ``options`` are the container's.
    """
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = MILLISECOND
        sound = container.add_stream("aac", rate=16000) if with_sound else None
        for number, time in enumerate(milliseconds):
            image = np.full((height, width, 3), 40, np.uint8)
            image[:, : 2 + 2 * number % width] = 200
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            silence = np.zeros((1, 4096), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path


def even_times(count, fps=30):
    return [round(1000 * number / fps) for number in range(count)]


@pytest.fixture(scope="session")
def encode_video():
    """Returns :func:`encode`."""
    return encode


@pytest.fixture(scope="session")
def video_bytes(tmp_path_factory):
    """Returns {kind: bytes of a video}, all mp4 but ``webm`` and ``avi``."""
    folder = tmp_path_factory.mktemp("videos")
    variable = np.cumsum((0, *VARIABLE_GAPS)).tolist()
    paths = {
        "good": encode(folder / "good.mp4", even_times(20)),
        "long": encode(folder / "long.mp4", even_times(90)),
        "one frame": encode(folder / "one.mp4", [0]),
        "variable": encode(folder / "variable.mp4", variable),
        "webm": encode(folder / "good.webm", even_times(20), codec="libvpx"),
        "avi": encode(folder / "good.avi", even_times(20), codec="mpeg4"),
        "sound": encode(folder / "sound.mp4", even_times(20), with_sound=True),
    }
    videos = {kind: path.read_bytes() for kind, path in paths.items()}
    videos["corrupt"] = np.random.default_rng(0).bytes(2000)
    videos["cut short"] = videos["long"][: len(videos["long"]) // 2]
    videos["empty"] = b""
    return videos


@pytest.fixture(scope="session")
def put():
    """Returns a function that writes bytes to a file, folders included, and returns its path."""

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def upstream_list(upstream):
    """Returns a function: folder, split and prefix -> the (path, label) pairs PySlowFast reads."""
    from slowfast.config.defaults import get_cfg
    from slowfast.datasets.kinetics import Kinetics

    def read(folder, split, prefix=""):
        cfg = get_cfg()
        cfg.merge_from_list(["DATA.PATH_TO_DATA_DIR", str(folder), "DATA.PATH_PREFIX", str(prefix)])
        cfg.merge_from_list(["TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1])
        dataset = Kinetics(cfg, split)
        return list(zip(dataset._path_to_videos, dataset._labels, strict=True))

    return read


@pytest.fixture
def command():
    """Returns a function that runs a command of ``slowfast_ac.cli``: (exit status, stdout)."""
    import argparse
    import contextlib
    import importlib
    import io

    def run(name, *words):
        module = importlib.import_module(f"slowfast_ac.cli.{name}")
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = module.main(parser.parse_args([str(word) for word in words]))
        return status or 0, out.getvalue()

    return run


def _numbered(number, width=64, height=32):
    bars = [255 * (number >> bit & 1) for bit in range(8)]
    row = np.repeat(np.array(bars, np.uint8), width // 8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def _number_of(image):
    bars = np.asarray(image).reshape(image.shape[0], 8, -1, 3).mean((0, 2, 3)) > 127
    return int((bars << np.arange(8)).sum())


CODECS = {
    "webm": ("libvpx", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "avi": ("mpeg4", {"g": "12"}),
    "3gp": ("mpeg4", {"g": "12"}),
    "mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "wmv": ("wmv2", {"g": "12"}),
}


def _write_numbered(path, ticks, rate=30, tick=None, format=None, container=None, **options):
    """Writes a frame for each of ``ticks``; ``tick`` is in seconds, by default that of the rate."""
    codec, settings = CODECS.get(path.suffix[1:], ("libx264", {"g": "12", "bf": "2"}))
    tick = tick or 1 / Fraction(rate)
    settings = {**settings, **options}
    with av.open(str(path), "w", format=format, options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = tick
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(_numbered(number), format="rgb24")
            frame.pts, frame.time_base = int(pts), tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def write_numbered():
    """Returns :func:`_write_numbered`: frames that carry their number as eight bars."""
    return _write_numbered


@pytest.fixture(scope="session")
def number_of():
    """Returns a function: image (H, W, 3) -> the number that it carries."""
    return _number_of


@pytest.fixture(scope="session")
def numbered():
    """Returns a function: number, width, height -> image (H, W, 3) that carries it."""
    return _numbered


def _pairs(folder, split):
    """Returns the list's (original file name, label) and checks that each file is there."""
    (config,) = Path(folder).glob("*.yaml")
    prefix = yaml.safe_load(config.read_text())["DATA"]["PATH_PREFIX"]
    entries = read_list(folder / f"{split}.csv", prefix=prefix)
    assert all(os.path.isfile(entry.path) for entry in entries)
    return [(os.path.basename(entry.path), entry.label) for entry in entries]


@pytest.fixture(scope="session")
def pairs():
    """Returns :func:`_pairs`."""
    return _pairs


@pytest.fixture
def class_tree(tmp_path, put, video_bytes):
    """Two class folders of 10 and 5 videos, and one with a single video."""
    for name, count in (("jump", 10), ("run", 5), ("rare", 1)):
        for number in range(count):
            put(tmp_path / f"tree/{name}/{number}.mp4", video_bytes["good"])
    return tmp_path / "tree"


@pytest.fixture
def clips_at():
    """Reads clips that start at given seconds, ascending, in one pass over the video."""

    def read(path, preprocessing, starts):
        spans = [Span(start, start + preprocessing.seconds) for start in starts]
        return [clip for _, clip in read_clips(path, preprocessing, spans)]

    return read


@pytest.fixture
def whole_clips(upstream):
    """Skips where a clip is a frame shorter, as in the spring of 2022: predict follows the rest."""
    source = upstream.root / "slowfast/datasets/decoder.py"
    if "sampling_rate[i] * (num_frames[i] - 1)" in source.read_text():
        pytest.skip("this checkout counts a clip's length with one frame less")
