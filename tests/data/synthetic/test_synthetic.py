"""The generated clips show what they claim, and the data set is written whole."""

import json
import shutil

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from slowfast_ac.data.synthetic.dataset import (
    CLASSES,
    SPLITS,
    read_boxes,
    render_clip,
    write_dataset,
)
from slowfast_ac.data.video import read_frames
from slowfast_ac.errors import InputError

SMALL = {"size": (48, 32), "num_frames": 6, "fps": 15.0, "num_distractors": 1, "workers": 1}
COUNTS = {"train": 2, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished data set, not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("synthetic"), COUNTS, **SMALL)


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture(scope="module")
def trajectories():
    """Boxes (clips, T, 4) of clips of a second, their labels and the seeds of their scenes."""
    labels, seeds = np.divmod(np.arange(6 * 60), 60)
    boxes = [
        render_clip(label, seed, (64, 48), num_frames=30, num_distractors=0)[1]
        for label, seed in zip(labels.tolist(), seeds.tolist(), strict=True)
    ]
    return np.stack(boxes), labels, seeds


def motion_features(boxes):
    """How much x, y and width of a box vary, and how x and y vary together: (clips, 4)."""
    x, y = boxes[..., 0] + boxes[..., 2], boxes[..., 1] + boxes[..., 3]
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    width = boxes[..., 2] - boxes[..., 0]
    return np.stack([x.std(1), y.std(1), width.std(1), abs((x * y).mean(1))], axis=1)


def state(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*.*") if p.is_file()}


def videos(folder):
    return sorted(folder.rglob("*.mp4"))


def test_same_arguments_draw_the_same_clip_and_another_seed_another():
    frames, boxes = render_clip(2, 5, (64, 48), num_frames=4)
    again, boxes_again = render_clip(2, 5, (64, 48), num_frames=4)
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(boxes, boxes_again)
    assert frames.shape == (4, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert (frames != render_clip(2, 6, (64, 48), num_frames=4)[0]).mean() > 0.5


@pytest.mark.parametrize("size", [(128, 96), (72, 100)])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_clips_of_one_seed_differ_exactly_inside_the_boxes_of_their_targets(seed, size):
    shake, shake_boxes = render_clip(CLASSES.index("shake"), seed, size)
    circle, circle_boxes = render_clip(CLASSES.index("circle"), seed, size)
    differs = abs(shake.astype(int) - circle).max(axis=3) > 8
    # Where the two targets overlap, they need not differ.
    apart = abs(shake_boxes - circle_boxes).max(axis=1) > 4
    assert apart.sum() > 30
    found, boxes = [], []
    for t in np.flatnonzero(apart):
        rows, columns = np.flatnonzero(differs[t].any(1)), np.flatnonzero(differs[t].any(0))
        found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        both = np.stack([shake_boxes[t], circle_boxes[t]])
        boxes.append(np.r_[both.min(0)[:2], both.max(0)[2:]])
    error = np.array(found) - boxes
    assert abs(error).max() < 1.5
    # Pixels are whole and edges soft, but neither to one side more than to the other.
    assert abs(error.mean(0)[:2] + error.mean(0)[2:]).max() < 0.4


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_warm_bright_pixels_are_found_only_in_the_box(label):
    frames, boxes = render_clip(label, seed=20 + label, num_frames=16)
    red, green, blue = np.moveaxis(frames.astype(int), 3, 0)
    warm = (red > 170) & (green < 150) & (blue < 70)
    y, x = np.mgrid[:96, :128] + 0.5
    x0, y0, x1, y1 = boxes.T[:, :, None, None]
    inside = (x0 < x) & (x < x1) & (y0 < y) & (y < y1)
    # A disc of 0.84 of the radius, less its wedge of a third, is 37 % of the box.
    assert ((warm & inside).sum((1, 2)) > 0.25 * inside.sum((1, 2))).all()
    assert not (warm & ~inside).any()


def test_first_frame_is_the_same_whichever_single_oscillator_runs():
    clips = {name: render_clip(label, 7, (64, 48), 6)[0] for label, name in enumerate(CLASSES)}
    for name in ("nod", "pulse", "spin"):
        np.testing.assert_array_equal(clips[name][0], clips["shake"][0])
        assert (clips[name][5] != clips["shake"][5]).any()


@pytest.mark.slow
def test_one_box_does_not_tell_the_class_but_a_second_of_boxes_does(trajectories):
    boxes, labels, seeds = trajectories
    folds = {"groups": seeds, "cv": GroupKFold(4)}
    still = boxes[np.arange(len(boxes)), np.random.default_rng(0).integers(0, 30, len(boxes))]
    forest = RandomForestClassifier(100, random_state=0)
    from_still = cross_val_predict(forest, still, labels, **folds)
    from_motion = cross_val_predict(forest, motion_features(boxes), labels, **folds)
    # Chance is 0.167; four standard deviations of 360 guesses are 0.08.
    assert (from_still == labels).mean() < 0.25
    assert (from_motion == labels).mean() > 0.97


def test_mirrored_motion_keeps_its_class(trajectories):
    boxes, labels, seeds = trajectories
    mirrored = np.stack([64 - boxes[..., 2], boxes[..., 1], 64 - boxes[..., 0], boxes[..., 3]], -1)
    forest = RandomForestClassifier(100, random_state=0)
    forest.fit(motion_features(boxes)[seeds < 30], labels[seeds < 30])
    held_out = seeds >= 30
    predicted = forest.predict(motion_features(mirrored)[held_out])
    assert (predicted == labels[held_out]).mean() > 0.95
    # Nor does the sense of the motion tell mirrored clips from others: both occur.
    x, y = boxes[..., 0] + boxes[..., 2], boxes[..., 1] + boxes[..., 3]
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    falling = (x * y).mean(1)[labels == CLASSES.index("diagonal")] < 0
    area = (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(1)
    clockwise = area[labels == CLASSES.index("circle")] > 0
    assert 0.25 < falling.mean() < 0.75
    assert 0.25 < clockwise.mean() < 0.75


def test_motion_is_defined_in_seconds():
    _, boxes = render_clip(3, 1, (64, 48), num_frames=32, fps=30.0)
    _, at_half_rate = render_clip(3, 1, (64, 48), num_frames=16, fps=15.0)
    np.testing.assert_allclose(at_half_rate, boxes[::2])


@pytest.mark.parametrize("split", SPLITS)
def test_lists_have_two_fields_existing_videos_and_every_class(made, split):
    lines = [line.split(" ") for line in (made / f"{split}.csv").read_text().splitlines()]
    assert all(len(fields) == 2 for fields in lines)
    classes = json.loads((made / "classes.json").read_text())
    assert classes == {name: label for label, name in enumerate(CLASSES)}
    for path, label in lines:
        assert path.startswith(f"{made}/videos/{split}/{CLASSES[int(label)]}_")
    assert sorted(path for path, _ in lines) == [str(p) for p in videos(made / "videos" / split)]
    assert np.bincount([int(label) for _, label in lines]).tolist() == [COUNTS[split]] * 6


def test_videos_hold_the_rendered_frames_and_their_boxes(made):
    path = made / "videos" / "train" / "circle_0001.mp4"
    frames, times = read_frames(path)
    drawn, boxes = render_clip(CLASSES.index("circle"), 1, (48, 32), 6, 15.0, 1)
    assert abs(frames.astype(int) - drawn).mean() < 8
    np.testing.assert_allclose(times, np.arange(6) / 15, atol=1e-3)
    np.testing.assert_allclose(read_boxes(path), boxes, atol=0.006)
    about = json.loads(path.with_suffix(".json").read_text())
    del about["boxes"]
    assert about == {"fps": 15.0, "width": 48, "height": 32, "label": 3, "class": "circle"}


def test_no_two_splits_share_a_scene(made):
    scenes = {
        split: [read_frames(p)[0][0] for p in videos(made / "videos" / split)] for split in SPLITS
    }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        for a in scenes[one]:
            assert all(abs(a.astype(int) - b).mean() > 12 for b in scenes[other])


def test_finished_data_set_is_not_made_again(copied):
    before = {p: at for p, at in state(copied).items() if p.suffix in (".mp4", ".json")}
    del before[copied / "classes.json"]
    assert write_dataset(copied, COUNTS, **SMALL) == copied
    after = state(copied)
    assert {p: after[p] for p in before} == before
    assert str(copied) in (copied / "train.csv").read_text()


def test_interrupted_data_set_is_completed(made, copied):
    lost = [copied / "videos" / "train" / name for name in ("nod_0000.mp4", "spin_0001.json")]
    for path in (*lost, copied / "val.csv", copied / "classes.json"):
        path.unlink()
    kept = {p: at for p, at in state(copied / "videos").items() if p.stem != "spin_0001"}
    write_dataset(copied, COUNTS, **SMALL)
    after = state(copied)
    del kept[lost[0].with_suffix(".json")]
    assert {p: after[p] for p in kept} == kept
    for path in lost:
        original = made / path.relative_to(copied)
        np.testing.assert_array_equal(read_boxes(path), read_boxes(original))
    np.testing.assert_array_equal(
        read_frames(lost[0])[0], read_frames(made / lost[0].relative_to(copied))[0]
    )
    assert {p.relative_to(copied) for p in after} == {p.relative_to(made) for p in state(made)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clips_per_class", {"train": 3, "val": 1, "test": 1}),
        ("size", (32, 32)),
        ("num_frames", 7),
        ("fps", 30.0),
        ("seed", 1),
        ("num_distractors", 2),
    ],
)
def test_other_parameters_are_refused_and_change_nothing(made, name, value):
    before = state(made)
    arguments = {"clips_per_class": COUNTS, **SMALL, name: value}
    with pytest.raises(InputError, match=f"other parameters .{name} .*choose another folder"):
        write_dataset(made, **arguments)
    assert state(made) == before


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "train.csv").write_text("mine 0\n")
    with pytest.raises(InputError, match="holds other files; choose another folder"):
        write_dataset(tmp_path, COUNTS, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_unreadable_parameters_are_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="choose another folder"):
        write_dataset(tmp_path, COUNTS, **SMALL)


def test_folder_with_a_space_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot hold spaces"):
        write_dataset(tmp_path / "my data", COUNTS, **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("clips_per_class", {"train": 1}, "at least 1 for each of"),
        ("clips_per_class", {"train": 1, "val": 0, "test": 1}, "at least 1 for each of"),
        ("size", (48, 33), "even numbers"),
        ("size", (48, 16), "even numbers from 32"),
        ("num_frames", 0, "num_frames 0: give at least 1"),
        ("seed", -1, "seed -1: give at least 0"),
        ("num_distractors", -1, "num_distractors -1"),
        ("fps", 0.0, "positive"),
    ],
)
def test_bad_parameters_are_named(tmp_path, name, value, message):
    arguments = {"clips_per_class": COUNTS, **SMALL, name: value}
    with pytest.raises(InputError, match=message):
        write_dataset(tmp_path / "data", **arguments)
    assert not list(tmp_path.iterdir())


def test_missing_boxes_are_named(tmp_path):
    with pytest.raises(InputError, match="clip.json: cannot read the boxes"):
        read_boxes(tmp_path / "clip.mp4")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"boxes": [[1, 2]]}', '{"boxes": [["a"]]}'])
def test_malformed_boxes_are_refused(tmp_path, text):
    (tmp_path / "clip.json").write_text(text)
    with pytest.raises(InputError, match="clip.json: not the boxes"):
        read_boxes(tmp_path / "clip.mp4")
