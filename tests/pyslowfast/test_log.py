"""The log of a run, also of one that was killed and resumed."""

import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.log import read_log


def test_later_lines_of_a_resumed_run_win_and_cut_lines_are_left_out(tmp_path):
    (tmp_path / "stdout.log").write_text(
        '[INFO] json_stats: {"_type": "train_epoch", "epoch": "1/2", "loss": 3.0}\n'
        '[INFO] json_stats: {"_type": "train_epoch", "epoch": "2/2", "loss": 2.0}\n'
        '[INFO] json_stats: {"_type": "train_iter", "epoch": "2/2", "iter": "1/9", "lo\n'
        "[INFO] something else\n"
        '[INFO] json_stats: {"_type": "train_epoch", "epoch": "2/2", "loss": 1.0}\n'
        '[INFO] json_stats: {"split": "test_final", "top1_acc": "50.00"}\n'
    )
    log = read_log(tmp_path)
    assert [float(line["loss"]) for line in log if "loss" in line] == [3.0, 1.0]
    assert log[-1]["top1_acc"] == "50.00"


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(InputError, match=r"stdout.log: there is no such log"):
        read_log(tmp_path)


def test_a_line_that_goes_on_after_a_cut_one_is_read(tmp_path):
    cut = '[INFO] json_stats: {"_type": "train_iter", "epoch": "1/2", "loss": 3'
    whole = '[INFO] json_stats: {"_type": "val_epoch", "epoch": "1/2", "top1_err": 20.0}'
    (tmp_path / "stdout.log").write_text(f"{cut}{whole}\n")
    assert [line["_type"] for line in read_log(tmp_path)] == ["val_epoch"]
