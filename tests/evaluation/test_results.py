"""Reading a run's results."""

import pickle

import numpy as np
import pytest
import torch

from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.results import Results, average_precision, read_results


def write(folder, scores, labels):
    (folder / "test_results.pkl").write_bytes(pickle.dumps([scores, labels]))
    return folder


def test_rows_of_scores_are_divided_by_their_sum(tmp_path):
    scores = torch.tensor([[4.0, 2.0], [0.0, 3.0]])
    results = read_results(write(tmp_path, scores, torch.tensor([0, 1])))
    np.testing.assert_allclose(results.scores, [[2 / 3, 1 / 3], [0, 1]])
    assert results.labels.tolist() == [0, 1]
    assert not results.multi_label


def test_a_file_and_its_run_directory_read_alike(tmp_path):
    folder = write(tmp_path, torch.rand(3, 4), torch.tensor([0, 1, 2]))
    first, second = read_results(folder), read_results(folder / "test_results.pkl")
    np.testing.assert_array_equal(first.scores, second.scores)


def test_multi_label_scores_stay_as_they_are(tmp_path):
    scores, labels = torch.rand(3, 4), torch.eye(3, 4)
    results = read_results(write(tmp_path, scores, labels))
    assert results.multi_label
    np.testing.assert_allclose(results.scores, scores)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (torch.rand(3, 4), torch.tensor([0, 1]), "do not fit"),
        (torch.zeros(2, 4), torch.tensor([0, 1]), "video 0 has no scores"),
        (torch.rand(3), torch.tensor([0, 1, 2]), "do not fit"),
        (torch.tensor([[1, 2], [1, torch.nan]]), torch.tensor([0, 1]), "video 1 has scores that"),
        (torch.tensor([[1, torch.inf], [1, 2]]), torch.eye(2), "video 0 has scores that are not"),
        (torch.rand(3, 4), torch.eye(3, 2), "do not fit"),
        (torch.rand(0, 4), torch.zeros(0).long(), "no videos"),
        (torch.rand(2, 4), torch.tensor([0, 4]), "label 4, but its scores are of 4 classes"),
        (torch.rand(2, 4), torch.tensor([0, -1]), "label -1"),
        (["running", "jumping"], torch.tensor([0, 1]), "not numbers"),
        ({"video": 1}, torch.tensor([0]), "not numbers"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, scores, labels, message):
    with pytest.raises(InputError, match=f"test_results.pkl.*{message}"):
        read_results(write(tmp_path, scores, labels))


def test_a_run_without_results_says_which_key_to_set(tmp_path):
    with pytest.raises(InputError, match="TEST.SAVE_RESULTS_PATH"):
        read_results(tmp_path)


@pytest.mark.checkout  # the wheel has no multi-label tests
def test_mean_average_precision_is_upstreams(upstream):
    from slowfast.utils.meters import get_map

    rng = np.random.default_rng(0)
    scores, labels = rng.random((30, 5)), (rng.random((30, 5)) < 0.3).astype(np.int64)
    labels[:, 2] = 0
    found = average_precision(Results(scores, labels))
    assert np.isnan(found).tolist() == [False, False, True, False, False]
    assert np.nanmean(found) == pytest.approx(get_map(scores, labels))
