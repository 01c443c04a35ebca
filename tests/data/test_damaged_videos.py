"""Damaged files: each is read, or named with its reason in one line, and the next one goes on."""

import random

import pytest

from slowfast_ac.data.datasets.check import check_videos
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.errors import InputError

CONTAINERS = ["mp4", "mkv", "mov", "avi", "webm", "ts", "mpg", "flv", "3gp", "wmv"]
KINDS = ["overwritten", "cut", "spliced"]
CLIP = Preprocessing(4, 2, None, 16, (0.45,) * 3, (0.225,) * 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, write_numbered):
    """Bytes of a small film in every container."""
    folder = tmp_path_factory.mktemp("whole")
    paths = {name: folder / f"v.{name}" for name in CONTAINERS}
    return {name: write_numbered(path, range(40)).read_bytes() for name, path in paths.items()}


def damaged(content, other, kind, seed):
    data, draw = bytearray(content), random.Random(seed)
    if kind == "overwritten":
        for _ in range(20):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)
    if kind == "cut":
        return bytes(data[: draw.randrange(1, len(data))])
    first, last = sorted(draw.randrange(len(data)) for _ in range(2))
    data[first:last] = other[draw.randrange(len(other)) :]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_damaged_file_is_read_or_named(tmp_path, whole, container, kind, clips_at):
    for seed in range(2):
        path = tmp_path / f"{seed}.{container}"
        path.write_bytes(damaged(whole[container], whole["mkv"], kind, seed))
        try:
            with VideoReader(path) as reader:
                end = reader.duration
                assert all(frame.width for _, frame in reader.frames())
            for clip in clips_at(path, CLIP, [0.0, end / 2]):
                assert len(clip.frames) == 4
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_an_error_that_is_none_of_ffmpegs_names_the_file(tmp_path, whole, monkeypatch):
    # PyAV raises IndexError for some transport streams whose table of streams is damaged.
    path = tmp_path / "v.ts"
    path.write_bytes(whole["ts"])

    def broken(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr("slowfast_ac.data.reader.read_timeline", broken)
    with pytest.raises(InputError, match=rf"{path}: no video, or damaged \(list index"):
        next(VideoReader(path).frames())


def test_a_check_goes_on_past_damaged_files_and_tells_at_once(tmp_path, whole):
    lines = []
    for number, container in enumerate(CONTAINERS[:6]):
        (tmp_path / f"good.{container}").write_bytes(whole[container])
        (tmp_path / f"bad.{container}").write_bytes(whole[container][: 200 + number])
        lines += [f"bad.{container} 0\n", f"good.{container} 0\n"]
    (tmp_path / "list.csv").write_text("".join(lines))
    told = []
    report = check_videos(
        tmp_path / "list.csv", prefix=str(tmp_path), workers=1, tell=lambda one: told.append(one)
    )
    assert report.good_lines == [line.strip() for line in lines[1::2]]
    assert [finding.line for finding in report.errors] == [1, 3, 5, 7, 9, 11]
    assert told == report.findings
