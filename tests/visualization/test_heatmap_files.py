"""The pictures, videos and files of heatmaps, and the command that writes them."""

import argparse
import json

import av
import cv2
import numpy as np
import pytest
import torch
import yaml

from slowfast_ac.cli import heatmap as command
from slowfast_ac.cli.heatmap import distinct_names
from slowfast_ac.data.clips import Clip
from slowfast_ac.data.find_videos import distinct_stems
from slowfast_ac.data.video import read_frames, write_timed_video, write_video
from slowfast_ac.errors import InputError
from slowfast_ac.visualization.annotation import read_annotation
from slowfast_ac.visualization.classes import choose_class, parse_class, true_class
from slowfast_ac.visualization.files import describe, write_heatmaps
from slowfast_ac.visualization.heatmap import Heatmap, Stream
from slowfast_ac.visualization.picture import draw_strip, normalize, overlay, overlay_frames

HEIGHT, WIDTH, FPS = 48, 80, 10.0


@pytest.fixture
def video(tmp_path):
    frames = [np.full((HEIGHT, WIDTH, 3), 40 + 3 * number, np.uint8) for number in range(30)]
    write_video(tmp_path / "in" / "clip.mp4", frames, FPS)
    return tmp_path / "in" / "clip.mp4"


def make_heatmap(frames=16, first=4, streams=("spatial", "temporal", "both"), seed=0, width=WIDTH):
    rng = np.random.default_rng(seed)
    times = (first + np.arange(frames)) / FPS
    counts = {"spatial": max(frames // 4, 1), "temporal": frames, "both": frames}
    return Heatmap(
        Clip(rng.integers(0, 255, (frames, HEIGHT, width, 3)).astype(np.uint8), times),
        {
            name: Stream(
                rng.normal(size=(counts[name], 2, 3)).astype(np.float32),
                times[np.arange(counts[name]) * frames // counts[name]],
            )
            for name in streams
        },
        class_id=2,
        scores=np.array([0.1, 0.2, 0.7], np.float32),
        input_size=(64, 96),
    )


def test_a_clips_maps_are_scaled_by_their_common_range():
    maps = np.array([[[-2.0, 0.0]], [[1.0, 2.0]]])
    assert normalize(maps).tolist() == [[[0.0, 0.5]], [[0.75, 1.0]]]
    assert not normalize(np.full((2, 1, 2), 3.0)).any()


def test_the_overlay_is_red_where_the_map_is_high_and_blue_where_it_is_low():
    frame = np.full((40, 60, 3), 128, np.uint8)
    picture = overlay(frame, np.tile(np.linspace(1, 0, 60), (40, 1))).astype(int)
    assert picture.shape == frame.shape
    assert picture[:, 0, 0].min() > picture[:, 0, 2].max() + 40
    assert picture[:, -1, 2].min() > picture[:, -1, 0].max() + 20


def test_the_overlays_colour_is_the_maps_alone():
    red, grey = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 200
    grey[:] = cv2.cvtColor(red, cv2.COLOR_RGB2GRAY)[..., None]
    cam = np.full((8, 8), 0.5)
    assert np.array_equal(overlay(red, cam), overlay(grey, cam))


def test_written_maps_and_times_are_those_of_the_heatmap(tmp_path, video):
    heatmap = make_heatmap()
    files = write_heatmaps(
        tmp_path / "out",
        "clip",
        video,
        {"Net": heatmap},
        classes={2: "nod", 0: "shake"},
        true_class=0,
        sources={"Net": {"checkpoint": "a.pyth"}},
    )
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    network = record["networks"]["Net"]
    for name, stream in heatmap.streams.items():
        maps = np.load(tmp_path / "out" / network["streams"][name]["file"])
        assert maps.dtype == np.float32
        assert np.array_equal(maps, stream.maps)
        assert network["streams"][name]["times"] == stream.times.tolist()
        assert len(maps) == len(stream.times)
    assert record["class"] == {"id": 2, "name": "nod"}
    assert record["true_class"] == {"id": 0, "name": "shake"}
    assert network["score"] == pytest.approx(0.7)
    assert network["checkpoint"] == "a.pyth"
    assert sorted(files) == sorted((tmp_path / "out").iterdir())


@pytest.mark.parametrize("networks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_overlay_video_has_the_clips_frames_at_their_size_and_rate(tmp_path, video, networks):
    heatmaps = {f"net{number}": make_heatmap(seed=number) for number in range(networks)}
    write_heatmaps(tmp_path / "out", "clip", video, heatmaps)
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == FPS
        assert stream.width == 3 * WIDTH
        band = stream.height / networks - HEIGHT
        assert 0 < band <= 20
        assert sum(1 for _ in container.decode(stream)) == 16


def test_the_overlay_video_keeps_a_variable_frame_rate(tmp_path):
    times = np.cumsum([0.0, 0.1, 0.1, 0.3, 0.05, 0.2, 0.1, 0.1])
    pairs = ((time, np.full((HEIGHT, WIDTH, 3), 90, np.uint8)) for time in times)
    write_timed_video(tmp_path / "in.mp4", pairs, 8 / 1.05)
    _, read = read_frames(tmp_path / "in.mp4")
    heatmap = make_heatmap(frames=4)
    heatmap.clip.times[:] = read[2:6]
    write_heatmaps(tmp_path / "out", "clip", tmp_path / "in.mp4", {"net": heatmap})
    _, written = read_frames(tmp_path / "out" / "clip.mp4")
    assert np.allclose(written, times[2:6] - times[2], atol=1e-3)


def test_each_frame_of_the_video_has_the_map_that_is_nearest_in_time():
    heatmap = make_heatmap(streams=("spatial",))
    heatmap.streams["spatial"].maps[:] = 0
    heatmap.streams["spatial"].maps[1] = 1  # held for frames 4 to 7, from 0.8 s to 1.1 s
    frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    times = [0.4, 0.74, 0.76, 1.14, 1.16, 9.0]
    shown, pictures = zip(
        *overlay_frames(((time, frame) for time in times), {"net": heatmap}), strict=True
    )
    assert np.allclose(shown, np.array(times) - 0.4)
    assert [int(p[-1, 0, 0]) > int(p[-1, 0, 2]) for p in pictures] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_wide_videos_panels_shrink_until_players_take_them():
    heatmap = make_heatmap(width=1600)
    frame = np.zeros((HEIGHT, 1600, 3), np.uint8)
    ((_, picture),) = overlay_frames([(0.5, frame)], {"net": heatmap})
    assert picture.shape[1] == 3840


def panels(path, background):
    """Counts the separate areas of a strip that have the frames' colour, above or below a map."""
    picture = cv2.imread(str(path))
    return cv2.connectedComponents((picture == background).all(axis=2).astype(np.uint8))[0] - 1


@pytest.mark.parametrize(
    ("frames", "columns"), [(1, 1), (5, 5), pytest.param(16, 8, marks=pytest.mark.slow)]
)
def test_the_strip_has_a_row_of_frames_with_the_box_in_each(tmp_path, frames, columns):
    heatmap = make_heatmap(frames)
    heatmap.clip.frames[:] = (10, 200, 90)
    draw_strip(tmp_path / "plain.png", {"net": heatmap}, "title")
    assert panels(tmp_path / "plain.png", (90, 200, 10)) == columns
    boxes = np.tile([8.0, 8.0, 40.0, 40.0], (frames, 1))
    draw_strip(tmp_path / "boxes.png", {"net": heatmap}, "title", boxes)
    # The outline of a box cuts a frame in two.
    assert panels(tmp_path / "boxes.png", (90, 200, 10)) == 2 * columns


@pytest.mark.slow
def test_two_networks_have_rows_of_their_own(tmp_path):
    first, second = make_heatmap(), make_heatmap(8, seed=1)
    draw_strip(tmp_path / "one.png", {"a": first}, "title")
    draw_strip(tmp_path / "two.png", {"a": first, "b": second}, "title")
    one, two = (cv2.imread(str(tmp_path / name)) for name in ("one.png", "two.png"))
    # Four rows of panels and seven.
    assert 1.5 < two.shape[0] / one.shape[0] < 1.75


def test_a_dollar_in_a_name_is_text(tmp_path):
    draw_strip(tmp_path / "a.png", {"a$b": make_heatmap()}, "class $\\frac")
    assert (tmp_path / "a.png").exists()


def test_the_title_names_true_and_predicted_class_where_they_differ():
    names = {2: "nod", 0: "shake"}
    heatmap = make_heatmap()
    assert (
        describe({"Net": heatmap}, names, 2) == 'maps of class "nod" (the true class)   Net: 0.70'
    )
    other = Heatmap(heatmap.clip, heatmap.streams, 0, heatmap.scores, (64, 96))
    assert describe({"Net": other}, names, 1) == (
        'maps of class "shake" (true class: "1")   Net: 0.10, predicts "nod" 0.70'
    )


def test_videos_of_one_name_get_files_of_their_own():
    assert distinct_stems(["a/x.mp4", "b/x.avi", "c/x_2.mp4", "y.mp4"]) == [
        "x",
        "x_2",
        "x_2_2",
        "y",
    ]


def test_numbered_files_of_one_video_are_not_those_of_another():
    for videos in (["clip.mp4", "clip-1.mp4"], ["clip-1.mp4", "clip.mp4"], ["a/c.mp4", "b/c.mp4"]):
        stems = distinct_stems([*videos, "c_2-3.mp4"], numbered=True)
        files = [name for stem in stems for name in (stem, *(f"{stem}-{n}" for n in range(1, 9)))]
        assert len(set(files)) == len(files)
    # Without numbers every name is free.
    assert distinct_stems(["clip.mp4", "clip-1.mp4"]) == ["clip", "clip-1"]


@pytest.mark.parametrize(
    ("text", "expected"), [("predicted", "predicted"), ("true", "true"), ("nod", 3), ("12", 12)]
)
def test_a_class_is_given_by_name_number_or_word(text, expected):
    assert parse_class(text, {"nod": 3}) == expected


@pytest.mark.parametrize(
    ("classes", "match"), [({}, "--classes"), ({"nod": 0}, "did you mean 'nod'")]
)
def test_an_unknown_class_is_named(classes, match):
    with pytest.raises(InputError, match=f"'nodd' .*{match}"):
        parse_class("nodd", classes)


def test_the_true_class_must_be_known_when_it_is_wanted():
    assert choose_class("true", "a.mp4", 4) == 4
    assert choose_class("predicted", "a.mp4", 4) is None
    assert choose_class(2, "a.mp4", None) == 2
    with pytest.raises(InputError, match="class of a.mp4 is not known.*--list"):
        choose_class("true", "a.mp4", None)


def write_annotation(video, **changes):
    data = {"fps": FPS, "width": WIDTH, "height": HEIGHT, "label": 2, "class": "nod"}
    data["boxes"] = [[number, 4, number + 20, 30] for number in range(30)]
    video.with_suffix(".json").write_text(json.dumps(data | changes))


def test_the_box_of_a_time_is_that_of_the_frame_on_the_screen(video):
    write_annotation(video)
    annotation = read_annotation(video)
    assert annotation.boxes_at(np.array([0.0, 0.7, 2.9, 99.0]))[:, 0].tolist() == [0, 7, 29, 29]
    assert annotation.label == 2


def test_a_file_without_boxes_is_no_annotation(video):
    assert read_annotation(video) is None
    video.with_suffix(".json").write_text('{"url": "..."}')
    assert read_annotation(video) is None


@pytest.mark.parametrize(
    "changes", [{"boxes": []}, {"boxes": [[1, 2]]}, {"fps": 0}, {"fps": None}, {"boxes": "x"}]
)
def test_malformed_boxes_are_named(video, changes):
    write_annotation(video, **changes)
    with pytest.raises(InputError, match=r"clip.json: boxes must be"):
        read_annotation(video)


def test_a_list_knows_the_true_class_better_than_the_file_beside(video):
    from slowfast_ac.data.lists import Entry

    write_annotation(video)
    annotation = read_annotation(video)
    relative = video.parent / ".." / "in" / "clip.mp4"
    assert true_class(video, annotation, []) == 2
    assert true_class(video, annotation, [Entry("other.mp4", 5), Entry(str(relative), 6)]) == 6


def test_networks_are_named_by_model_or_by_what_differs_in_their_paths():
    ours, theirs = "SlowFastAC", "SlowFast"
    assert distinct_names([ours, theirs], ["a/x.pyth", "b/x.pyth"]) == ["SlowFastAC", "SlowFast"]
    assert distinct_names([ours, ours], ["r/l0/c/x.pyth", "r/l1/c/x.pyth"]) == ["l0", "l1"]
    assert distinct_names([ours, ours], ["r/x1.pyth", "r/x2.pyth"]) == ["x1", "x2"]
    assert distinct_names([ours, ours], ["x.pyth", "x.pyth"]) == ["x (1)", "x (2)"]


@pytest.fixture
def trained(tmp_path, tiny_cfg, build_model):
    """Returns a function: model name -> paths of a config and of a checkpoint."""

    def make(name):
        loss = "attention_consistency" if name == "SlowFastAC" else "cross_entropy"
        cfg = tiny_cfg("MODEL.MODEL_NAME", name, "MODEL.LOSS_FUNC", loss, "MODEL.ARCH", "slowfast")
        torch.manual_seed(0)
        weights = build_model(cfg).state_dict()
        checkpoint = tmp_path / f"{name}.pyth"
        torch.save({"epoch": 0, "model_state": weights, "cfg": cfg.dump()}, checkpoint)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(cfg.dump())))
        return path, checkpoint

    return make


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(argument) for argument in arguments]))


def test_the_command_draws_two_checkpoints_of_the_true_class(tmp_path, video, trained, capsys):
    write_annotation(video)
    (cfg, checkpoint), (other_cfg, other) = trained("SlowFastAC"), trained("SlowFast")
    (tmp_path / "classes.json").write_text(json.dumps({f"c{n}": n for n in range(7)}))
    arguments = [video, "--cfg", cfg, "--checkpoint", checkpoint, "--class", "true"]
    arguments += ["--against", other, "--against-cfg", other_cfg, "--scales", "1.0", "0.5"]
    arguments += ["--classes", tmp_path / "classes.json", "--output", tmp_path / "out"]
    run(*arguments, "--opts", "DATA.SAMPLING_RATE", "1")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    streams = ("spatial", "temporal", "both")
    expected = {f"clip.{net}.{s}.npy" for net in ("SlowFastAC", "SlowFast") for s in streams}
    assert names == expected | {"clip.png", "clip.mp4", "clip.json"}
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert record["class"] == record["true_class"] == {"id": 2, "name": "c2"}
    assert record["networks"]["SlowFast"]["checkpoint"] == str(other)
    assert record["networks"]["SlowFastAC"]["scales"] == [1.0, 0.5]
    times = record["networks"]["SlowFastAC"]["streams"]["temporal"]["times"]
    _, all_times = read_frames(video)
    assert set(times) <= set(all_times.tolist())
    assert 'class "c2" (the true class)' in capsys.readouterr().out


def test_the_command_takes_the_predicted_class_of_the_first_network(tmp_path, video, trained):
    cfg, checkpoint = trained("SlowFast")
    run(video, "--cfg", cfg, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert record["class"]["id"] == record["networks"]["SlowFast"]["predicted_class"]["id"]
    assert record["true_class"] is None


def test_a_checkpoint_of_another_network_is_refused_before_anything_is_written(
    tmp_path, video, trained
):
    cfg, _ = trained("SlowFastAC")
    _, other = trained("SlowFast")
    with pytest.raises(
        InputError,
        match=r"SlowFast.pyth: holds SlowFast, which does not fit MODEL.MODEL_NAME: SlowFastAC",
    ):
        run(video, "--cfg", cfg, "--checkpoint", other, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes_is_refused(tmp_path, video, trained):
    cfg, checkpoint = trained("SlowFast")
    with pytest.raises(
        InputError, match="MODEL.NUM_CLASSES: 9, but the weights in .* have 7 classes"
    ):
        run(
            *(video, "--cfg", cfg, "--checkpoint", checkpoint, "--output", tmp_path / "out"),
            *("--opts", "MODEL.NUM_CLASSES", "9"),
        )


def test_a_video_and_its_boxes_are_not_replaced_by_their_heatmap(tmp_path, video, trained):
    from slowfast_ac.cli import main

    write_annotation(video)
    before = {path: path.read_bytes() for path in video.parent.iterdir()}
    cfg, checkpoint = map(str, trained("SlowFast"))
    (tmp_path / "link").symlink_to(video.parent)
    for folder in (video.parent, tmp_path / "link"):
        with pytest.raises(InputError, match=r"in: contains .*clip.mp4, and the results could"):
            run(video, "--cfg", cfg, "--checkpoint", checkpoint, "--output", folder)
        words = ["predict", checkpoint, str(video), "--cfg", cfg, "--heatmap", str(folder)]
        assert main([*words, "--single-view"]) == 2
    assert {path: path.read_bytes() for path in video.parent.iterdir()} == before


def test_networks_that_order_their_classes_differently_are_not_compared(tmp_path, video, trained):
    cfg, checkpoint = trained("SlowFast")
    names = [f"c{number}" for number in range(7)]
    paths = []
    for number, classes in enumerate((names, names[::-1])):
        saved = torch.load(checkpoint, weights_only=True)
        saved["classes"] = {name: label for label, name in enumerate(classes)}
        paths.append(tmp_path / f"{number}.pyth")
        torch.save(saved, paths[-1])
    words = (video, "--output", tmp_path / "out", "--checkpoint", paths[0])
    with pytest.raises(InputError, match=r"--against: .*1.pyth has other classes, or the same in"):
        run(*words, "--against", paths[1])
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--against-cfg: give the network with --against"):
        run(*words, "--against-cfg", cfg)


def test_invalid_classes_and_scales_are_refused_once(tmp_path, video, trained):
    cfg, checkpoint = trained("SlowFast")
    words = (video, video, "--cfg", cfg, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    with pytest.raises(InputError, match="--class: 7, but the network has classes 0 to 6"):
        run(*words, "--class", 7)
    with pytest.raises(InputError, match=r"scales: \[0.5\] must start with 1.0"):
        run(*words, "--scales", 0.5)
    assert not (tmp_path / "out").exists()
