"""What a run prints of its log."""

import io
import logging
import sys

import pytest

from slowfast_ac.pyslowfast.console import Console, describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def printed(monkeypatch):
    """Returns a function: stream and records -> what a console prints on it."""

    def emit(stream, *records):
        monkeypatch.setattr(sys, "stdout", stream)
        console = Console()
        for record in records:
            console.emit(record)
        return stream.getvalue()

    return emit


def record(text, created=0.0, level=logging.INFO, name="slowfast.utils.misc", **values):
    """A record of a log, at a time in seconds."""
    made = logging.LogRecord(name, level, "file.py", 1, text, (), None)
    vars(made).update(created=created, **values)
    return made


def step(number, created):
    text = (
        f'json_stats: {{"_type": "train_iter_", "epoch": "1/2", "iter": "{number}/9", '
        '"loss": 1.5, "lr": 0.1, "eta": "0:00:09"}'
    )
    return record(text, created)


EPOCH = record('json_stats: {"_type": "train_epoch", "epoch": "1/2", "loss": 1.25, "lr": 0.1}')


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (
            {"_type": "train_epoch", "epoch": "8/8", "loss": 0.5, "loss_0": 0.25, "loss_1": 1.0}
            | {"lr": 0.01, "top1_err": 25.0, "top5_err": 0.0, "dt": 3.0, "gpu_mem": "0.00G"},
            "epoch 8/8  training  loss 0.5  loss_0 0.25  loss_1 1  lr 0.01  "
            "top-1 75.0 %, top-5 100.0 %",
        ),
        (
            {"_type": "val_epoch", "epoch": "2/8", "top1_err": 40.0, "top5_err": 10.0}
            | {"min_top1_err": 30.0},
            "epoch 2/8  validation  top-1 60.0 %, top-5 90.0 %",
        ),
        ({"_type": "val_epoch", "epoch": "2/8", "map": 0.25}, "epoch 2/8  validation  mAP 25.0 %"),
        ({"_type": "val_epoch", "cur_epoch": "2", "map": 0.5}, "epoch 2  validation  mAP 50.0 %"),
        (
            {"split": "test_final", "top1_acc": "33.33", "top5_acc": "100.00"},
            "test  top-1 33.3 %, top-5 100.0 %",
        ),
        (
            {"split": "test_final", "map": "12.50", "top1_acc": "12.50", "top5_acc": "12.50"},
            "test  mAP 12.5 %",
        ),
        ({"mode": "test", "map": 0.25}, '{"mode": "test", "map": 0.25}'),
    ],
)
def test_epochs_and_tests_are_lines(stats, expected):
    assert describe(stats) == (False, expected)


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (
            {"_type": "train_iter", "epoch": "1/2", "iter": "3/9", "loss": 1.23456, "eta": "0:09"},
            "epoch 1/2  step 3/9  loss 1.235  0:09 left",
        ),
        (
            {"_type": "train_iter", "cur_epoch": "1", "cur_iter": "3", "loss": 2.0, "eta": "0:09"},
            "epoch 1  step 3  loss 2  0:09 left",
        ),
        ({"_type": "val_iter_", "epoch": "1/2", "iter": "3/9", "top1_err": 1.0}, ""),
        ({"split": "test_iter", "cur_iter": "4", "eta": "0:09"}, "test  batch 4  0:09 left"),
    ],
)
def test_steps_are_lines_that_pass(stats, expected):
    assert describe(stats) == (True, expected)


def test_in_a_file_a_step_is_printed_every_ten_seconds(printed):
    text = printed(io.StringIO(), step(1, 0.0), step(2, 9.0), step(3, 10.0), step(4, 11.0), EPOCH)
    assert [line.split("  ")[1] for line in text.splitlines()] == [
        "step 1/9",
        "step 3/9",
        "training",
    ]
    assert "\r" not in text and "\x1b" not in text


def test_on_a_terminal_every_step_overwrites_the_one_before(printed):
    text = printed(Terminal(), step(1, 0.0), step(2, 1.0), EPOCH, record("Start epoch: 2"))
    first, second, last = text.split("\r\x1b[K")
    assert "step 1/9" in first and "step 2/9" in second and "\n" not in first + second
    assert last == "epoch 1/2  training  loss 1.25  lr 0.1\nStart epoch: 2\n"


@pytest.mark.parametrize(
    "hidden",
    [
        record("Model:\nSlowFast(\n)"),
        record("Train with config:"),
        record("x" * 2000),
        record("Unsupported operator", level=logging.WARNING, name="fvcore.nn.jit_analysis"),
        record("repaired decoder: gone", name="slowfast_ac.pyslowfast.repairs", detail=True),
    ],
)
def test_details_stay_in_the_log(printed, hidden):
    assert printed(io.StringIO(), hidden, record("Start epoch: 1")) == "Start epoch: 1\n"


def test_warnings_and_our_reports_are_printed(printed):
    text = printed(
        io.StringIO(),
        record("no such\nthing", level=logging.WARNING),
        record("a.pyth: fits\nnew 2", name="slowfast_ac.pyslowfast.finetune"),
    )
    assert text == "warning: no such\nthing\na.pyth: fits\nnew 2\n"


@pytest.mark.slow
def test_a_run_prints_a_line_per_epoch_and_logs_every_step(runs, json_stats, tmp_path):
    printed = runs(tmp_path, "SOLVER.MAX_EPOCH", 2, "TEST.NUM_ENSEMBLE_VIEWS", 1)
    assert "json_stats" not in printed and "ResBlock" not in printed
    lines = printed.splitlines()
    for epoch in ("1/2", "2/2"):
        found = [line for line in lines if line.startswith(f"epoch {epoch}  training  loss ")]
        assert len(found) == 1 and "loss_0" in found[0] and "loss_1" in found[0]
    assert [line for line in lines if line.startswith("test  top-1 ")]
    log = (tmp_path / "stdout.log").read_text()
    steps = [s for s in json_stats(log) if s.get("_type", "").startswith("train_iter")]
    assert [s["iter"] for s in steps] == ["1/3", "2/3", "3/3"] * 2
    assert "repaired " in log
