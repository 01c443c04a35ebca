"""``slowfast-ac prepare folder``: what is a video, what is a class, and what is left out."""

from collections import Counter

import pytest

from slowfast_ac.data.datasets.folder import VideoFolder
from slowfast_ac.errors import InputError


def test_class_folders_are_divided_within_each_class(class_tree, tmp_path, command):
    words = ("folder", class_tree, "--val-fraction", 0.2, "--test-fraction", 0.3)
    lists = {}
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        command("prepare", *words, "--seed", seed, "--output", tmp_path / out)
        lists[out] = {
            split: (tmp_path / out / f"{split}.csv").read_text().splitlines()
            for split in ("train", "val", "test")
        }
    assert lists["a"] == lists["b"] != lists["c"]
    every = [line for listed in lists["a"].values() for line in listed]
    assert len(every) == len(set(every)) == 16
    count = {s: Counter(line[-1] for line in listed) for s, listed in lists["a"].items()}
    # Labels: jump 0, rare 1, run 2. One video is too few to divide and trains.
    assert count == {
        "train": {"0": 5, "1": 1, "2": 2},
        "val": {"0": 2, "2": 1},
        "test": {"0": 3, "2": 2},
    }


def test_later_video_does_not_reshuffle_the_others(class_tree, tmp_path, put, command, video_bytes):
    command("prepare", "folder", class_tree, "--output", tmp_path / "a")
    put(class_tree / "jump/new.mp4", video_bytes["good"])
    command("prepare", "folder", class_tree, "--output", tmp_path / "b")
    before, after = (set((tmp_path / out / "val.csv").read_text().splitlines()) for out in "ab")
    assert len(before - after) <= 1


def test_divided_folder_is_taken_as_it_is(tmp_path, put, video_bytes, command, pairs):
    tree = ("train/jump/a.mp4", "train/run/deep/b.mp4", "validation/jump/c.mp4", "test/run/d.mp4")
    for path in (
        *tree,
        "train/stray.mp4",
        "train/jump/.a.mp4",
        "train/.b/c.mp4",
    ):
        put(tmp_path / "tree" / path, video_bytes["good"])
    put(tmp_path / "tree/train/jump/d.txt", b"notes on a.mp4")
    _, report = command("prepare", "folder", tmp_path / "tree", "--output", tmp_path / "out")
    assert pairs(tmp_path / "out", "train") == [("a.mp4", 0), ("b.mp4", 1)]
    assert pairs(tmp_path / "out", "val") == [("c.mp4", 0)]
    assert pairs(tmp_path / "out", "test") == [("d.mp4", 1)]
    assert "1 videos are in no class folder and are left out: train/stray.mp4" in report


def test_linked_folders_are_followed_but_not_in_circles(class_tree, tmp_path, command, pairs):
    (tmp_path / "elsewhere").mkdir()
    (class_tree / "jump").rename(tmp_path / "elsewhere/jump")
    (class_tree / "jump").symlink_to(tmp_path / "elsewhere/jump")
    (class_tree / "run/again").symlink_to(class_tree)
    command("prepare", "folder", class_tree, "--output", tmp_path / "out")
    listed = [*pairs(tmp_path / "out", "train"), *pairs(tmp_path / "out", "val")]
    assert Counter(label for _, label in listed) == {0: 10, 1: 1, 2: 5}


def test_videos_are_found_by_what_they_hold(tmp_path, put, video_bytes, command, pairs):
    tree = tmp_path / "tree"
    for number in range(2):
        put(tree / f"bowling/{number}.MTS", video_bytes["good"])
        put(tree / f"archery/{number}", video_bytes["webm"])
        put(tree / f"curling/{number}.film", video_bytes["avi"])
    put(tree / "curling/notes.txt", b"by hand")
    put(tree / "curling/picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
    put(tree / "drums/a.wav", b"RIFF" + bytes(100))
    (tree / "empty").mkdir()
    _, report = command("prepare", "folder", tree, "--output", tmp_path / "out")
    listed = [*pairs(tmp_path / "out", "train"), *pairs(tmp_path / "out", "val")]
    assert Counter(label for _, label in listed) == {0: 2, 1: 2, 2: 2}
    assert (
        "note: 3 files are not videos and are left out: curling/notes.txt, curling/picture.png, "
        "drums/a.wav\n" in report
    )
    assert "note: 2 folders hold no video and are not classes: drums, empty\n" in report


def test_a_broken_video_of_a_usual_name_stays_in_the_lists(tmp_path, put, video_bytes):
    put(tmp_path / "a/good.mp4", video_bytes["good"])
    put(tmp_path / "a/bad.mp4", video_bytes["corrupt"])
    assert VideoFolder(tmp_path).paths == ["a/bad.mp4", "a/good.mp4"]


def test_a_folder_without_a_film_is_refused(tmp_path, put):
    put(tmp_path / "a/b.txt", b"text")
    with pytest.raises(InputError, match="no video below this folder; its 1 files are not videos"):
        VideoFolder(tmp_path)
