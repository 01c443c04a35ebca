"""The client of docs/DEPLOY.md answers as predict does, also where there is no torch."""

import contextlib
import io
import os
import re
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slowfast_ac.data.video import write_video
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.inference.export import export
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict

PAGE = (Path(__file__).parents[2] / "docs/DEPLOY.md").read_text(encoding="utf-8")
CLIENT, OPENVINO = re.findall(r"```python\n(.*?)```", PAGE, re.S)
# Whatever changes the client's frames or pixels.
CHECKOUT = {"single_crop_scale": 112, "ends_with_span": True}
KINDS: dict[str, dict] = {
    "wheel": {},
    "torchvision": {**CHECKOUT, "resize_while_decoding": True, "reverse_input_channel": True},
    "pyav": {**CHECKOUT, "mean": (0.3, 0.4, 0.5), "target_fps": 25.0, "sampling_rate": 4},
}


@pytest.fixture
def program(calibrated, classes, tmp_path):
    """Returns a function: a kind, format -> the exported file, and its weights for predict."""

    def make(kind, format="onnx"):
        weights = load_model(calibrated()[2], classes=classes, device="cpu")
        weights = replace(weights, preprocessing=replace(weights.preprocessing, **KINDS[kind]))
        path = tmp_path / {"onnx": "model.onnx", "openvino": "model.xml"}[format]
        export(weights, format, path)
        return path, weights

    return make


@pytest.fixture
def ask(monkeypatch):
    """Returns a function: code of a client, program, video -> what it prints."""

    def run(code, program, video):
        monkeypatch.setattr(sys, "argv", ["client.py", str(program), video])
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, "DEPLOY.md", "exec"), {})
        return output.getvalue()

    return run


def assert_same(printed, weights, video):
    pairs = [line.split(maxsplit=1) for line in printed.splitlines()]
    found = {name: float(score) for score, name in pairs}
    [prediction] = predict(weights, video, CENTER_VIEW)
    best = prediction.top(5)
    expected = {weights.class_name(number): prediction.scores[number] for number in best}
    assert prediction.scores.std() > 0.01
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_client_answers_as_predict_does(program, ask, write_videos, tmp_path, kind):
    path, weights = program(kind)
    for number, (frames, fps) in enumerate([(50, 25), (40, 29.97), (9, 30), (70, 60), (33, 12)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        video = write_videos(folder, frames, fps)[number % 3]
        assert_same(ask(CLIENT, path, video), weights, video)


@pytest.mark.slow
def test_the_client_takes_upright_videos(program, ask, tmp_path):
    path, weights = program("torchvision")
    frames = np.random.default_rng(0).integers(0, 255, (30, 150, 70, 3), dtype=np.uint8)
    write_video(tmp_path / "upright.mp4", frames, 30)
    video = str(tmp_path / "upright.mp4")
    assert_same(ask(CLIENT, path, video), weights, video)


@pytest.mark.slow
def test_the_client_of_openvino_answers_as_predict_does(program, ask, videos):
    pytest.importorskip("openvino")
    path, weights = program("wheel", "openvino")
    code = re.sub(r"session = .*?\n(?=p, )", lambda _: OPENVINO, CLIENT, flags=re.S)
    code = code.replace('(scores,) = session.run(["scores"], ', "scores = compiled(")
    code = re.sub(r"(scores = compiled\(.*\))$", r'\1["scores"]', code, flags=re.M)
    code = code.replace(", onnxruntime\n", "\n")
    assert "session" not in code
    assert_same(ask(code, path, videos[0]), weights, videos[0])


@pytest.mark.slow
def test_the_client_needs_numpy_av_and_onnxruntime_alone(program, videos, tmp_path):
    path, weights = program("wheel")
    (packages,) = re.findall(r"RUN pip install --no-cache-dir (.*)", PAGE)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *packages.split()],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        pytest.skip(f"pip has no index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True)
    assert missing.returncode != 0
    (tmp_path / "client.py").write_text(CLIENT, encoding="utf-8")
    done = subprocess.run(
        [python, "client.py", path, videos[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    assert_same(done.stdout, weights, videos[0])
