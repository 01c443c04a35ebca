"""Remarks: what training meets in a video, said by ``check-data`` and ``prepare --resize``."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from slowfast_ac.data.datasets.check import check_videos
from slowfast_ac.data.datasets.resize import ResizeJob, resize_video
from slowfast_ac.data.find_videos import distinct_stems
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.video import read_frames

MILLISECOND = Fraction(1, 1000)


@pytest.fixture
def findings(tmp_path):
    """Returns a function: videos -> [(severity, kind, reason)] of a list of them."""

    def check(*paths):
        (tmp_path / "list.csv").write_text("".join(f"{path} 0\n" for path in paths))
        report = check_videos(tmp_path / "list.csv", workers=1)
        return [(one.severity, one.kind, one.reason) for one in report.findings]

    return check


def test_a_video_of_a_constant_rate_has_none(tmp_path, write_numbered, findings):
    names = (f"v.{suffix}" for suffix in ("mp4", "mkv", "ts", "flv"))
    assert findings(*(write_numbered(tmp_path / name, range(40), 25) for name in names)) == []


def test_times_that_go_backwards_or_jump_are_told(tmp_path, write_numbered, findings):
    part = write_numbered(tmp_path / "part.ts", range(25), 25).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    kinds = {kind: reason for _, kind, reason in findings(tmp_path / "joined.ts")}
    assert "times go backwards 1 times" in kinds["times"] and "2.00 s in all" in kinds["times"]
    ticks = [*range(0, 400, 40), *range(5400, 5800, 40)]
    path = write_numbered(tmp_path / "gap.mkv", ticks, 25, MILLISECOND)
    kinds = {kind: reason for _, kind, reason in findings(path)}
    assert kinds["times"] == "times jump: the frame at 0.36 s stays for 5.04 s"
    assert (
        "40 to 5040 ms between frames; clips take the frame on screen 30 times a"
        in (kinds["frame rate"])
    )


def test_a_wrong_rate_in_the_header_is_told(tmp_path, write_numbered, findings):
    ticks = np.cumsum([0] + [1] * 5 + [33] * 30)
    path = write_numbered(tmp_path / "v.avi", ticks, 1000, MILLISECOND)
    kinds = {kind: reason for _, kind, reason in findings(path)}
    assert kinds["header"].startswith("wrong rate in the header: 1000 frames per second, but they")


def test_frames_that_do_not_advance_make_a_line_bad(tmp_path, write_numbered, findings):
    source = write_numbered(tmp_path / "v.mkv", range(20), 25, bf="0")
    path = tmp_path / "equal.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts = packet.dts = 0
                packet.stream = stream
                new.mux(packet)
    ((severity, kind, reason),) = findings(path)
    assert (severity, kind) == ("error", "unreadable")
    assert "begin at the same time as another" in reason


@pytest.mark.slow
def test_pixels_that_are_not_square_are_told_and_kept(tmp_path, write_numbered, findings):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for _ in range(10):
            image = np.full((32, 64, 3), 90, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    ((_, kind, reason),) = findings(path)
    assert kind == "pixels" and "not square (4:3); the whole picture is used as it is" in reason
    remarks = resize_video(ResizeJob(str(path), str(tmp_path / "small.mp4"), 16))
    assert [remark.kind for remark in remarks] == ["pixels"]
    with VideoReader(tmp_path / "small.mp4") as reader:
        assert reader.stream.sample_aspect_ratio == Fraction(4, 3)


def test_a_resized_copy_is_upright_and_its_last_frame_stays_as_long(tmp_path, write_numbered):
    ticks = [0, 1000, 2000, 6000]
    path = write_numbered(tmp_path / "slides.mp4", ticks, 30, MILLISECOND, bf="0")
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    resize_video(ResizeJob(str(path), str(tmp_path / "small.mp4"), 16))
    frames, times = read_frames(tmp_path / "small.mp4")
    assert frames.shape[1:3] == (32, 16)
    assert times.tolist() == pytest.approx([0, 1, 2, 6], abs=1e-3)
    with VideoReader(path) as old, VideoReader(tmp_path / "small.mp4") as new:
        assert new.duration == pytest.approx(old.duration, abs=0.01)
        assert not new.stored_sizes and old.shown_size == (64, 32)


def test_names_are_distinct_however_many_are_alike():
    names = ["a.mp4", "b/a.mp4", "a_2.mp4", "c/a.mp4", "a_2.avi"]
    assert distinct_stems(names) == ["a", "a_2", "a_2_2", "a_3", "a_2_3"]
    # Of quadratic time this would take minutes.
    many = distinct_stems([f"{number}/clip.mp4" for number in range(200_000)])
    assert len(set(many)) == len(many) and many[:2] == ["clip", "clip_2"]
