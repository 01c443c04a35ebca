"""Results of many videos are kept as they come, resumed after a kill, shared by processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from slowfast_ac.cli import main
from slowfast_ac.inference import features as features_module
from slowfast_ac.inference import predict as predict_module

MODULE = [sys.executable, "-m", "slowfast_ac"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m"]


@pytest.fixture
def many(videos, tmp_path):
    """Eight videos in a folder, one of them broken, and a list of them with labels."""
    folder = tmp_path / "videos"
    folder.mkdir()
    paths = [folder / f"{number}.mp4" for number in range(8)]
    for number, path in enumerate(paths):
        shutil.copy(videos[number % 3], path)
    paths[5].write_bytes(b"no video")
    (tmp_path / "list.csv").write_text("".join(f"{path} 0\n" for path in paths))
    return [str(path) for path in paths]


@pytest.fixture
def two_dozen(videos, tmp_path):
    """24 videos, eight of them broken."""
    paths = [tmp_path / f"{number:02}.mp4" for number in range(24)]
    for number, path in enumerate(paths):
        shutil.copy(videos[number % 3], path)
        if number % 3 == 1:
            path.write_bytes(b"no video")
    return [str(path) for path in paths]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@pytest.mark.slow
def test_a_killed_predict_continues_where_it_stopped(
    checkpoint, many, tmp_path, run_predict, monkeypatch
):
    words = [str(checkpoint), "--list", str(tmp_path / "list.csv"), "--views", "10x3", "--output"]
    assert run_predict(*words, tmp_path / "whole.json") == 1
    output = tmp_path / "out.json"
    process = subprocess.Popen(
        [*MODULE, "predict", *words, str(output)], stdout=subprocess.DEVNULL, env=environment()
    )
    journal = tmp_path / "out.json.partial" / "0-of-1.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n")
    assert 1 <= done < 8 and not output.exists()

    seen = []
    original = predict_module.predict
    monkeypatch.setattr(
        predict_module, "predict", lambda *args, **kw: seen.append(args[1]) or original(*args, **kw)
    )
    assert run_predict(*words, output) == 1
    assert seen == many[done:]
    assert json.loads(output.read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert not journal.parent.exists()


@pytest.mark.slow
def test_processes_of_torchrun_share_the_videos(checkpoint, many, tmp_path, run_predict):
    words = [str(checkpoint), *many, "--single-view", "--output"]
    assert run_predict(*words, tmp_path / "whole.jsonl") == 1
    output = tmp_path / "out.jsonl"
    command = [*TORCHRUN, "slowfast_ac", "predict", *words, str(output)]
    process = subprocess.run(command, capture_output=True, env=environment(), check=False)
    # The last process says that a video is broken, when the other one has finished.
    assert process.returncode == 1, process.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    expected = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert [row["video"] for row in rows] == many
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for span, theirs in zip(
            row.get("predictions", ()), other.get("predictions", ()), strict=True
        ):
            ours = [entry["score"] for entry in span["top"]]
            np.testing.assert_allclose(ours, [e["score"] for e in theirs["top"]], atol=1e-6)


@pytest.mark.slow
def test_features_of_finished_videos_are_not_computed_again(
    checkpoint, many, tmp_path, monkeypatch
):
    words = ["features", str(checkpoint), *many, "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*MODULE, *words], stdout=subprocess.PIPE, text=True, env=environment()
    )
    # Its first line is the first video's, after that video's files.
    assert process.stdout.readline().startswith(f"{tmp_path / 'out'}/0: ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (tmp_path / "out/0.slow.npy").stat().st_mtime_ns

    seen = []
    original = features_module.extract_features
    monkeypatch.setattr(
        features_module,
        "extract_features",
        lambda *args, **kw: seen.append(args[1]) or original(*args, **kw),
    )
    assert main(words) == 1
    assert many[0] not in seen and seen == many[-len(seen) :]
    assert (tmp_path / "out/0.slow.npy").stat().st_mtime_ns == first
    rows = [json.loads(line) for line in (tmp_path / "out/videos.jsonl").read_text().splitlines()]
    assert [row["video"] for row in rows] == many
    assert [row["video"] for row in rows if "error" in row] == [many[5]]
    for row in rows:
        assert "error" in row or (tmp_path / f"out/{row['files']}.json").exists()
    assert main([*words, "--stride", "1"]) == 1
    assert len(seen) >= 8 + 7


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", ["predict", "features"])
def test_of_eight_killed_processes_every_video_is_in_the_table_once(
    command, checkpoint, two_dozen, tmp_path, in_eight_processes
):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    options = ["--single-view"] if command == "predict" else ["--window", "1"]
    words = [command, checkpoint, *two_dozen, *options, "--output"]
    statuses, first = in_eight_processes(*words, tmp_path / "out.parquet", kill=True)
    assert statuses == [-9] * 8 and len(first) == 12
    assert not (tmp_path / "out.parquet").exists()
    lines = [
        json.loads(line)
        for path in (tmp_path / "out.parquet.partial").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert sorted(line["video"] for line in lines) == sorted(first)

    statuses, then = in_eight_processes(*words, tmp_path / "out.parquet")

    assert sorted(statuses) == [0] * 7 + [1]
    assert sorted(first + then) == two_dozen
    table = pandas.read_parquet(tmp_path / "out.parquet")
    readable = [video for number, video in enumerate(two_dozen) if number % 3 != 1]
    assert not (tmp_path / "out.parquet.partial").exists()
    if command == "predict":
        assert list(table.video[::5]) == readable
        main([str(word) for word in (*words, tmp_path / "alone.csv")])
        alone = pandas.read_csv(tmp_path / "alone.csv")
        assert list(table.columns) == list(alone.columns)
        assert table["class"].tolist() == alone["class"].astype(str).tolist()
        np.testing.assert_allclose(table.score, alone.score, atol=1e-6)
    else:
        # Two windows of a second in each.
        assert list(table.video[::2]) == readable and set(table.start) == {0.0, 1.0}
        main([str(word) for word in (*words, tmp_path / "alone")])
        for stream in ("slow", "fast"):
            arrays = [
                np.load(path) for path in sorted((tmp_path / "alone").glob(f"*.{stream}.npy"))
            ]
            np.testing.assert_allclose(
                np.stack(table[stream]), np.concatenate(arrays), rtol=1e-4, atol=1e-5
            )
            assert np.stack(table[stream]).std(axis=0).max() > 0.01


def test_maps_are_not_written_to_a_table(checkpoint, many, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    words = ["features", str(checkpoint), *many, "--maps", "--output", str(tmp_path / "a.parquet")]
    assert main(words) == 2
    assert "cannot hold maps; give a folder to --output" in capsys.readouterr().err
    assert not (tmp_path / "a.parquet.partial").exists()


def test_a_missing_parquet_package_is_named_before_the_work(
    checkpoint, many, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["predict", str(checkpoint), *many, "--output", str(tmp_path / "a.parquet")]) == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert not (tmp_path / "a.parquet.partial").exists()
