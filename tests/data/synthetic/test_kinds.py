"""Clips of kind x motion: scene and decoys tell nothing, boxes are true, mirrors keep a class."""

import json

import cv2
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from slowfast_ac.data.synthetic.dataset import read_boxes, write_dataset
from slowfast_ac.data.synthetic.kinds import CLASSES, KINDS, MOTIONS, render_clip
from slowfast_ac.data.video import read_frames
from slowfast_ac.errors import InputError

SIZE = (96, 96)
SMALL = {"size": (48, 48), "num_frames": 4, "fps": 7.5, "num_distractors": 1, "workers": 1}
COUNTS = {"train": 1, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def trajectories():
    """Boxes (clips, T, 4) of clips of two seconds, their labels and the seeds of their scenes."""
    labels, seeds = np.divmod(np.arange(len(CLASSES) * 30), 30)
    boxes = [
        render_clip(label, seed, (48, 48), 30, 15.0, num_distractors=0, num_decoys=0)[1]
        for label, seed in zip(labels.tolist(), seeds.tolist(), strict=True)
    ]
    return np.stack(boxes), labels % len(MOTIONS), seeds


def motion_features(boxes):
    """How much x, y and width of a box vary, as shares of their sum: (clips, 3)."""
    x, y = boxes[..., 0] + boxes[..., 2], boxes[..., 1] + boxes[..., 3]
    spread = np.stack([x.std(1), y.std(1), (boxes[..., 2] - boxes[..., 0]).std(1)], axis=1)
    return spread / spread.sum(1, keepdims=True)


def warm(frames):
    red, green, blue = np.moveaxis(frames.astype(int), -1, 0)
    return (red > 170) & (green < 150) & (blue < 70)


def inside(boxes, size):
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    x0, y0, x1, y1 = boxes.T[:, :, None, None]
    return (x0 < x) & (x < x1) & (y0 < y) & (y < y1)


def test_every_kind_performs_every_motion():
    assert sorted(CLASSES) == sorted(f"{kind}_{motion}" for kind in KINDS for motion in MOTIONS)
    assert (len(KINDS), len(MOTIONS), len(CLASSES)) == (3, 4, 12)


def test_same_arguments_draw_the_same_clip_and_another_seed_another():
    frames, boxes = render_clip(5, 3, SIZE, 4, 7.5)
    again, boxes_again = render_clip(5, 3, SIZE, 4, 7.5)
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(boxes, boxes_again)
    assert (frames.shape, frames.dtype, boxes.shape) == ((4, 96, 96, 3), np.uint8, (4, 4))
    assert (frames != render_clip(5, 4, SIZE, 4, 7.5)[0]).mean() > 0.5


@pytest.mark.parametrize("decoys", [0, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_clips_of_one_seed_differ_only_inside_the_boxes_of_their_targets(seed, decoys):
    first, first_boxes = render_clip(0, seed, SIZE, 8, 7.5, num_decoys=decoys)
    for label in range(1, len(CLASSES)):
        frames, boxes = render_clip(label, seed, SIZE, 8, 7.5, num_decoys=decoys)
        margin = np.array([-2, -2, 2, 2])  # edges are soft
        allowed = inside(first_boxes + margin, SIZE) | inside(boxes + margin, SIZE)
        differs = (frames != first).any(axis=3)
        assert not (differs & ~allowed).any()
        # Kind and motion both show.
        assert differs.any(axis=(1, 2)).sum() >= 7


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_box_surrounds_the_white_rim_that_only_a_target_has(label):
    scene = {"num_distractors": 0, "num_decoys": 4}
    seed = 40 + label
    other = (label + len(MOTIONS) + 1) % len(CLASSES)
    frames, boxes = render_clip(label, seed, (192, 192), 4, 7.5, **scene)
    without, other_boxes = render_clip(other, seed, (192, 192), 4, 7.5, **scene)
    changed = (abs(frames.astype(int) - without).max(3) > 8) & ~inside(other_boxes, (192, 192))
    white = (frames.min(3) > 235) & changed
    for t in np.flatnonzero(white.any((1, 2))):
        rows, columns = np.nonzero(white[t])
        x0, y0, x1, y1 = boxes[t]
        assert columns.min() >= x0 - 1.5 and rows.min() >= y0 - 1.5
        assert columns.max() < x1 + 1.5 and rows.max() < y1 + 1.5


def test_decoys_have_the_targets_colour_and_move_like_it():
    alone, boxes = render_clip(0, 2, SIZE, 16, 15.0, num_decoys=0)
    assert not (warm(alone) & ~inside(boxes, SIZE)).any()
    travelled = []
    for seed in range(12):
        frames, boxes = render_clip(0, seed, SIZE, 16, 15.0, num_decoys=1)
        decoy = warm(frames) & ~inside(boxes + np.array([-2, -2, 2, 2]), SIZE)
        assert decoy.any(axis=(1, 2)).mean() > 0.9
        middles = np.array([np.argwhere(mask).mean(0) for mask in decoy if mask.any()])
        areas = np.array([mask.sum() for mask in decoy if mask.any()])
        travelled.append(np.ptp(middles, axis=0).max() > 10 or np.ptp(areas) > 0.3 * areas.max())
    assert np.mean(travelled) > 0.9


def test_more_decoys_show_more_of_the_targets_colour():
    share = [
        np.mean([warm(render_clip(0, seed, SIZE, 2, 7.5, num_decoys=n)[0]) for seed in range(8)])
        for n in (0, 2, 4)
    ]
    assert share[0] < share[1] < share[2]


@pytest.mark.slow
def test_one_box_does_not_tell_the_motion_but_two_seconds_of_boxes_do(trajectories):
    boxes, motions, seeds = trajectories
    folds = {"groups": seeds, "cv": GroupKFold(4)}
    still = boxes[np.arange(len(boxes)), np.random.default_rng(0).integers(0, 30, len(boxes))]
    forest = RandomForestClassifier(100, random_state=0)
    from_still = cross_val_predict(forest, still, motions, **folds)
    from_motion = cross_val_predict(forest, motion_features(boxes), motions, **folds)
    # Chance is 0.25. A large or small box is a pulse, which a still frame may well show.
    others = motions != MOTIONS.index("pulse")
    assert (from_still == motions)[others].mean() < 0.4
    assert (from_motion == motions).mean() > 0.97


def test_mirrored_motion_keeps_its_class(trajectories):
    boxes, motions, seeds = trajectories
    mirrored = np.stack([48 - boxes[..., 2], boxes[..., 1], 48 - boxes[..., 0], boxes[..., 3]], -1)
    forest = RandomForestClassifier(100, random_state=0)
    forest.fit(motion_features(boxes)[seeds < 15], motions[seeds < 15])
    predicted = forest.predict(motion_features(mirrored)[seeds >= 15])
    assert (predicted == motions[seeds >= 15]).mean() > 0.95


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_mirrored_target_is_the_same_target_turned(kind):
    # Pulse, so that the angle stays; the mirrored outline has the same moments, whatever the angle.
    frames, boxes = render_clip(kind * 4 + 3, 6, (192, 192), 1, 7.5, 0, 0)
    x0, y0, x1, y1 = boxes[0].round().astype(int)
    patch = frames[0, y0:y1, x0:x1]
    mask = (warm(patch) | (patch.min(2) > 235)).astype(np.uint8)
    hu = cv2.HuMoments(cv2.moments(mask)).ravel()
    mirrored = cv2.HuMoments(cv2.moments(np.ascontiguousarray(mask[:, ::-1]))).ravel()
    # The seventh moment changes its sign with handedness: it is nothing.
    np.testing.assert_allclose(hu[:6], mirrored[:6], atol=1e-9)
    assert abs(hu[6]) < 1e-6


def test_data_set_has_the_family_its_lists_and_boxes(tmp_path):
    folder = write_dataset(tmp_path / "data", COUNTS, **SMALL, family="kinds", num_decoys=1)
    assert json.loads((folder / "classes.json").read_text()) == {
        name: label for label, name in enumerate(CLASSES)
    }
    lines = [line.split(" ") for line in (folder / "test.csv").read_text().splitlines()]
    assert [int(label) for _, label in lines] == list(range(12))
    path, label = lines[7]
    # The third split's scenes begin at two million.
    drawn, boxes = render_clip(7, 2 * 10**6, (48, 48), 4, 7.5, 1, 1)
    assert abs(read_frames(path)[0].astype(int) - drawn).mean() < 8
    np.testing.assert_allclose(read_boxes(path), boxes, atol=0.006)
    assert json.loads((folder / "dataset.json").read_text())["num_decoys"] == 1


def test_other_family_or_number_of_decoys_is_refused(tmp_path):
    write_dataset(tmp_path / "data", COUNTS, **SMALL, family="kinds")
    with pytest.raises(InputError, match="other parameters .num_decoys 2, not 3"):
        write_dataset(tmp_path / "data", COUNTS, **SMALL, family="kinds", num_decoys=3)
    with pytest.raises(InputError, match="other parameters"):
        write_dataset(tmp_path / "data", COUNTS, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "kind"}, "family 'kind': choose one of motion, kinds"),
        ({"num_decoys": 2}, "num_decoys: not an option of the family motion"),
        ({"family": "kinds", "decoys": 2}, "decoys: not an option of the family kinds"),
        ({"family": "kinds", "num_decoys": -1}, "num_decoys -1: give at least 0"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        write_dataset(tmp_path / "data", COUNTS, **SMALL, **options)
    assert not (tmp_path / "data").exists()
