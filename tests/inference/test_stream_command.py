"""``slowfast-ac predict --stream`` prints, writes, stops, and refuses bad arguments."""

import contextlib
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from slowfast_ac.cli.predict_stream import Tally
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict

OPTIONS = ["--window", 1, "--stride", 0.5, "--top", 2, "--backend", "torch"]


def test_answers_are_printed_and_written(checkpoint, videos, tmp_path, capsys, run_predict):
    output = tmp_path / "new" / "out.jsonl"
    assert run_predict(checkpoint, "--stream", videos[0], *OPTIONS, "--output", output) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    expected = predict(load_model(checkpoint), videos[0], CENTER_VIEW, window=1.0, stride=0.5)
    assert len(lines) == len(expected) == 3
    for line, prediction in zip(lines, expected, strict=True):
        assert line["video"] == videos[0] and line["latency"] > 0
        [span] = line["predictions"]
        assert (span["start"], span["end"]) == (prediction.start, prediction.end)
        scores = [top["score"] for top in span["top"]]
        np.testing.assert_allclose(scores, np.sort(prediction.scores)[:-3:-1], atol=1e-5)
        first = f"{prediction.start:.2f} - {prediction.end:.2f} s  {scores[0]:.4f}  "
        [printed] = [text for text in captured.out.splitlines() if first in text]
        assert f"  ({line['latency']:.2f} s later)" in printed
    assert len(captured.out.splitlines()) == 6
    assert f"reading {videos[0]}; stop with Ctrl-C\n" in captured.err
    assert "answers: 3, " in captured.err and " per second; latency: " in captured.err


@pytest.mark.slow
def test_ctrl_c_ends_a_silent_pipe(checkpoint, videos, streamed, tmp_path):
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-W", "ignore", "-m", "slowfast_ac", "predict", checkpoint]
    command += ["--stream", "-", *OPTIONS, "--output", output]
    data = streamed(videos[0])
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # Or a test that fails would wait for it for ever.
        stack.callback(process.kill)
        process.stdin.write(data[: len(data) * 9 // 10])
        process.stdin.flush()
        printed = process.stdout.readline().decode()
        assert "0.00 - 1.00 s" in printed, process.stderr.read().decode()
        assert json.loads(output.read_text().splitlines()[0])["predictions"][0]["end"] == 1.0
        process.stdout.readline()
        assert "0.50 - 1.50 s" in process.stdout.readline().decode()
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
        assert process.wait() == 0, errors
    assert "answers: 2, " in errors and "Traceback" not in errors
    spans = [json.loads(line)["predictions"][0] for line in output.read_text().splitlines()]
    assert [span["start"] for span in spans] == [0.0, 0.5]


def test_an_output_that_exists_is_kept(checkpoint, videos, tmp_path, run_predict):
    output = tmp_path / "out.jsonl"
    output.write_text("yesterday\n")
    with pytest.raises(InputError, match=r"out\.jsonl: exists; give the stream's answers a new"):
        run_predict(checkpoint, "--stream", videos[0], *OPTIONS, "--output", output)
    assert output.read_text() == "yesterday\n"


def test_nothing_is_written_of_a_source_that_cannot_be_read(checkpoint, tmp_path, run_predict):
    output = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"cannot read none\.mp4: No such file"):
        run_predict(checkpoint, "--stream", "none.mp4", *OPTIONS, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["more.mp4"], "VIDEO: not with --stream"),
        (["--list", "x.csv"], "--list: not with --stream"),
        (["--heatmap", "maps"], "--heatmap: not with --stream"),
        (["--timeline", "maps", "--stride", 1], "--timeline: not with --stream"),
        (["--output", "x.csv"], r"x.csv: the suffix of --output of a stream must be .jsonl"),
    ],
)
def test_arguments_for_files_are_refused(words, message, run_predict):
    with pytest.raises(InputError, match=message):
        run_predict("none.pyth", *words, "--stream", "-")


def test_several_processes_do_not_share_a_stream(monkeypatch, run_predict):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match="--stream: one process reads it"):
        run_predict("none.pyth", "--stream", "-")


def test_the_summary_counts_from_the_first_answer_to_the_last():
    tally = Tally()
    tally.count(10.0, 0.5, 0)
    assert str(tally) == "answers: 1; latency: 0.50 s on average, 0.50 s at most"
    tally = Tally()
    for answer in ((10.0, 0.1, 3), (12.0, 0.6, 0), (14.0, 0.2, 1)):
        tally.count(*answer)
    assert str(tally) == (
        "answers: 3, 0.50 per second; latency: 0.30 s on average, 0.60 s at most; windows skipped, "
        "since the network is slower than the source: 4"
    )
