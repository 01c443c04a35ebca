"""``slowfast-ac predict`` prints and writes predictions, and refuses bad arguments."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from slowfast_ac.data.views import Views
from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.inference.predict import predict
from slowfast_ac.visualization.predictions import check_has_maps


@pytest.fixture
def class_map(tmp_path, classes):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(classes))
    return path


def test_the_command_prints_and_writes_the_best_classes(
    checkpoint, class_map, videos, tmp_path, capsys, run_predict
):
    options = ["--classes", class_map, "--top", 2, "--views", "2x1", "--output"]
    assert run_predict(checkpoint, *videos[:2], *options, tmp_path / "out.json") == 0
    text = capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["views"] == "2x1"
    assert [entry["video"] for entry in written["videos"]] == videos[:2]
    predictor = load_model(checkpoint)
    for entry in written["videos"]:
        scores = predict(predictor, entry["video"], Views(2, 1))[0].scores
        [span] = entry["predictions"]
        assert (span["start"], span["end"]) == (0.0, 2.0)
        best = np.argsort(scores)[::-1][:2]
        assert [top["class_id"] for top in span["top"]] == best.tolist()
        for rank, top in enumerate(span["top"], start=1):
            assert top["class"] == f"class {top['class_id']}"
            assert top["rank"] == rank
            assert top["score"] == pytest.approx(scores[top["class_id"]])
            assert f"{top['score']:.4f}  {top['class']}" in text


def test_a_bad_file_is_reported_and_the_others_are_processed(
    checkpoint, videos, tmp_path, capsys, run_predict
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video")
    shutil.copy(videos[0], folder / "whole.mp4")
    output = tmp_path / "out.csv"
    assert (
        run_predict(checkpoint, folder, tmp_path / "none.mp4", "--single-view", "--output", output)
        == 1
    )
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("slowfast-ac:")]
    assert len(errors) == 2
    assert "broken.mp4" in errors[0] and "none.mp4" in errors[1]
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == [str(folder / "whole.mp4")] * 5
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert run_predict(checkpoint, folder, "--single-view", "--output", tmp_path / "out.json") == 1
    errors = [v for v in json.loads((tmp_path / "out.json").read_text())["videos"] if "error" in v]
    assert [os.path.basename(entry["video"]) for entry in errors] == ["broken.mp4"]


def test_globs_and_folders_name_videos(checkpoint, videos, capsys, run_predict):
    folder = os.path.dirname(videos[0])
    for argument in (folder, os.path.join(folder, "video_*.mp4")):
        assert run_predict(checkpoint, argument, "--single-view", "--top", 1) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if line in videos] == videos


def test_windows_of_the_command_have_times(checkpoint, videos, tmp_path, capsys, run_predict):
    output = tmp_path / "out.csv"
    options = ["--window", 1, "--stride", 0.5, "--single-view", "--top", 1, "--backend", "torch"]
    options += ["--output", output]
    assert run_predict(checkpoint, videos[0], *options) == 0
    with open(output, newline="") as file:
        times = [(float(row["start"]), float(row["end"])) for row in csv.DictReader(file)]
    assert times == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert "0.50 - 1.50 s" in capsys.readouterr().out


@pytest.mark.slow
def test_each_video_gets_its_timeline(checkpoint, videos, tmp_path, capsys, run_predict):
    options = ["--stride", 0.5, "--single-view", "--timeline", tmp_path / "pictures"]
    assert run_predict(checkpoint, *videos[:2], *options) == 0
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["video_0.timeline.png", "video_1.timeline.png"]
    printed = capsys.readouterr().out
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"wrote {path}\n" in printed


def test_a_program_has_no_heatmaps(checkpoint):
    weights = load_model(checkpoint)
    check_has_maps(weights)
    program = TrainedModel("x.onnx", weights.scores, weights.preprocessing, 7)
    with pytest.raises(InputError, match=r"x\.onnx: a program returns scores alone; draw maps of"):
        check_has_maps(program)


@pytest.mark.slow
def test_the_command_needs_no_pyslowfast(checkpoint, videos):
    code = "import sys; sys.modules['slowfast'] = None\n"
    code += "from slowfast_ac.cli.predict import add_arguments, main\nimport argparse\n"
    code += "parser = argparse.ArgumentParser(); add_arguments(parser)\n"
    code += "sys.exit(main(parser.parse_args(sys.argv[1:])))"
    environment = {key: v for key, v in os.environ.items() if key != "PYSLOWFAST_ROOT"}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(checkpoint), videos[0], "--single-view"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == videos[0]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("x.onnx", ["--precision", "bfloat16"], "x.onnx: a program's precision is that of its exp"),
        ("x.pt2", ["--precision", "bfloat16"], "x.pt2: a program's precision is that of its exp"),
        ("x.onnx", ["--compile"], "x.onnx: ONNX Runtime does its own optimising; leave --compile"),
    ],
)
def test_options_that_a_program_has_no_use_for_are_refused(
    videos, name, options, message, run_predict
):
    with pytest.raises(InputError, match=message):
        run_predict(name, videos[0], *options)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--views", "10"], "--views: '10'; give CLIPSxCROPS"),
        (["--views", "4x2"], "2 crops; give 1 .* or 3"),
        (["--views", "0x3"], "0 clips; give at least 1"),
        (["--timeline", "pictures"], "--timeline: give --window or --stride"),
        (["--top", 0], "--top: 0 is not positive"),
        (["--output", "out.txt"], "out.txt: the suffix of --output must be .json or .csv"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(words, message, run_predict):
    with pytest.raises(InputError, match=message):
        run_predict("none.pyth", "none.mp4", *words)
