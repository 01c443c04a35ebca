"""The clips of human motion: against pybullet's own humanoid, scipy and what their pixels show."""

import colorsys
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from slowfast_ac.data.synthetic import dataset

FOLDER = Path(__file__).resolve().parent.parent / "projects/attention_consistency"
PARTS = 24


@pytest.fixture(scope="module")
def clips():
    pytest.importorskip("pybullet")
    sys.path.insert(0, str(FOLDER))
    try:
        import human_motion
    finally:
        sys.path.remove(str(FOLDER))
    return human_motion


@pytest.fixture
def skeleton(clips):
    clips.humanoid.clear()
    colors = dict.fromkeys(("shirt", "trousers", "skin"), (255, 0, 0))
    return clips.humanoid, clips.humanoid.build(colors, 1.0)


def joint_places(humanoid, body, joints):
    bullet, _ = humanoid.pybullet()
    states = bullet.getLinkStates(body, joints, computeForwardKinematics=True)
    return np.array([state[4] for state in states])


@pytest.mark.parametrize("name", ["kick", "cartwheel"])
def test_poses_are_those_of_pybullets_own_humanoid(skeleton, name):
    humanoid, body = skeleton
    bullet, data = humanoid.pybullet()
    flags = bullet.URDF_MAINTAIN_LINK_ORDER
    urdf = f"{data}/humanoid/humanoid.urdf"
    theirs = bullet.loadURDF(urdf, useFixedBase=True, globalScaling=0.25, flags=flags)
    infos = [bullet.getJointInfo(theirs, i) for i in range(bullet.getNumJoints(theirs))]
    numbers = {info[1].decode().replace("_", " "): info[0] for info in infos}
    track = humanoid.sample(name, np.linspace(0.1, 1.5, 5))
    for frame in range(5):
        humanoid.pose(body, track, frame)
        rotations = track.rotation[frame]
        bullet.resetBasePositionAndOrientation(theirs, track.position[frame], rotations[0])
        for joint, rotation in zip(humanoid.JOINTS, rotations[1:], strict=True):
            if infos[numbers[joint]][2] == bullet.JOINT_REVOLUTE:
                angle = 2 * np.arctan2(rotation[2], rotation[3])
                bullet.resetJointState(theirs, numbers[joint], angle)
            else:
                bullet.resetJointStateMultiDof(theirs, numbers[joint], rotation.tolist())
        expected = joint_places(humanoid, theirs, [numbers[joint] for joint in humanoid.JOINTS])
        places = joint_places(humanoid, body, range(len(humanoid.JOINTS)))
        np.testing.assert_allclose(places, expected, atol=1e-3)


def test_a_mirrored_figure_is_the_mirror_image(skeleton):
    humanoid, body = skeleton
    images = []
    for mirrored in (False, True):
        humanoid.pose(body, humanoid.sample("punch", np.array([0.9]), mirrored), 0)
        images.append(joint_places(humanoid, body, range(len(humanoid.JOINTS))))
    names = [joint.replace("right", "left") for joint in humanoid.JOINTS]
    swapped = [
        humanoid.JOINTS.index(name if name != joint else joint.replace("left", "right"))
        for joint, name in zip(humanoid.JOINTS, names, strict=True)
    ]
    np.testing.assert_allclose(images[1][swapped], images[0] * (1, 1, -1), atol=1e-5)


def test_between_frames_rotations_take_the_shortest_arc(clips):
    position, rotation, interval, _ = clips.humanoid._load("spinkick")
    times = np.array([10.25, 30.5, 50.75]) * interval
    track = clips.humanoid.sample("spinkick", times)
    keys = np.arange(len(position)) * interval
    for joint in range(rotation.shape[1]):
        expected = Slerp(keys, Rotation.from_quat(rotation[:, joint]))(times)
        gaps = (Rotation.from_quat(track.rotation[:, joint]) * expected.inv()).magnitude()
        assert gaps.max() < 0.01


def test_a_loop_goes_on_from_where_it_has_come_to(clips):
    position, _, interval, loops = clips.humanoid._load("walk")
    assert loops
    cycle = (len(position) - 1) * interval
    first, second = (clips.humanoid.sample("walk", np.array([0.3 + n * cycle])) for n in (0, 1))
    np.testing.assert_allclose(first.rotation, second.rotation, atol=1e-6)
    moved = (position[-1] - position[0]) * (1, 0, 1)
    np.testing.assert_allclose(second.position - first.position, [moved], atol=1e-6)


def test_the_same_arguments_draw_the_same_clip(clips):
    frames, boxes = clips.render_clip(4, 7)
    again, boxes_again = clips.render_clip(4, 7)
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(boxes, boxes_again)
    assert frames.shape == (8, 96, 96, 3)
    other, _ = clips.render_clip(4, 8)
    assert abs(frames.astype(int) - other).mean() > 10


@pytest.mark.parametrize(("label", "seed"), [(1, 0), (3, 10**6), (6, 2 * 10**6), (9, 5)])
def test_boxes_are_in_the_frame_and_hold_all_that_is_warm(clips, label, seed, monkeypatch):
    def grey(rng, width, height):
        return np.full((height, width, 3), 128, np.uint8)

    monkeypatch.setattr(clips, "_background", grey)
    frames, boxes = clips.render_clip(label, seed)
    assert boxes.shape == (8, 4)
    assert (boxes >= 0).all() and (boxes <= 96).all()
    for frame, (x0, y0, x1, y1) in zip(frames, boxes, strict=True):
        hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in frame.reshape(-1, 3) / 255])
        hue, saturation, value = hsv.T.reshape(3, 96, 96)
        warm = (np.minimum(hue, 1 - hue) < 0.13) & (saturation > 0.4) & (value > 0.3)
        rows, columns = np.nonzero(warm)
        assert columns.min() >= np.floor(x0) and columns.max() < np.ceil(x1)
        assert rows.min() >= np.floor(y0) and rows.max() < np.ceil(y1)
        # Around it, not around half the frame: nearly up to each edge something warm is seen.
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, [x0, y0, x1, y1], atol=4)


def test_scenes_of_different_splits_share_no_camera_phase_or_speed(clips):
    def parts(split):
        rng = np.random.default_rng(0)
        drawn = set()
        for _ in range(200):
            scene = clips.draw_scene(rng, split, 2)
            values = [("_ELEVATION", scene.elevation), ("_VIEW", scene.view)]
            for figure in scene.figures:
                turn = (figure.turn + 90) % 180 - 90
                values += [("_START", figure.start), ("_SPEED", figure.speed), ("_TURN", turn)]
            for name, value in values:
                low, high = getattr(clips, name)
                drawn.add((name, int((value - low) / (high - low) * PARTS)))
        return drawn

    train, val, test = (parts(split) for split in dataset.SPLITS)
    assert [len(train), len(val), len(test)] == [5 * 12, 5 * 6, 5 * 6]
    assert not train & val and not train & test and not val & test


def test_the_seed_of_a_clip_tells_its_split(clips, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(dataset, "map_processes", lambda f, items, *_: asked.extend(items) or [])
    monkeypatch.setitem(dataset.FAMILIES, "human", (clips.CLASSES, clips.render_clip))
    dataset.write_dataset(tmp_path / "clips", clips.CLIPS, **clips.LOOK, family="human", seed=3)
    assert len(asked) == 12 * 160
    for path, label, name, seed in asked:
        assert clips.CLASSES[label] == name
        assert dataset.split_of(seed) == path.parent.name
