"""Upstream's visualisation and demo, without detectron2 where no detector is needed."""

import io
import json
import shutil
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast import check_visualization as checks
from slowfast_ac.pyslowfast.repairs.visualization import Visualizer, make_video

LAYERS = ["s5/pathway0_res2", "s5/pathway1_res2"]


@pytest.fixture
def names(tmp_path):
    """A file of the three classes' names."""
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"right": 0, "down": 1, "still": 2}))
    return path


@pytest.mark.checkout
def test_a_finished_run_is_drawn_and_shown_without_detectron2(
    runs, finished, video_lists, names, tmp_path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = shutil.copytree(finished, tmp_path / "copy")
    board, demo = "TENSORBOARD", tmp_path / "shown/a:b.mp4"
    runs(
        *(output, "TRAIN.ENABLE", False, "TEST.ENABLE", False, f"{board}.ENABLE", True),
        *("TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1),
        *(f"{board}.CLASS_NAMES_PATH", names, f"{board}.MODEL_VIS.ENABLE", True),
        *(f"{board}.MODEL_VIS.MODEL_WEIGHTS", True, f"{board}.MODEL_VIS.ACTIVATIONS", True),
        *(f"{board}.MODEL_VIS.LAYER_LIST", ["s1/pathway0_stem/conv"]),
        *(f"{board}.MODEL_VIS.INPUT_VIDEO", True, f"{board}.WRONG_PRED_VIS.ENABLE", True),
        *(f"{board}.MODEL_VIS.GRAD_CAM.LAYER_LIST", LAYERS),
        *("DEMO.ENABLE", True, "DEMO.LABEL_FILE_PATH", names, "DEMO.OUTPUT_FILE", demo),
        *("DEMO.INPUT_VIDEO", video_lists / "test_0_0.mp4", "DEMO.VIS_MODE", "top-k"),
        *("DEMO.NUM_VIS_INSTANCES", 1),
    )
    images = {}
    for path in (output / "runs-kinetics").iterdir():
        events = EventAccumulator(str(path), size_guidance={"images": 0}).Reload()
        images.update({tag: events.Images(tag)[0] for tag in events.Tags()["images"]})
    assert "Layer Weights/s1/pathway0_stem/conv" in images
    for video in range(6):
        assert f"Input {video}/Activations: s1/pathway0_stem/conv" in images
        for pathway, frames in ((1, 2), (2, 8)):
            drawn = images[f"Input {video}/Pathway {pathway}"]
            clip = Image.open(io.BytesIO(drawn.encoded_image_string))
            assert (clip.n_frames, clip.size) == (frames, (64, 64))
    with av.open("file:" + str(demo)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24


@pytest.mark.parametrize("height, width", [(64, 64), (37, 91)])
def test_nothing_drawn_is_the_picture(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Visualizer(image).output.get_image(), image)


def test_a_box_is_drawn_along_its_sides_alone():
    black = np.zeros((50, 80, 3))
    drawn = Visualizer(black).draw_box((20, 10, 60, 40), alpha=1.0, edge_color="w").get_image()
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert (rows.min(), rows.max()) == pytest.approx((10, 40), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((20, 60), abs=2)
    assert not drawn[14:36, 24:56].any()


def test_a_video_in_tensorboard_is_its_frames():
    pytest.importorskip("tensorboard")
    frames = np.zeros((3, 4, 6, 3), dtype=np.uint8)
    frames[:] = np.array([0, 90, 255], dtype=np.uint8)[:, None, None, None]
    summary = make_video(frames, 4)
    assert (summary.height, summary.width, summary.colorspace) == (4, 6, 3)
    gif = Image.open(io.BytesIO(summary.encoded_image_string))
    assert gif.info["duration"] == 250
    for number, value in enumerate((0, 90, 255)):
        gif.seek(number)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - value).max() <= 2


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (
            ("TENSORBOARD.ENABLE", True, "TENSORBOARD.WRONG_PRED_VIS.ENABLE", True),
            "TENSORBOARD.CLASS_NAMES_PATH: empty",
        ),
        (
            ("TENSORBOARD.ENABLE", True, "TENSORBOARD.CLASS_NAMES_PATH", "nowhere.json"),
            "TENSORBOARD.CLASS_NAMES_PATH: nowhere.json: there is no such file",
        ),
        (
            ("TENSORBOARD.ENABLE", True, "TENSORBOARD.CATEGORIES_PATH", "nowhere.json"),
            "TENSORBOARD.CATEGORIES_PATH: nowhere.json: there is no such file",
        ),
        (("DEMO.ENABLE", True), "DEMO.LABEL_FILE_PATH: empty"),
        (("DEMO.ENABLE", True, "DEMO.LABEL_FILE_PATH", "NAMES"), "DEMO.INPUT_VIDEO: empty"),
        (
            ("DEMO.ENABLE", True, "DEMO.LABEL_FILE_PATH", "NAMES", "DEMO.INPUT_VIDEO", "no.mp4"),
            "DEMO.INPUT_VIDEO: no.mp4: there is no such video",
        ),
        (
            ("DEMO.ENABLE", True, "DEMO.LABEL_FILE_PATH", "NAMES", "DEMO.INPUT_VIDEO", "NAMES"),
            "DEMO.INPUT_VIDEO: .*: OpenCV cannot open it",
        ),
    ],
)
def test_what_is_missing_for_showing_is_said_before_the_run(tiny_cfg, names, opts, message):
    opts = [str(names) if part == "NAMES" else part for part in opts]
    cfg = tiny_cfg("MODEL.NUM_CLASSES", 3, *opts)
    with pytest.raises(InputError, match=message):
        checks.check_visualization(cfg)


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("key", "layers", "message"),
    [
        (
            "LAYER_LIST",
            ["s9/conv"],
            "LAYER_LIST: s9/conv is not a layer of SlowFastAC; .*s1",
        ),
        ("GRAD_CAM.LAYER_LIST", LAYERS[:1], r"GRAD_CAM.LAYER_LIST: .* each of the 2 pathways"),
        ("GRAD_CAM.LAYER_LIST", ["s5", "s6"], "GRAD_CAM.LAYER_LIST: s6 is not a layer of SlowFast"),
    ],
)
def test_layers_that_are_not_there_are_said_before_the_run(tiny_cfg, names, key, layers, message):
    board = "TENSORBOARD"
    cfg = tiny_cfg(
        *("MODEL.NUM_CLASSES", 3, f"{board}.ENABLE", True, f"{board}.MODEL_VIS.ENABLE", True),
        *(f"{board}.CLASS_NAMES_PATH", str(names)),
        *(f"{board}.MODEL_VIS.GRAD_CAM.LAYER_LIST", LAYERS, f"{board}.MODEL_VIS.{key}", layers),
    )
    with pytest.raises(InputError, match=message):
        checks.check_visualization(cfg)


@pytest.mark.checkout
def test_a_demo_that_needs_a_detector_is_refused_where_there_is_none(tiny_cfg, names, monkeypatch):
    cfg = tiny_cfg("DEMO.ENABLE", True, "DETECTION.ENABLE", True)
    monkeypatch.setattr(checks, "has_detector", lambda: False)
    with pytest.raises(InputError, match="DEMO.ENABLE: .* needs detectron2's detector"):
        checks.check_visualization(cfg)
    monkeypatch.setattr(checks, "has_detector", lambda: True)
    with pytest.raises(InputError, match="DEMO.LABEL_FILE_PATH"):
        checks.check_visualization(cfg)


@pytest.mark.checkout
def test_random_weights_are_not_shown(refused, names, video_lists, tmp_path):
    line = refused(
        *(tmp_path / "output", "TRAIN.ENABLE", False, "TEST.ENABLE", False, "DEMO.ENABLE", True),
        *("DEMO.LABEL_FILE_PATH", names, "DEMO.OUTPUT_FILE", tmp_path / "demo.mp4"),
        *("DEMO.INPUT_VIDEO", video_lists / "test_0_0.mp4"),
    )
    assert "TEST.CHECKPOINT_FILE_PATH: empty" in line


@pytest.mark.parametrize("text", ["", "[]", '{"a": "b"}', '{"a": 0, "b": 2}'])
def test_class_names_that_name_too_little_are_refused(tmp_path, text):
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(InputError, match="KEY: .*names.json (is not a JSON|has no name for cl)"):
        checks.check_class_names("KEY", str(path), 3)


def test_batches_lose_what_came_in_2022():
    from slowfast_ac.pyslowfast.repairs.visualization import _give_four_to

    batches = [("inputs", "labels", "index", "time", {}), ("inputs", "labels", "index", {})]
    tool = SimpleNamespace(loader=SimpleNamespace(construct_loader=lambda cfg, split: batches))
    _give_four_to(tool)
    loader = tool.loader.construct_loader("cfg", "test")
    assert len(loader) == 2
    assert list(loader) == [("inputs", "labels", "index", {})] * 2
