"""What surrounds upstream's loop: configs, folders, locks, the log and the closing lines."""

import re
import shutil

import pytest

from slowfast_ac.cli import main
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation import run_summary
from slowfast_ac.pyslowfast import launch
from slowfast_ac.pyslowfast.outputs import check_outputs, hold
from slowfast_ac.pyslowfast.repairs import apply_repairs


@pytest.fixture
def copy(finished, tmp_path):
    """OUTPUT_DIR of a finished run that the test may change."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.mark.slow
def test_a_series_of_tests_has_1_3_5_7_and_10_views_and_its_folder_is_made(runs, json_stats, copy):
    log = copy / "stdout.log"
    before = len(log.read_text())
    printed = runs(
        *(copy, "TRAIN.ENABLE", False, "TEST.NUM_ENSEMBLE_VIEWS", -1),
        *("TEST.NUM_SPATIAL_CROPS", 1, "TEST.SAVE_RESULTS_PATH", "a/b/test.pkl"),
    )
    batches, tests = 0, []
    for line in json_stats(log.read_text()[before:]):
        batches += line.get("split") == "test_iter"
        if line.get("split") == "test_final":
            tests.append(batches)
            batches = 0
    assert tests == [1, 3, 5, 7, 10]  # each batch has one view of each of the six videos
    assert (copy / "a/b/test.pkl").stat().st_size > 0
    views = re.findall(r"by video +top-1 .* \(test: (\d+) views? x 1 crop of each video\)", printed)
    assert views == ["1", "3", "5", "7", "10"]
    assert f"{copy / 'a/b/test.pkl'} (of 10 views, the last test)" in printed
    assert "by clip" not in printed  # it did not train


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (
            ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy"),
            r"checkpoint_epoch_00002.pyth: does not fit SlowFast(Model)?: s2.pathway0_res0",
        ),
        (("MODEL.NUM_CLASSES", 4), r"epoch_00002.pyth: cannot be continued: .*head.projection"),
        (("FINETUNE.BACKBONE_LR_FACTOR", 0.5), r"cannot be continued: its optimizer has other gr"),
        (
            ("MODEL.NUM_CLASSES", 4, "TRAIN.ENABLE", False),
            r"epoch_00002.pyth: holds SlowFastAC of 3 classes, .*not tested",
        ),
    ],
)
def test_what_does_not_fit_a_finished_run_leaves_it_as_it_was(
    refused, contents, copy, opts, message
):
    before = contents(copy)
    assert re.search(message, refused(copy, *opts))
    assert contents(copy) == before


def test_a_test_of_another_checkpoint_is_refused_before_the_training(refused, finished, tmp_path):
    other = finished / "checkpoints/checkpoint_epoch_00002.pyth"
    line = refused(
        *(tmp_path / "output", "MODEL.NUM_CLASSES", 4, "TEST.CHECKPOINT_FILE_PATH", other)
    )
    assert "holds SlowFastAC of 3 classes" in line
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("output", "opts", "message"),
    [
        ("file/run", (), r"OUTPUT_DIR: \S*file/run cannot be made, since \S*file is a file"),
        ("run", ("TEST.SAVE_RESULTS_PATH", "."), r"SAVE_RESULTS_PATH: \S*run is a folder"),
        ("run", ("TEST.SAVE_RESULTS_PATH", "../file/x.pkl"), r"SAVE_RESULTS_PATH: .*is a file"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(tiny_cfg, tmp_path, output, opts, message):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    cfg = tiny_cfg("OUTPUT_DIR", str(tmp_path / output), *opts)
    with pytest.raises(InputError, match=message):
        check_outputs(cfg)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "run"]


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused(runs, tiny_cfg, contents, copy):
    before = contents(copy)
    with hold(tiny_cfg("OUTPUT_DIR", str(copy))):
        status, _, errors = runs.fails(copy)
        after = contents(copy)
    assert status == 2
    assert re.search(rf"OUTPUT_DIR: another run, process \d+ on \S+, is at work in {copy}", errors)
    assert {path for path in after if after[path] != before.get(path)} == {copy / ".running-0"}


def test_each_machine_of_a_run_holds_the_folder_for_itself(tiny_cfg, tmp_path):
    first, second = (tiny_cfg("OUTPUT_DIR", str(tmp_path), "SHARD_ID", n) for n in (0, 1))
    with hold(first), hold(second):
        pass


def test_the_log_has_one_line_for_each_repair(upstream, finished):
    lines = (finished / "stdout.log").read_text().splitlines()
    said = [re.search(r"repaired ([^:]+): ", line)[1] for line in lines if "repaired" in line]
    assert said == [repair.name for repair in apply_repairs(upstream)]


@pytest.mark.needs("slowfast/models/masked.py")  # of the age of the key
def test_a_series_of_upstreams_own_is_counted_too(tiny_cfg):
    from slowfast_ac.pyslowfast.launch import tested_views

    assert tested_views(tiny_cfg("TEST.NUM_ENSEMBLE_VIEWS", 4)) == [4]
    assert tested_views(tiny_cfg("TEST.NUM_TEMPORAL_CLIPS", [3, 5])) == [3, 5]
    assert tested_views(tiny_cfg("TEST.ENABLE", False)) == []


def test_what_upstream_asserts_is_one_line(upstream, refused, tmp_path):
    from slowfast.config import defaults

    if upstream.kind == "wheel" or not hasattr(defaults, "assert_and_infer_cfg"):
        pytest.skip("this PySlowFast asserts nothing of a config")
    line = refused(tmp_path / "output", "TRAIN.CHECKPOINT_TYPE", "keras")
    assert "PySlowFast refuses the config: assert cfg.TRAIN.CHECKPOINT_TYPE in" in line
    assert not (tmp_path / "output").exists()


def test_a_run_begins_with_what_its_config_means_and_always_keeps_the_scores(
    runs, tmp_path, monkeypatch, capsys
):
    configs = []
    monkeypatch.setattr(launch, "_run_config", lambda cfg, *_: configs.append(cfg))
    monkeypatch.setattr(run_summary, "summarize", lambda *_, **__: [])
    assert main(runs.arguments(tmp_path, "TEST.SAVE_RESULTS_PATH", "")) == 0
    assert configs[0].TEST.SAVE_RESULTS_PATH == "test_results.pkl"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *("clip", "pathways", "maps", "batch", "steps", "learning rate", "test"),
    ]
    assert lines[2].split("  ")[-1].strip().startswith("2 x 2 at a crop of 64; AC.LAMBDA 1.5")
    count = len((runs.lists / "train.csv").read_text().splitlines())
    assert f"of {count} videos" in lines[4]
