"""``slowfast-ac prepare --resize``: sizes, times, what is left out and what is done again."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast_ac.data.datasets.resize import ResizeJob, fit, resize_video
from slowfast_ac.data.lists import read_list
from slowfast_ac.data.video import VideoReader, probe, read_frames
from slowfast_ac.errors import InputError

TIMES = range(0, 2000, 33)


def stamps(root):
    """Returns {file: (time of last change, content)}."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_resize_leaves_out_what_cannot_be_read_and_touches_no_original(
    tmp_path, put, video_bytes, command, upstream_list
):
    kinds = ("good", "corrupt", "empty", "cut short", "one frame", "variable", "sound", "long")
    for kind in kinds:
        put(tmp_path / f"tree/train/my class/{kind}.mp4", video_bytes[kind])
    put(tmp_path / "tree/val/my class/a.webm", video_bytes["webm"])
    before = stamps(tmp_path / "tree")
    out = tmp_path / "out"
    prefix = out / "videos/16"

    words = ("folder", tmp_path / "tree", "--output", out, "--resize", 16, "--workers", 2)
    _, report = command("prepare", *words)

    assert stamps(tmp_path / "tree") == before
    assert re.search(r"train +8 +8 +0 +3\n", report)
    read = upstream_list(out, "train", prefix)
    assert [Path(path).name for path, _ in read] == [
        "good.mp4", "long.mp4", "one_frame.mp4", "sound.mp4", "variable.mp4"
    ]  # fmt: skip
    assert (out / "val.csv").read_text() == "val/my_class/a.mp4 0\n"
    for path, _ in read:
        assert (probe(path).width, probe(path).height) == (22, 16)
    missing = (out / "missing.txt").read_text()
    assert "empty.mp4: the file is empty" in missing
    assert "corrupt.mp4: Invalid data" in missing and "cut short.mp4: Invalid data" in missing
    with av.open(str(out / "videos/16/train/my_class/sound.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    status, checked = command(
        "check_data", out / "train.csv", "--prefix", prefix,
        "--classes", out / "classes.json",
    )  # fmt: skip
    assert status == 0 and "5 lines, 0 bad, 1 notes" in checked


@pytest.mark.parametrize("kind", ["good", "variable", "webm", "avi", "one frame"])
def test_resized_frames_keep_their_times_and_pictures(kind, tmp_path, put, video_bytes):
    suffix = kind if kind in ("webm", "avi") else "mp4"
    source = put(tmp_path / f"a.{suffix}", video_bytes[kind])
    resize_video(ResizeJob(str(source), str(tmp_path / "b.mp4"), 12))
    old, old_times = read_frames(source)
    new, new_times = read_frames(tmp_path / "b.mp4")
    np.testing.assert_allclose(new_times, old_times, atol=5e-4)
    assert new.shape[1:3] == (12, 16)
    # The same picture: means over 2 x 2 pixels, but for what x264 loses.
    means = old.reshape(len(old), 12, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(new - means).mean() < 8


@pytest.mark.parametrize(("matrix", "spread"), [(1, 1), (1, 2), (5, 2), (2, 0)])
def test_resized_frames_keep_their_colours(matrix, spread, tmp_path):
    """BT.709 and BT.601 (or no tag), limited and full range."""
    source = tmp_path / "a.mp4"
    colour = (217, 28, 60)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, spread
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), "rgb24")
            other = {"dst_colorspace": {1: 1, 5: 5, 2: 5}[matrix], "dst_color_range": spread or 1}
            container.mux(stream.encode(frame.reformat(format="yuv420p", **other)))
        container.mux(stream.encode())
    resize_video(ResizeJob(str(source), str(tmp_path / "b.mp4"), 24))
    for path in (source, tmp_path / "b.mp4"):
        means = read_frames(path)[0].mean(axis=(0, 1, 2))
        np.testing.assert_allclose(means, colour, atol=5)


def test_a_video_that_was_replaced_is_resized_again_and_others_are_not(
    tmp_path, put, video_bytes, command
):
    tree, out = tmp_path / "tree", tmp_path / "out"
    for name in "ab":
        put(tree / f"train/c/{name}.mp4", video_bytes["good"])
    words = ("prepare", "folder", tree, "--output", out, "--resize", 16, "--workers", 1)
    command(*words)
    copies = out / "videos/16/train/c"
    before = stamps(copies)
    source = put(tree / "train/c/a.mp4", video_bytes["long"])
    newer = (copies / "a.mp4").stat().st_mtime + 1
    os.utime(source, (newer, newer))
    command(*words)
    assert probe(copies / "a.mp4").num_frames == 90
    assert stamps(copies)[copies / "b.mp4"] == before[copies / "b.mp4"]


def test_resized_videos_of_another_folder_are_not_taken(tmp_path, put, video_bytes, command):
    for tree in "ab":
        put(tmp_path / tree / "train/c/v.mp4", video_bytes["good"])
    words = ("--output", tmp_path / "out", "--resize", 16, "--workers", 1)
    command("prepare", "folder", tmp_path / "a", *words)
    before = stamps(tmp_path / "out")
    with pytest.raises(InputError, match=f"resized videos of {tmp_path}/a, not of {tmp_path}/b"):
        command("prepare", "folder", tmp_path / "b", *words, "--overwrite")
    assert stamps(tmp_path / "out") == before


def test_resized_video_has_the_encoders_key_frames(tmp_path, put, video_bytes):
    source = put(tmp_path / "a.avi", video_bytes["avi"])
    resize_video(ResizeJob(str(source), str(tmp_path / "b.mp4"), 12))
    with VideoReader(source) as old, VideoReader(tmp_path / "b.mp4") as new:
        assert sum(frame.key_frame for _, frame in old.frames()) > 1
        assert sum(frame.key_frame for _, frame in new.frames()) == 1


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((1920, 1080), 256, (456, 256)),
        ((1080, 1920), 256, (256, 456)),
        ((320, 240), 256, (320, 240)),
        ((341, 255), 256, (340, 254)),
        ((256, 256), 256, (256, 256)),
        ((640, 257), 257, (640, 256)),
        ((1, 1), 256, (2, 2)),
    ],
)
def test_size_is_even_and_never_grows(size, short_side, expected):
    assert fit(*size, short_side) == expected


@pytest.mark.slow
def test_killed_resize_goes_on_where_it_was(tmp_path, put, encode_video, command, session_members):
    content = encode_video(tmp_path / "a.mp4", TIMES, 480, 360).read_bytes()
    for number in range(6):
        put(tmp_path / f"tree/jump/{number}.mp4", content)
    words = ["folder", tmp_path / "tree", "--output", tmp_path / "out", "--resize", "180"]
    words = [str(word) for word in (*words, "--workers", 1)]
    code = (
        "import argparse, sys; from slowfast_ac.cli import prepare; p = argparse.ArgumentParser();"
        "prepare.add_arguments(p); prepare.main(p.parse_args(sys.argv[1:]))"
    )
    folder = tmp_path / "out/videos/180/jump"
    process = subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True)
    while not list(folder.glob("[0-9].mp4")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    # Its workers end by themselves.
    while session_members(process.pid):
        time.sleep(0.01)
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("[0-9].mp4")}
    assert 1 <= len(finished) < 6
    assert not (tmp_path / "out/train.csv").exists()
    put(folder / ".5-abcdefgh.mp4", b"left by a killed run")

    command("prepare", *words)

    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.mp4" for n in range(6)]
    listed = [*read_list(tmp_path / "out/train.csv"), *read_list(tmp_path / "out/val.csv")]
    assert sorted(entry.path for entry in listed) == [f"jump/{number}.mp4" for number in range(6)]
    for path in folder.iterdir():
        assert len(read_frames(path)[1]) == len(TIMES)
