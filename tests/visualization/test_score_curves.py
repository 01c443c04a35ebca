"""The picture of a long video's scores shows the right classes at the right times."""

import contextlib

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction
from slowfast_ac.visualization import score_curves
from slowfast_ac.visualization.score_curves import draw_score_curves, leading_classes

NAMES = ("run", "_jump", "$sit$", "stand")
SCORES = [[0.1, 0.6, 0.3, 0.0], [0.1, 0.2, 0.7, 0.0], [0.5, 0.4, 0.1, 0.0]]
SPANS = [(0.0, 2.0), (1.5, 3.5), (2.5, 4.5)]


@pytest.fixture
def model():
    preprocessing = Preprocessing(num_frames=4, sampling_rate=1, alpha=None, crop_size=8)
    return TrainedModel("stub", lambda pathways: pathways[0], preprocessing, 4, NAMES)


@pytest.fixture
def predictions():
    pairs = zip(SPANS, SCORES, strict=True)
    return [Prediction(*span, np.array(scores, np.float32)) for span, scores in pairs]


def test_the_classes_with_the_highest_scores_lead(predictions):
    assert leading_classes(predictions, 2) == [2, 1]
    assert leading_classes(predictions, 9) == [2, 1, 0, 3]
    assert len(leading_classes([Prediction(0.0, 1.0, np.linspace(0, 1, 20))], 20)) == 8


def test_curves_have_each_windows_score_at_its_middle(model, predictions, monkeypatch):
    figures = []

    @contextlib.contextmanager
    def kept(path, **options):
        figures.append(Figure(**options))
        yield figures[-1]

    monkeypatch.setattr(score_curves, "saved_figure", kept)
    draw_score_curves("unused.png", "folder/long.mp4", model, predictions, [2, 1, 0])
    [figure] = figures
    [axis] = figure.axes
    assert axis.get_title() == "long.mp4"
    assert axis.get_xlim() == (0.0, 4.5)
    assert len(axis.lines) == 3
    for line, number in zip(axis.lines, (2, 1, 0), strict=True):
        assert line.get_xdata().tolist() == [1.0, 2.5, 3.5]
        np.testing.assert_allclose(line.get_ydata(), np.array(SCORES)[:, number], rtol=1e-6)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["$sit$", "_jump", "run"]


@pytest.mark.parametrize("count", [1, 3])
def test_the_picture_is_written(model, predictions, tmp_path, count):
    path = tmp_path / "new" / "long.timeline.png"
    draw_score_curves(path, "long.mp4", model, predictions[:count], [3, 0])
    assert cv2.imread(str(path)).std() > 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]
