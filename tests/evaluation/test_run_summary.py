"""The closing lines of a run, from logs as upstream writes them."""

import json

from slowfast_ac.evaluation.run_summary import summarize


def write(folder, *lines):
    (folder / "checkpoints").mkdir()
    for epoch in (1, 2):
        (folder / f"checkpoints/checkpoint_epoch_0000{epoch}.pyth").touch()
    log = "".join(f"[INFO] logging.py: json_stats: {json.dumps(line)}\n" for line in lines)
    (folder / "stdout.log").write_text(log)


def test_files_and_accuracies_by_clip_and_by_video(tmp_path):
    write(
        tmp_path,
        {"_type": "val_epoch", "epoch": "1/2", "top1_err": 50.0, "top5_err": 20.0},
        {"_type": "val_epoch", "epoch": "2/2", "top1_err": 40.0, "top5_err": 10.0},
        {"split": "test_final", "top1_acc": "1.00", "top5_acc": "2.00"},  # an earlier run's
        {"split": "test_final", "top1_acc": "70.00", "top5_acc": "95.00"},
    )
    results = tmp_path / "test.pkl"
    lines = list(summarize(tmp_path, trained=True, views=(10,), crops=3, results=results))
    assert lines == [
        f"finished: {tmp_path}",
        f"  checkpoints     {tmp_path}/checkpoints (the last: checkpoint_epoch_00002.pyth)",
        f"  log             {tmp_path}/stdout.log",
        f"  test's scores   {results}",
        "  by clip         top-1 60.0 %, top-5 90.0 % (validation after epoch 2: one clip of each "
        "video)",
        "  by video        top-1 70.0 %, top-5 95.0 % (test: 10 views x 3 crops of each video)",
    ]


def test_multi_label_runs_have_mean_average_precision(tmp_path):
    write(
        tmp_path,
        {"_type": "val_epoch", "epoch": "3/2", "map": 0.25},  # of a finished training
        {"split": "test_final", "map": "31.50", "top1_acc": "31.50", "top5_acc": "31.50"},
    )
    *_, clip, video = summarize(tmp_path, trained=True, views=(1,), crops=1, results=None)
    assert clip.startswith("  by clip         mAP 25.0 % (validation after epoch 2")
    assert video == "  by video        mAP 31.5 % (test: 1 view x 1 crop of each video)"


def test_a_run_without_test_or_validation_has_neither(tmp_path):
    write(tmp_path)
    lines = list(summarize(tmp_path, trained=False, views=(), crops=3, results=None))
    assert lines == [f"finished: {tmp_path}", f"  log             {tmp_path}/stdout.log"]
