"""The evaluation of one result, against scikit-learn and cases worked out by hand."""

import json

import numpy as np
import pandas
import pytest
from sklearn.metrics import log_loss, recall_score, top_k_accuracy_score

from slowfast_ac.cli import main
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.classification import calibration
from slowfast_ac.evaluation.evaluate import evaluate, mistakes
from slowfast_ac.evaluation.results import Results


@pytest.fixture
def random_results():
    rng = np.random.default_rng(0)
    labels = rng.integers(7, size=200)
    scores = rng.random((200, 7)) + 2 * np.eye(7)[labels] * rng.random((200, 1))
    return Results(scores / scores.sum(axis=1, keepdims=True), labels)


def test_the_numbers_are_scikit_learns(tmp_path, random_results, write_results):
    evaluate(write_results(tmp_path / "r.pkl", random_results), tmp_path / "out")
    summary = json.loads((tmp_path / "out/evaluate.json").read_text())
    labels, scores = random_results.labels, random_results.scores
    for best in (1, 5):
        expected = top_k_accuracy_score(labels, scores, k=best, labels=range(7))
        assert summary[f"top{best}"] == pytest.approx(expected)
        low, high = summary[f"top{best}_interval"]
        assert low < expected < high
    assert summary["log_loss"] == pytest.approx(log_loss(labels, scores))
    table = pandas.read_csv(tmp_path / "out/per_class.csv")
    recall = recall_score(labels, scores.argmax(axis=1), average=None)
    np.testing.assert_allclose(table["recall"], recall)
    assert (table["recall_low"] < recall).all() and (recall < table["recall_high"]).all()
    assert table["videos"].tolist() == np.bincount(labels).tolist()


def test_calibration_by_hand():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    summary, table = calibration(Results(scores, np.array([0, 1, 1, 1])), bins=2)
    # One bin: mean score 0.775, three of four right.
    assert summary["expected_calibration_error"] == pytest.approx(0.025)
    assert table.to_dict("records") == [
        {"videos": 4, "score": pytest.approx(0.775), "accuracy": pytest.approx(0.75)}
    ]
    summary, table = calibration(Results(scores, np.array([0, 1, 1, 1])), bins=20)
    # Scores 0.6, 0.7 (right) and 0.9, 0.9 (one of two right).
    assert summary["expected_calibration_error"] == pytest.approx((0.4 + 0.3 + 2 * 0.4) / 4)
    assert table["videos"].tolist() == [1, 1, 2]


def test_mistakes_are_named_the_most_confident_first():
    scores = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    table = mistakes(Results(scores, np.array([1, 1, 1])), ["nod", "shake"], ["a", "b", "c"])
    assert table["video"].tolist() == ["b", "a"]
    assert table["score"].tolist() == [0.9, 0.6]
    assert table["true_score"].tolist() == [0.1, 0.4]
    assert set(table["true"]) == {"shake"} and set(table["predicted"]) == {"nod"}


def test_a_run_directory_brings_its_videos_names_and_accuracy_by_clip(
    tmp_path, make_results, write_results, capsys
):
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    (data / "test.csv").write_text("a.mp4 0\nb$x.mp4 1\n")
    (data / "classes.json").write_text('{"nod": 0, "shake $a": 1}')
    (run / "config.yaml").write_text(f"DATA: {{PATH_TO_DATA_DIR: {data}, PATH_PREFIX: /videos}}\n")
    stats = {"_type": "val_epoch", "epoch": "1/1", "top1_err": 25.0, "top5_err": 0.0}
    (run / "stdout.log").write_text(f"json_stats: {json.dumps(stats)}\n")
    write_results(run / "test_results.pkl", make_results([0, 0], [0, 1], 2))
    assert main(["evaluate", str(run), "--output", str(tmp_path / "out")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "| top-1 | 50.0 | 9.5 to 90.5 | 75.0 |" in shown
    wrong = pandas.read_csv(tmp_path / "out/mistakes.csv")
    assert wrong["video"].tolist() == ["/videos/b$x.mp4"]
    assert wrong["true"].tolist() == ["shake $a"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"confusion.png", "calibration.png"} < written


def test_a_damaged_config_of_the_run_is_named(tmp_path, make_results, write_results, capsys):
    write_results(tmp_path / "test_results.pkl", make_results([0, 0], [0, 1], 2))
    for content in ("DATA: [", "- a", "DATA: 3"):
        (tmp_path / "config.yaml").write_text(content)
        status = main(["evaluate", str(tmp_path), "--output", str(tmp_path / "out")])
        known = content == "DATA: 3"  # a config without the folder of the lists
        assert status == (0 if known else 2)
        assert known or capsys.readouterr().err.startswith(f"slowfast-ac: {tmp_path}/config.yaml: ")


def test_earlier_results_are_not_overwritten(tmp_path, make_pair, write_results, capsys):
    paths = [str(write_results(tmp_path / f"{n}.pkl", r)) for n, r in enumerate(make_pair())]
    for command in (["evaluate", paths[0]], ["compare", *paths]):
        words = [*command, "--output", str(tmp_path / command[0])]
        assert main(words) == 0
        before = {path: path.read_bytes() for path in (tmp_path / command[0]).iterdir()}
        assert main(words) == 2
        assert f"{command[0]}.md: exists; choose another --output" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in (tmp_path / command[0]).iterdir()} == before
        assert main([*words, "--overwrite"]) == 0


def test_a_list_of_other_videos_is_refused(tmp_path, make_pair, write_results):
    path = write_results(tmp_path / "r.pkl", make_pair()[0])
    (tmp_path / "test.csv").write_text("a.mp4 0\n")
    with pytest.raises(InputError, match="test.csv: 1 videos, but the results have 120"):
        evaluate(path, tmp_path / "out", test_list=tmp_path / "test.csv")
    assert not (tmp_path / "out").exists()


def make_run(folder, lines, **data):
    """Makes a run's folder with a list of its tested videos."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/test.csv").write_text("".join(f"{line}\n" for line in lines))
    config = {"DATA": {"PATH_TO_DATA_DIR": str(folder / "data"), **data}}
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def test_videos_are_not_named_from_a_list_that_has_changed(tmp_path, make_results, write_results):
    run = make_run(tmp_path / "run", ["b.mp4 1", "a.mp4 0"])
    write_results(run / "test_results.pkl", make_results([0, 0], [0, 1], 2))
    text = evaluate(run, tmp_path / "out")
    assert "not named: " in text
    assert "test.csv line 1: label 1, but the results have 0" in text
    assert pandas.read_csv(tmp_path / "out/mistakes.csv")["video"].tolist() == [1]
    # A list that is given has to fit.
    with pytest.raises(InputError, match="test.csv line 1: label 1, but the results have 0"):
        evaluate(run, tmp_path / "other", test_list=run / "data/test.csv")
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="--streams: .* line 1: label 1"):
        evaluate(run, tmp_path / "other", streams=True)


def test_a_list_of_other_columns_names_no_video(tmp_path, make_results, write_results):
    run = make_run(tmp_path / "run", ["original_vido_id video_id frame_id path labels"])
    write_results(run / "test_results.pkl", make_results([0, 0], [0, 1], 2))
    assert "not named: " in evaluate(run, tmp_path / "out")


def test_a_given_list_is_read_as_the_run_reads_it(tmp_path, make_results, write_results):
    keys = {"PATH_PREFIX": "/videos", "PATH_LABEL_SEPARATOR": ","}
    run = make_run(tmp_path / "run", ["a b.mp4,0", "c.mp4,1"], **keys)
    write_results(run / "test_results.pkl", make_results([1, 0], [0, 1], 2))
    evaluate(run, tmp_path / "own")
    evaluate(run, tmp_path / "given", test_list=run / "data/test.csv")
    for name in ("own", "given"):
        videos = pandas.read_csv(tmp_path / name / "mistakes.csv")["video"]
        assert set(videos) == {"/videos/a b.mp4", "/videos/c.mp4"}


def test_files_of_an_earlier_evaluation_do_not_stay_beside_the_new_ones(
    tmp_path, make_results, write_results
):
    path, out = write_results(tmp_path / "r.pkl", make_results([0, 0], [0, 1], 2)), tmp_path / "out"
    out.mkdir()
    (out / "streams.csv").touch()
    evaluate(path, out)
    assert (out / "streams.csv").exists(), "another program's file is removed"
    evaluate(path, out, overwrite=True)
    assert not (out / "streams.csv").exists()
    assert (out / "mistakes.csv").exists()
    labels = np.array([[1, 0], [0, 1]])
    evaluate(write_results(path, Results(labels.astype(float), labels)), out, overwrite=True)
    assert {file.name for file in out.iterdir()} == {
        *("evaluate.md", "evaluate.json", "per_class.csv")
    }


def test_an_output_that_is_a_file_is_refused(tmp_path, make_results, write_results):
    path = write_results(tmp_path / "r.pkl", make_results([0, 0], [0, 1], 2))
    with pytest.raises(InputError, match="--output: .*r.pkl cannot be made, since .* is a file"):
        evaluate(path, path)


def test_several_labels_give_mean_average_precision(tmp_path, write_results):
    labels = (np.random.default_rng(0).random((30, 4)) < 0.3).astype(int)
    path = write_results(tmp_path / "r.pkl", Results(labels.astype(float), labels))
    assert "Mean average precision 100.00 over the 4" in evaluate(path, tmp_path / "out")
