"""``check-data`` and ``prepare --resize`` in eight processes, all of them killed in the middle."""

import json
import os
import subprocess
import sys

import pytest

from slowfast_ac.data.datasets.check import check_videos
from slowfast_ac.ranks import Rank

KINDS = ("good", "corrupt", "variable")


@pytest.fixture
def tree(tmp_path, put, video_bytes):
    """A folder of a class with 24 videos, eight of them broken, eight with a remark."""
    paths = [tmp_path / f"tree/jump/{number:02}.mp4" for number in range(24)]
    for number, path in enumerate(paths):
        put(path, video_bytes[KINDS[number % 3]])
    return tmp_path / "tree"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_processes_check_every_video_once(tree, tmp_path, in_eight_processes, command):
    paths = [str(path) for path in sorted((tree / "jump").iterdir())]
    listing = tmp_path / "list.csv"
    # A line that names no video, and a repeated one.
    listing.write_text("".join(f"{path} 0\n" for path in [*paths, paths[0]]) + "nothing\n")
    words = ["check-data", listing, "--workers", 1, "--report", tmp_path / "report.csv"]
    statuses, first = in_eight_processes(*words, kill=True)
    assert statuses == [-9] * 8 and len(first) == 12
    assert not (tmp_path / "report.csv").exists()

    statuses, then = in_eight_processes(*words)

    assert sorted(statuses) == [0] * 7 + [1]
    assert sorted(first + then) == paths
    assert not (tmp_path / "report.csv.partial").exists()
    alone = check_videos(listing, report=tmp_path / "alone.csv", workers=1)
    assert len(alone.errors) == 9 and len(alone.notes) == 9
    assert (tmp_path / "report.csv").read_text() == (tmp_path / "alone.csv").read_text()
    with pytest.raises(ValueError, match="--report: needed, since this is process 2 of 8"):
        check_videos(listing, rank=Rank(1, 8))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_processes_resize_every_video_once(tree, tmp_path, in_eight_processes, command):
    words = ["prepare", "folder", tree, "--resize", 16, "--workers", 1, "--output"]
    statuses, first = in_eight_processes(*words, tmp_path / "out", kill=True)
    assert statuses == [-9] * 8 and len(first) == 12
    assert os.listdir(tmp_path / "out") == ["videos"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/videos/16/jump/*.mp4")}

    statuses, then = in_eight_processes(*words, tmp_path / "out")

    assert statuses == [0] * 8
    assert sorted(first + then) == [f"jump/{number:02}.mp4" for number in range(24)]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    command(*words, tmp_path / "alone")
    for name in ("train.csv", "val.csv", "missing.txt"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "alone" / name).read_text()
    # Four videos were finished, and their processes killed before they could keep the remark.
    notes = (tmp_path / "out/videos/notes.txt").read_text().splitlines()
    assert set(notes) <= set((tmp_path / "alone/videos/notes.txt").read_text().splitlines())
    assert len(notes) >= 4
    assert sorted(os.listdir(tmp_path / "out/videos")) == ["16", "16.origin", "notes.txt"]
    assert len(os.listdir(tmp_path / "out/videos/16/jump")) == 16


def test_prepare_without_resize_is_the_work_of_one_process(tree, tmp_path, monkeypatch, command):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="--resize: without it there is no work for process 2"):
        command("prepare", "folder", tree, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_resized_video_that_is_gone_is_not_listed(tree, tmp_path, command):
    out = tmp_path / "out"
    (out / "videos/16.partial").mkdir(parents=True)
    (out / "videos/16.partial/settings.json").write_text(json.dumps({"videos": str(tree)}))
    (out / "videos/16.partial/0-of-4.jsonl").write_text('{"video": "jump/00.mp4", "remarks": []}\n')
    with pytest.raises(ValueError, match="00.mp4: was written and is gone; delete .*16.partial"):
        command("prepare", "folder", tree, "--resize", 16, "--workers", 1, "--output", out)
    assert not (out / "train.csv").exists()


# Without processes, which would take minutes for as many items. Prints MB.
MANY = """
import resource, sys
from slowfast_ac.data import parallel
from slowfast_ac.journal import Journal
from slowfast_ac.ranks import ALONE
def call(function, items, *rest):
    return ((index, function(item)) for index, item in enumerate(items))
parallel.iter_processes = call
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
items = {f"videos/{number:06}.mp4": number for number in range(240_000)}
journal = Journal(sys.argv[1], {}, ALONE)
for _ in parallel.keep_results(lambda item: {"remarks": ["x" * 1000]}, items, journal):
    pass
read = []
assert journal.finish(items, lambda entries: read.append(sum(1 for _ in entries)))
assert read == [240_000]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_results(tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", MANY, tmp_path / "report.csv"], capture_output=True, check=True
    )
    # The results take 240 MB. What is held, names and where each result is, took 96 MB.
    assert float(process.stdout) < 150
