"""The check of a list: every kind of bad line, what is only noted, and the cleaned list."""

import csv
import math

import pytest

from slowfast_ac.data.class_map import write_class_map
from slowfast_ac.data.datasets.check import check_videos
from slowfast_ac.data.parallel import map_processes
from slowfast_ac.data.video import probe
from slowfast_ac.errors import InputError


@pytest.fixture
def check(tmp_path, video_bytes, put):
    """Returns a function: {path: kind} and lines -> the report on them."""

    def run(videos, lines, **options):
        for path, kind in videos.items():
            put(tmp_path / path, video_bytes[kind])
        (tmp_path / "train.csv").write_text("".join(f"{line}\n" for line in lines))
        return check_videos(tmp_path / "train.csv", prefix=str(tmp_path), workers=1, **options)

    return run


def kinds(findings):
    return [(finding.line, finding.kind) for finding in findings]


def test_every_bad_line_is_found_with_its_real_reason(check, tmp_path):
    videos = {f"{kind.replace(' ', '_')}.mp4": kind for kind in ("good", "corrupt", "empty")}
    videos |= {"cut_short.mp4": "cut short", "one_frame.mp4": "one frame", "v.mp4": "variable"}
    (tmp_path / "folder.mp4").mkdir()
    lines = ["good.mp4 0", "corrupt.mp4 1", "empty.mp4 1", "cut_short.mp4 1", "nowhere.mp4 0"]
    lines += ["folder.mp4 0", "good.mp4,1", "one_frame.mp4 2", "one_frame.mp4 1", "", "v.mp4 1"]

    report = check(videos, lines, num_classes=2)

    reasons = {finding.line: finding.reason for finding in report.errors}
    assert list(reasons) == [2, 3, 4, 5, 6, 7, 8, 10]
    assert f"cannot read video {tmp_path}/corrupt.mp4: Invalid data found" in reasons[2]
    assert reasons[3] == f"cannot read video {tmp_path}/empty.mp4: the file is empty"
    assert "Invalid data found" in reasons[4]
    assert reasons[5].endswith("nowhere.mp4: No such file or directory")
    assert reasons[6].endswith("folder.mp4: Is a directory, not a file")
    assert "separated by ','" in reasons[7]
    assert "label 2 is not below" in reasons[8]
    assert "empty" in reasons[10]
    assert kinds(report.notes) == [(11, "frame rate")]
    assert report.good_lines == ["good.mp4 0", "one_frame.mp4 1", "v.mp4 1"]


def test_broken_end_is_found_where_the_start_can_be_read(check, encode_video, tmp_path):
    times = range(0, 3000, 33)
    whole = encode_video(tmp_path / "whole.mp4", times, movflags="faststart").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    assert probe(tmp_path / "cut.mp4").num_frames == len(times)
    report = check({}, ["whole.mp4 0", "cut.mp4 0"])
    assert kinds(report.errors) == [(2, "unreadable")]


@pytest.mark.parametrize(
    ("frames", "rate", "short"),
    [
        pytest.param(10, 2, [], marks=pytest.mark.slow),
        (11, 2, [1]),
        pytest.param(45, 2, [1], marks=pytest.mark.slow),
        (46, 2, [1, 2]),
    ],
)
def test_video_must_last_as_long_as_a_clip_at_30_fps(frames, rate, short, check):
    # 20 and 90 frames of 1/30 s.
    report = check(
        {"20.mp4": "good", "90.mp4": "long"},
        ["20.mp4 0", "90.mp4 0"],
        clip_frames=frames * rate,
    )
    assert kinds(report.errors) == [(line, "short") for line in short]


def test_length_of_a_video_counts_in_seconds_not_frames(check, encode_video, tmp_path):
    encode_video(tmp_path / "slow.mp4", [100 * number for number in range(20)])  # 10 fps, 2 s
    encode_video(tmp_path / "fast.mp4", [10 * number for number in range(50)])  # 100 fps, 0.5 s
    report = check({}, ["slow.mp4 0", "fast.mp4 0"], clip_frames=32)
    assert kinds(report.errors) == [(2, "short")]
    # The encoder, told 30 fps, says that the last frame stays for a thirtieth of a second.
    assert "50 frames last 0.52 s, a clip of 32 frames at 30 fps takes 1.07 s" in (
        report.errors[0].reason
    )


@pytest.mark.slow
def test_clock_of_milliseconds_is_no_variable_frame_rate(check):
    report = check({"a.webm": "webm", "b.avi": "avi"}, ["a.webm 0", "b.avi 0"])
    # The AVI counts chunks of a millisecond, most of them empty.
    assert kinds(report.findings) == [(2, "header")]
    assert "1000 frames per second, but they come at 30" in report.findings[0].reason


def test_variable_frame_rate_tells_the_intervals(check):
    report = check({"v.mp4": "variable"}, ["v.mp4 0"])
    assert "33 to 200 ms between frames" in report.notes[0].reason
    assert not report.errors


def test_one_path_with_two_labels_is_bad_on_every_line(check):
    report = check(
        {"a.mp4": "good", "b.mp4": "good"}, ["a.mp4 0", "b.mp4 1", "a.mp4 2", "b.mp4 1", "a.mp4 0"]
    )
    assert kinds(report.errors) == [(1, "conflict"), (3, "conflict"), (5, "conflict")]
    assert "0 on line 1, 2 on line 3, 0 on line 5" in report.errors[0].reason
    assert kinds(report.notes) == [(4, "repeated")]
    assert report.good_lines == ["b.mp4 1", "b.mp4 1"]


def test_label_must_be_that_of_the_class_folder(check):
    names = ["air drumming/a.mp4", "air_drumming/b.mp4", "jump/deep/c.mp4", "jump/d.mp4", "e.mp4"]
    report = check(
        dict.fromkeys(names[1:], "good") | {"air_drumming/a.mp4": "good"},
        ["air_drumming/a.mp4 0", *(f"{name} 1" for name in names[1:]), "jump/d.mp4 2"],
        classes={"air drumming": 0, "jump": 1},
    )
    assert (2, "label") in kinds(report.errors)
    assert (6, "line") in kinds(report.errors)
    assert len(report.errors) == 2
    assert kinds(report.notes) == [(5, "folder")]


def test_command_tells_writes_and_exits_by_the_result(command, tmp_path, video_bytes, put):
    put(tmp_path / "a.mp4", video_bytes["good"])
    put(tmp_path / "b.mp4", video_bytes["corrupt"])
    path = tmp_path / "train.csv"
    path.write_text("b.mp4 0\na.mp4 1\n")
    words = ("check_data", path, "--prefix", tmp_path, "--workers", 1)

    status, out = command(
        *words, "--write-clean", tmp_path / "clean/train.csv", "--report", tmp_path / "report.csv"
    )

    assert status == 1
    assert f"line 1: cannot read video {tmp_path}/b.mp4: Invalid data" in out
    assert f"{path}: 2 lines, 1 bad, 0 notes" in out
    assert (tmp_path / "clean/train.csv").read_text() == "a.mp4 1\n"
    with open(tmp_path / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["line"], row["severity"], row["kind"]) for row in rows] == [
        ("1", "error", "unreadable")
    ]
    path.write_text("a.mp4 1\n")
    assert command(*words)[0] == 0
    classes = tmp_path / "classes.json"
    write_class_map(classes, {"a": 0})
    assert command(*words, "--classes", classes)[0] == 1
    with pytest.raises(InputError, match="--rate: has no meaning without --frames"):
        command(*words, "--rate", 2)


def test_list_without_a_good_line_is_not_written(check, tmp_path):
    report = check({"a.mp4": "corrupt"}, ["a.mp4 0"])
    with pytest.raises(InputError, match="no line of the list is good"):
        report.write_clean(tmp_path / "clean.csv")
    assert not (tmp_path / "clean.csv").exists()


def test_process_that_dies_costs_its_own_item_only():
    # The first is still at work when the second takes the pool down.
    items = ["__import__('time').sleep(0.5)", "__import__('os')._exit(3)", "'b'", "[]"]
    results = map_processes(eval, items, workers=2)
    assert results[0] is None and results[2:] == ["b", []]
    assert isinstance(results[1], InputError)
    assert "died" in str(results[1])


def test_processes_return_results_in_order_and_refuse_less_than_one():
    assert map_processes(math.sqrt, [16, 9, 4, 1], workers=2) == [4, 3, 2, 1]
    with pytest.raises(InputError, match="--workers: 0"):
        map_processes(math.sqrt, [1], workers=0)
