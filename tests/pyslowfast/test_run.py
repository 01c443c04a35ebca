"""``slowfast-ac run`` as a user starts it: real processes, real videos, a real kill."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

PTV = pytest.mark.needs("slowfast/models/ptv_model_builder.py")


def test_a_run_logs_both_terms(finished, json_stats):
    lines = json_stats((finished / "stdout.log").read_text())
    epochs = [line for line in lines if line.get("_type") == "train_epoch"]
    assert [line["epoch"] for line in epochs] == ["1/2", "2/2"]
    for line in epochs:
        assert line["loss"] == pytest.approx(line["loss_0"] + 1.5 * line["loss_1"], rel=1e-3)
        assert line["loss_1"] > 0


def test_a_run_leaves_checkpoints_config_and_scores(finished):
    names = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert names == ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002.pyth"]
    assert "attention_consistency" in (finished / "config.yaml").read_text()
    assert (finished / "test_results.pkl").stat().st_size > 0


def test_top5_of_three_classes_is_everything(finished, json_stats):
    lines = json_stats((finished / "stdout.log").read_text())
    final = [line for line in lines if line.get("split") == "test_final"]
    assert float(final[-1]["top5_acc"]) == 100


def test_scores_are_sums_of_softmax_over_views(finished):
    from slowfast_ac.checkpoint.unpickle import safe_load

    scores, labels = safe_load(finished / "test_results.pkl")
    views = 2 * 3
    assert scores.shape == (6, 3)
    np.testing.assert_allclose(scores.sum(dim=1), views, rtol=1e-4)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(finished, runs, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    before = torch.load(
        tmp_path / "copy/checkpoints/checkpoint_epoch_00002.pyth", weights_only=True
    )
    runs(tmp_path / "copy", "TEST.ENABLE", False)
    after = torch.load(tmp_path / "copy/checkpoints/checkpoint_epoch_00002.pyth", weights_only=True)
    assert all(torch.equal(before["model_state"][k], v) for k, v in after["model_state"].items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "SlowFastAC",
        "SlowFast",
        pytest.param("PTVSlowFastAC", marks=PTV),
    ],
)
def test_killed_in_an_epoch_it_resumes_from_the_last_checkpoint(runs, tmp_path, model):
    loss = "cross_entropy" if model == "SlowFast" else "attention_consistency"
    opts = ("MODEL.MODEL_NAME", model, "MODEL.LOSS_FUNC", loss)
    opts += ("SOLVER.MAX_EPOCH", 3, "TRAIN.EVAL_PERIOD", 10, "TEST.NUM_ENSEMBLE_VIEWS", 1)
    runs.kill(tmp_path, *opts, when=r'"epoch": "2/3".*"iter": "1/')
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert names == ["checkpoint_epoch_00001.pyth"]

    printed = runs(tmp_path, *opts)
    assert "Start epoch: 2" in printed
    assert "epoch 1/3" not in printed and "epoch 2/3" in printed
    assert (tmp_path / "checkpoints/checkpoint_epoch_00003.pyth").is_file()
    assert re.search(r"^test  top-1 ", printed, re.M)


@pytest.mark.checkout
def test_no_file_of_the_checkout_is_touched(upstream, runs, contents, tmp_path):
    before = contents(upstream.root)
    runs(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.NUM_ENSEMBLE_VIEWS", 1)
    assert contents(upstream.root) == before


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("DATA.PATH_TO_DATA_DIR", "nowhere"), r"nowhere/train.csv"),
        (
            ("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]]),
            r"RESNET.SPATIAL_STRIDES: .* is for one pathway, but MODEL.ARCH slowfast has two",
        ),
        (("DATA.NUM_FRAMES", 10), r"DATA.NUM_FRAMES: 10 frames do not divide by SLOWFAST.ALPHA 4"),
        (("RESNET.DEPTH", 34), r"RESNET.DEPTH: 34 is not one of this PySlowFast's: .*50, 101"),
        (
            ("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 5], [6, 6], [3, 3]]),
            r"RESNET.NUM_BLOCK_TEMP_KERNEL: .* exceeds the 3, 4, 6, 3 blocks of RESNET.DEPTH 50",
        ),
        (("DATA.TRAIN_CROP_SIZE", 70), r"DATA.TRAIN_CROP_SIZE: 70 .* try 64"),
        (("DATA.TRAIN_CROP_SIZE", 96), r"DATA.TEST_CROP_SIZE: 64 is smaller"),
        (("MODEL.NUM_CLASSES", 2), r"train.csv.*2"),
        (
            ("MODEL.MODELNAME", "x"),
            r"unknown config key MODEL.MODELNAME; did you mean MODEL.MODEL_",
        ),
        (("MODEL.MODEL_NAME", "SlowFastAc"), r"MODEL.MODEL_NAME: 'SlowFastAc'.*SlowFastAC"),
        (("MODEL.MODEL_NAME", "SlowFast"), r"MODEL.LOSS_FUNC: attention_consistency needs"),
        (("DETECTION.ENABLE", True), r"DETECTION.ENABLE: SlowFastAC is not defined for boxes"),
        (("AC.CLASSES", "some"), r"AC.CLASSES: 'some' is not one of all, label"),
        (("TRAIN.ENABLE", False), r"TEST.CHECKPOINT_FILE_PATH: empty.* random weights"),
        (("TRAIN.BATCH_SIZE", 64), r"TRAIN.BATCH_SIZE: 64 exceeds the 12 videos"),
        (("NUM_GPUS", 64), r"NUM_GPUS: 64"),
        (("TRAIN.CHECKPOINT_FILE_PATH", "no.pyth"), r"no.pyth: there is no such checkpoint"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(upstream, refused, tmp_path, opts, message):
    assert re.search(message, refused(tmp_path / "output", *opts))
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_the_command_exits_with_status_2(runs, tmp_path):
    status, _, errors = runs.fails(tmp_path / "output", "DATA.NUM_FRAMES", 10)
    assert status == 2
    assert errors.startswith("slowfast-ac: DATA.NUM_FRAMES: 10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip.mp4,1\n", r"train.csv.*1.*','"),
        ("clip.mp4 one\n", r"train.csv.*1.*one"),
        ("", r"train.csv.*"),
    ],
)
def test_bad_lists_are_refused_by_line(video_lists, refused, tmp_path, text, message):
    lists = tmp_path / "lists"
    shutil.copytree(video_lists, lists)
    (lists / "train.csv").write_text(text)
    assert re.search(message, refused(tmp_path / "output", lists=lists))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_an_unreadable_video_is_named_with_its_reason(video_lists, refused, tmp_path, content):
    lists = tmp_path / "lists"
    lists.mkdir()
    for split in ("train", "val", "test"):
        shutil.copy(video_lists / f"{split}.csv", lists)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(content)
    with open(lists / "val.csv", "a") as file:
        file.write(f"{bad} 1\n")
    reason = "empty" if not content else "Invalid data"
    line = refused(tmp_path / "output", lists=lists)
    assert re.search(rf"val.csv line 7: .*bad.mp4.*{reason}", line), line
    assert not (tmp_path / "output").exists()


def test_a_truncated_checkpoint_is_named(finished, refused, tmp_path):
    path = tmp_path / "cut.pyth"
    whole = finished / "checkpoints/checkpoint_epoch_00002.pyth"
    path.write_bytes(whole.read_bytes()[:100_000])
    opts = ("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", path)
    line = refused(tmp_path / "output", *opts)
    assert f"{path}: the checkpoint is truncated" in line


def test_a_config_cannot_run_code(refused, tmp_path):
    witness = tmp_path / "witness"
    path = tmp_path / "evil.yaml"
    path.write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{witness}']\n")
    line = refused(tmp_path / "output", cfg=path)
    assert "evil.yaml: not a yaml config" in line
    assert not witness.exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_of_the_test_that_cannot_be_read_is_named_in_one_line(
    runs, finished, tmp_path, workers
):
    lists = tmp_path / "lists"
    shutil.copytree(runs.lists, lists)
    lines = (lists / "test.csv").read_text().splitlines()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (lists / "test.csv").write_text("\n".join([*lines, f"{tmp_path}/broken.mp4 1"]) + "\n")
    options = ["TRAIN.ENABLE", False, "DATA_LOADER.NUM_WORKERS", workers]
    shutil.copytree(finished, tmp_path / "out")
    command = runs.arguments(tmp_path / "out", *options, lists=lists)
    process = subprocess.run(
        [sys.executable, "-m", "slowfast_ac", "run", "--no-open-videos", *command[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2, process.stderr[-3000:]
    assert process.stderr.splitlines()[-1] == (
        f"slowfast-ac: {tmp_path}/broken.mp4: cannot be read; slowfast-ac check-data LIST "
        "--write-clean FILE writes a list without such videos"
    )
    assert "Traceback" not in process.stderr
