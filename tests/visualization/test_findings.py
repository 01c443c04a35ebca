"""The page shows the right clips, classes and maps of a video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video import probe, read_frames, write_video
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction, predict
from slowfast_ac.visualization import findings
from slowfast_ac.visualization.findings import MOST_WINDOWS, draw_maps, find

NAMES = tuple("abcdefg")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 8 seconds that grows brighter, 25 frames a second."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    write_video(path, (np.full((64, 80, 3), 20 + time, np.uint8) for time in range(200)), 25)
    return str(path)


def stub(frames=16, **fields):
    """A network without maps; the score of its first class is the brightness of the clip."""
    preprocessing = Preprocessing(
        num_frames=frames,
        sampling_rate=2,
        alpha=None,
        crop_size=64,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        target_fps=25,
    )

    def scores(pathways):
        bright = pathways[0].mean(dim=(1, 2, 3, 4))[:, None]
        return torch.cat([bright, 1 - bright, torch.zeros(len(bright), 5)], dim=1)

    return replace(TrainedModel("stub", scores, preprocessing, 7, NAMES), **fields)


@pytest.fixture
def network(build_model, tiny_cfg):
    """A network with maps, of the stub's classes."""
    torch.manual_seed(0)
    cfg = tiny_cfg("DATA.NUM_FRAMES", 16, "DATA.SAMPLING_RATE", 2)
    model = build_model(cfg).eval()
    return stub(
        network=model,
        scores=torch.no_grad()(model),
        preprocessing=Preprocessing.from_config(cfg),
    )


def test_a_short_video_is_one_window(video, tmp_path):
    model = stub(frames=80)
    [found] = find({"net": model}, video, tmp_path, Views(2, 1)).values()
    [whole] = predict(model, video, Views(2, 1))
    np.testing.assert_array_equal(found.whole.scores, whole.scores)
    assert found.windows == [found.whole] and found.timeline is None


def test_a_long_video_is_shown_from_clip_to_clip(video, tmp_path):
    model = stub()
    [found] = find({"net": model}, video, tmp_path, CENTER_VIEW).values()
    expected = predict(model, video, CENTER_VIEW, stride=model.preprocessing.seconds)
    assert [(w.start, w.end) for w in found.windows] == [(w.start, w.end) for w in expected]
    assert (found.whole.start, found.whole.end) == (0.0, 8.0)
    assert found.timeline.read_bytes().startswith(b"\x89PNG")


def test_some_clips_of_a_longer_video_are_left_out(video, tmp_path):
    [found] = find({"net": stub(frames=1)}, video, tmp_path, CENTER_VIEW).values()
    assert MOST_WINDOWS <= len(found.windows) <= MOST_WINDOWS + 1
    assert found.windows[-1].end == pytest.approx(8.0)


@pytest.mark.parametrize(
    "names, curves", [(NAMES, [[1, 0], [1, 0]]), (NAMES[::-1], [[0, 1], [1, 0]])]
)
def test_networks_of_the_same_classes_show_the_same_ones(
    video, tmp_path, monkeypatch, names, curves
):
    drawn = []
    monkeypatch.setattr(findings, "draw_score_curves", lambda *given: drawn.append(given[-1]))
    first = stub(scores=lambda pathways: torch.tensor([[0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    find({"one": first, "two": stub(classes=names)}, video, tmp_path, CENTER_VIEW, top=2)
    assert drawn == curves


def test_maps_are_of_the_windows_best_class_in_all_networks(video, tmp_path, network, monkeypatch):
    heatmaps = []
    overlay = findings.write_overlay
    monkeypatch.setattr(
        findings, "write_overlay", lambda *given: heatmaps.append(given[-1]) or overlay(*given)
    )
    models = {
        "one": network,
        "two": network,
        "program": stub(),
        "other": replace(network, classes=NAMES[::-1]),
    }
    window = Prediction(2.0, 5.0, np.eye(7, dtype=np.float32)[4])
    path = draw_maps(models, video, tmp_path, window)
    [drawn] = heatmaps
    assert list(drawn) == ["one", "two"]
    for heatmap in drawn.values():
        assert heatmap.class_id == 4
        assert heatmap.clip.times.mean() == pytest.approx(3.5, abs=0.1)
    frames, _ = read_frames(path)
    assert frames.shape[1] > 2 * 64 and probe(path).width == 3 * 80


def test_a_program_has_no_maps(video, tmp_path):
    window = Prediction(2.0, 5.0, np.eye(7, dtype=np.float32)[4])
    assert draw_maps({"program": stub()}, video, tmp_path, window) is None
