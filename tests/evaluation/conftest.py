"""Test results made by hand, and files of them."""

import pickle

import numpy as np
import pytest
import torch

from slowfast_ac.evaluation.results import Results


def results(predictions, labels, classes):
    """Results whose highest scores are at the predictions."""
    scores = np.full((len(labels), classes), 0.1)
    scores[np.arange(len(labels)), predictions] = 1
    return Results(scores / scores.sum(axis=1, keepdims=True), np.asarray(labels))


def write(path, value):
    """Writes a file of TEST.SAVE_RESULTS_PATH."""
    path.write_bytes(pickle.dumps([torch.tensor(value.scores), torch.tensor(value.labels)]))
    return path


def pair(classes=6, videos=120, seed=0):
    """Results of 50 and of 80 % on the same videos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=videos)
    made = []
    for accuracy in (0.5, 0.8):
        wrong = rng.integers(classes, size=videos)
        made.append(
            results(np.where(rng.random(videos) < accuracy, labels, wrong), labels, classes)
        )
    return made


@pytest.fixture
def make_results():
    """Returns :func:`results`."""
    return results


@pytest.fixture
def write_results():
    """Returns :func:`write`."""
    return write


@pytest.fixture
def make_pair():
    """Returns :func:`pair`."""
    return pair
