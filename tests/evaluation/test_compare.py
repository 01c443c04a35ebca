"""Comparisons, against scipy, scikit-learn and cases worked out by hand."""

import json

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score, precision_score

from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.compare import compare, overall, per_class, read_groups
from slowfast_ac.evaluation.results import Results
from slowfast_ac.evaluation.significance import difference_interval, holm, mcnemar, wilson


@pytest.mark.parametrize(("gained", "lost"), [(10, 2), (3, 3), (0, 7), (1, 0)])
def test_mcnemar_is_the_binomial_tail_of_the_videos_that_differ(gained, lost):
    baseline = np.array([False] * gained + [True] * lost + [True] * 20)
    other = np.array([True] * gained + [False] * lost + [True] * 20)
    count = gained + lost
    tail = scipy.stats.binom.cdf(min(gained, lost), count, 0.5)
    assert mcnemar(baseline, other) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_of_equal_results_is_one():
    assert mcnemar(np.ones(5, bool), np.ones(5, bool)) == 1


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert (holm(np.linspace(0.5, 1, 9)) <= 1).all()


def test_wilson_by_its_formula():
    z, n, p = scipy.stats.norm.ppf(0.975), 50, 0.8
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    np.testing.assert_allclose(wilson(40, 50), (middle - half, middle + half))


def two_results(gained, lost, total):
    order = np.arange(total)
    return order >= gained, (order < gained) | (order >= gained + lost)


def test_the_difference_lies_in_its_interval_as_often_as_it_claims():
    total, shares = 40, np.array([0.12, 0.05, 0.83])
    covered = 0.0
    for gained in range(total + 1):
        for lost in range(total + 1 - gained):
            low, high = difference_interval(*two_results(gained, lost, total))
            if low <= shares[0] - shares[1] <= high:
                counts = [gained, lost, total - gained - lost]
                covered += scipy.stats.multinomial.pmf(counts, total, shares)
    assert 0.94 < covered < 0.98


def test_the_interval_of_many_videos_is_that_of_a_paired_mean():
    baseline, other = two_results(1300, 900, 10_000)
    changes = other.astype(float) - baseline
    error = scipy.stats.sem(changes)
    expected = scipy.stats.norm.interval(0.95, loc=changes.mean(), scale=error)
    np.testing.assert_allclose(difference_interval(baseline, other), expected, atol=2e-4)


@pytest.mark.parametrize("total", [1, 10, 400])
def test_results_that_never_differ_still_have_an_interval(total):
    low, high = difference_interval(np.ones(total, bool), np.ones(total, bool))
    assert low == pytest.approx(-high)
    assert 1.9 / (total + 2) < high <= 1


def test_overall_counts_by_hand(make_results):
    labels = [0, 0, 1, 1, 2]
    summary = overall(
        make_results([0, 1, 1, 0, 0], labels, 3), make_results([0, 0, 1, 1, 0], labels, 3)
    )
    assert summary["baseline"]["top1"] == pytest.approx(2 / 5)
    assert summary["other"]["top1"] == pytest.approx(4 / 5)
    assert (summary["gained"], summary["lost"]) == (2, 0)
    assert summary["other"]["top5"] == 1  # three classes


def test_per_class_is_sklearns_precision_and_recall(make_pair):
    first, second = make_pair()
    rows = per_class(first, second, list("abcdef"))
    predicted = second.scores.argmax(axis=1)
    expected = precision_score(second.labels, predicted, average=None)
    np.testing.assert_allclose([row["other_precision"] for row in rows], expected)
    expected = f1_score(second.labels, predicted, average=None)
    np.testing.assert_allclose([row["other_f1"] for row in rows], expected)
    np.testing.assert_allclose(
        [row["other"] for row in rows], [row["other_recall"] for row in rows]
    )
    assert sum(row["videos"] for row in rows) == 120
    for row in rows:
        right = round(row["other"] * row["videos"])
        assert (row["other_low"], row["other_high"]) == wilson(right, row["videos"])
        assert row["baseline_low"] < row["baseline"] < row["baseline_high"]


@pytest.mark.parametrize("classes", [2, pytest.param(101, marks=pytest.mark.slow)])
def test_everything_is_written(tmp_path, classes, make_pair, write_results):
    first, second = make_pair(classes, videos=4 * classes)
    names = {f"class {number}": number for number in range(classes)}
    (tmp_path / "classes.json").write_text(json.dumps(names))
    text = compare(
        write_results(tmp_path / "a.pkl", first),
        write_results(tmp_path / "b.pkl", second),
        tmp_path / "output",
        tmp_path / "classes.json",
    )
    assert f"# Comparison on {4 * classes} videos" in text
    written = {path.name for path in (tmp_path / "output").iterdir()}
    tables = {"compare.md", "compare.json", "per_class.csv", "per_class.png"}
    pictures = {f"confusion_{w}.{s}" for w in ("baseline", "other") for s in ("csv", "png")}
    assert written == tables | pictures


def test_the_papers_groups_are_found_in_kinetics_names(tmp_path):
    from slowfast_ac.evaluation.compare import PAPER_GROUPS

    names = ["abseiling", "Applauding", "capoeira", "bartending"]
    assert read_groups(PAPER_GROUPS, names, strict=False) == {
        "crowds (Table 1)": [1, 3],
        "fast motion (Table 2)": [2],
    }


def test_missing_members_of_the_papers_groups_are_named(tmp_path, make_pair, write_results):
    first, second = make_pair(classes=3)
    classes = {"capoeira": 0, "archery": 1, "abseiling": 2}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    text = compare(
        write_results(tmp_path / "a.pkl", first),
        write_results(tmp_path / "b.pkl", second),
        tmp_path / "output",
        tmp_path / "classes.json",
    )
    (line,) = [line for line in text.splitlines() if "Not classes of this test" in line]
    assert line.startswith("Not classes of this test, in the group fast motion (Table 2):")
    assert "skateboarding" in line
    assert "capoeira" not in line
    assert "archery" not in line


def test_a_users_group_with_an_unknown_class_is_refused(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text('{"mine": ["running", "flying"]}')
    with pytest.raises(InputError, match="groups.json: 'flying' of group 'mine'"):
        read_groups(path, ["running"], strict=True)


def test_other_videos_are_refused(tmp_path, make_pair, write_results):
    first, second = make_pair()
    other = Results(second.scores, np.roll(second.labels, 1))
    with pytest.raises(InputError, match="not the same videos"):
        compare(
            write_results(tmp_path / "a.pkl", first),
            write_results(tmp_path / "b.pkl", other),
            tmp_path / "o",
        )
    fewer = Results(second.scores[:5], second.labels[:5])
    with pytest.raises(InputError, match="5 videos of 6 classes"):
        compare(
            write_results(tmp_path / "a.pkl", first),
            write_results(tmp_path / "b.pkl", fewer),
            tmp_path / "o",
        )
    assert not (tmp_path / "o").exists()


def test_several_labels_are_compared_by_average_precision(tmp_path, write_results):
    rng = np.random.default_rng(0)
    labels = (rng.random((30, 4)) < 0.3).astype(int)
    perfect = Results(labels.astype(float), labels)
    noise = Results(rng.random((30, 4)), labels)
    text = compare(
        write_results(tmp_path / "a.pkl", noise),
        write_results(tmp_path / "b.pkl", perfect),
        tmp_path / "o",
    )
    assert "100.00 (other)" in text


def test_runs_that_name_other_videos_are_refused(tmp_path, make_results, write_results):
    result = make_results([0, 0], [0, 1], 2)
    runs = [tmp_path / name for name in "ab"]
    for run, videos in zip(runs, ("12", "13"), strict=True):
        (run / "data").mkdir(parents=True)
        lines = (f"/{video}.mp4 {label}\n" for label, video in enumerate(videos))
        (run / "data/test.csv").write_text("".join(lines))
        (run / "config.yaml").write_text(f"DATA: {{PATH_TO_DATA_DIR: {run / 'data'}}}\n")
        write_results(run / "test_results.pkl", result)
    with pytest.raises(
        InputError, match=r"b: tested on /3.mp4, but .*a on /2.mp4; .* result files"
    ):
        compare(*runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    compare(*(run / "test_results.pkl" for run in runs), tmp_path / "out")
    compare(runs[0], runs[0], tmp_path / "same")
    # Copies of the same videos in another folder.
    for run in runs:
        (run / "data/test.csv").write_text("1.mp4 0\n2.mp4 1\n")
        keys = f"{{PATH_TO_DATA_DIR: {run / 'data'}, PATH_PREFIX: /{run.name}}}"
        (run / "config.yaml").write_text(f"DATA: {keys}\n")
    compare(*runs, tmp_path / "copies")


def test_a_group_hides_no_row_and_an_empty_one_is_named(tmp_path, make_results, write_results):
    baseline = write_results(tmp_path / "a.pkl", make_results([0, 0, 0], [0, 1, 1], 3))
    other = write_results(tmp_path / "b.pkl", make_results([0, 1, 1], [0, 1, 1], 3))
    (tmp_path / "groups.json").write_text('{"all": ["0"], "third": ["2"]}')
    text = compare(baseline, other, tmp_path / "out", groups=tmp_path / "groups.json")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| all")]
    assert rows == ["all, 3", "all, 1"]
    assert "No video of this test is in the group third." in text
