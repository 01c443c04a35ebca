"""A network in int8 is measured on videos that did not calibrate it, and written as measured."""

import sys

import numpy as np
import pytest

from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict
from slowfast_ac.inference.programs import quantize as quantize_module
from slowfast_ac.inference.programs.quantize import quantize

INT8 = ("--format", "openvino", "--precision", "int8")


@pytest.fixture
def few_clips(monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr(quantize_module, "FEWEST_CLIPS", 4)


@pytest.mark.slow
def test_the_command_says_how_answers_change_and_writes_what_it_measured(
    checkpoint, videos, tmp_path, few_clips, monkeypatch, capsys, run_export
):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(quantize_module, "FEWEST_HALVED", 3)
    (tmp_path / "list.csv").write_text("".join(f"{video} 0\n" for video in videos))
    path = tmp_path / "x.xml"
    run_export(checkpoint, *INT8, "--calibrate", tmp_path / "list.csv", "--output", path)
    old, new = (
        predict(load_model(file, device="cpu"), videos[1], CENTER_VIEW)[0].scores
        for file in (checkpoint, path)
    )
    moved = np.abs(old - new).max()
    assert 1e-5 < moved < 0.2
    changed = int(old.argmax() != new.argmax())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"int8, calibrated on 2 videos; on 1 other videos (one view each) {changed} answers "
        f"changed; scores moved by {moved:.2g} (mean of each video's largest), {moved:.2g} at most"
    )
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    assert lines[1] == f"wrote {path}, {size:,} bytes"
    assert lines[2].startswith("scores differ from the network's in int8 by ")
    constants = [
        operation.get_element_type().to_string()
        for operation in openvino.Core().read_model(path).get_ops()
        if operation.get_type_name() == "Constant"
    ]
    assert constants.count("i8") > 50, "the weights of some convolutions are no integers"


@pytest.mark.slow
def test_few_videos_are_used_for_both_calibration_and_comparison(checkpoint, videos, few_clips):
    result = quantize(load_model(checkpoint, device="cpu"), videos[:2])
    assert (result.calibrated, result.compared, result.held_out) == (2, 2, False)
    assert 0 < result.mean_difference <= result.max_difference


def test_many_videos_are_thinned_out_and_clips_are_read_lazily(calibrated, videos, monkeypatch):
    monkeypatch.setattr(quantize_module, "MOST_VIDEOS", 2)
    assert quantize_module._thinned(["a", "b", "c", "d", "e"]) == ["a", "d"]
    preprocessing = load_model(calibrated()[2], device="cpu").preprocessing
    clips = quantize_module._Clips([*videos[:1], "missing.mp4"], preprocessing)
    assert len(clips) == 100
    assert next(iter(clips)).shape == (1, 3, 8, 96, 96)
    with pytest.raises(InputError, match=r"missing\.mp4"):
        list(clips)


@pytest.mark.parametrize(
    "words, message",
    [
        (INT8, "--calibrate: give a list or a folder with int8"),
        (
            ("--format", "onnx", "--calibrate", "videos"),
            "--calibrate: give a list or a folder with int8",
        ),
        (("--format", "onnx", "--precision", "int8"), "int8 is not for --format onnx: take openv"),
        (("--format", "pt2", "--precision", "int8"), "int8 is not for --format pt2: take openvino"),
        (("--format", "pyslowfast", "--precision", "int8"), "weights are exported as they are"),
        ((*INT8, "--calibrate", "none.csv"), "none.csv"),
    ],
)
def test_unsupported_int8_exports_are_refused(checkpoint, tmp_path, run_export, words, message):
    suffix = {"onnx": "onnx", "pt2": "pt2", "openvino": "xml", "pyslowfast": "pyth"}[words[1]]
    output = tmp_path / f"x.{suffix}"
    with pytest.raises(InputError, match=message):
        run_export(checkpoint, *words, "--output", output)
    assert not output.exists()


def test_without_nncf_one_line_says_what_to_install(checkpoint, videos, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"^int8: needs nncf; pip install 'slowfast_ac\[cpu\]'$"):
        quantize(load_model(checkpoint, device="cpu"), videos)
    with pytest.raises(InputError, match=r"int8: needs videos to calibrate on"):
        quantize(load_model(checkpoint, device="cpu"), [])
