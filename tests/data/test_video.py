"""Video files: every frame of these carries its number as eight bars, black or white."""

import io
import os
import re
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from slowfast_ac.data.video import (
    VideoReader,
    iter_frames,
    probe,
    read_frames,
    write_timed_video,
    write_video,
)
from slowfast_ac.errors import InputError

NUM_FRAMES = 60


def numbered(number):
    bars = [255 * (number >> bit & 1) for bit in range(8)]
    row = np.repeat(np.array(bars, np.uint8), 8)
    return np.broadcast_to(row[None, :, None], (32, 64, 3)).copy()


def number_of(frame):
    bars = frame.reshape(frame.shape[0], 8, -1, 3).mean((0, 2, 3)) > 127
    return int((bars << np.arange(8)).sum())


def encode(path, ticks=range(NUM_FRAMES), fps=25, codec="libx264", tick=None, **options):
    """Writes a frame per presentation time of ``ticks``, given in ``tick`` seconds (1 / fps)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = tick or 1 / Fraction(fps)
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = pts, tick or 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


LONG_GOP = {"g": "250", "bf": "3"}
SHORT_GOP = {"g": "12", "bf": "3"}
VARIABLE = [40 * n + 13 * (n % 3) + (600 if n > 30 else 0) for n in range(NUM_FRAMES)]
VIDEOS = {
    "mp4 with one key frame": ("v.mp4", dict(LONG_GOP)),
    "mp4": ("v.mp4", dict(SHORT_GOP)),
    "mp4 that starts at 4 s": ("v.mp4", dict(SHORT_GOP, ticks=range(100, 100 + NUM_FRAMES))),
    "mkv": ("v.mkv", dict(SHORT_GOP)),
    "mkv of variable rate": (
        "v.mkv",
        dict(SHORT_GOP, ticks=VARIABLE, tick=Fraction(1, 1000)),
    ),
    "ts": ("v.ts", dict(SHORT_GOP)),
    "flv": ("v.flv", dict(SHORT_GOP)),
    "avi, its B-frames out of order": ("v.avi", dict(SHORT_GOP)),
    "raw h264 without times": ("v.h264", dict(SHORT_GOP)),
    "webm": ("v.webm", {"codec": "libvpx", "g": "12"}),
}


@pytest.fixture(params=list(VIDEOS))
def video(request, tmp_path):
    """A path and the times at which its frames should be."""
    name, options = VIDEOS[request.param]
    times = np.arange(NUM_FRAMES) / 25
    if "variable" in request.param:
        times = (np.array(VARIABLE) - VARIABLE[0]) / 1000
    return encode(tmp_path / name, **options), times


def test_all_frames_come_in_order_with_their_times(video):
    path, times = video
    frames, read_times = read_frames(path)
    assert [number_of(frame) for frame in frames] == list(range(NUM_FRAMES))
    assert frames.dtype == np.uint8 and frames.shape[1:] == (32, 64, 3)
    np.testing.assert_allclose(read_times, times, atol=0.00051)


@pytest.mark.parametrize("start", [0.0, 0.01, 0.36, 0.44, 0.48, 0.5, 1.0, 1.43, 2.3])
def test_a_span_holds_the_frames_that_begin_in_it(video, start):
    path, _ = video
    _, times = read_frames(path)
    end = start + 0.3
    expected = np.flatnonzero((times >= start) & (times < end))
    got = [(time, number_of(frame)) for time, frame in iter_frames(path, start, end)]
    assert [number for _, number in got] == expected.tolist()
    assert [time for time, _ in got] == times[expected].tolist()


def test_one_reader_reads_spans_in_any_order(video):
    path, _ = video
    _, times = read_frames(path)
    with VideoReader(path) as reader:
        for start, end in ((1.5, 1.7), (0.2, 0.4), (0.0, 0.1), (2.0, 9.0), (0.0, 9.0)):
            expected = np.flatnonzero((times >= start) & (times < end)).tolist()
            frames = [frame.to_ndarray(format="rgb24") for _, frame in reader.frames(start, end)]
            assert [number_of(frame) for frame in frames] == expected


@pytest.mark.parametrize("indices", [[0], [7, 8, 30], [59], [12, 13, 47, 59]])
def test_frames_are_read_by_their_place(video, indices):
    path, _ = video
    with VideoReader(path) as reader:
        times = reader.timeline.times
        shown = list(reader.at(indices))
    assert [one.index for one in shown] == indices
    assert [number_of(one.frame.to_ndarray(format="rgb24")) for one in shown] == indices
    assert [one.time for one in shown] == times[indices].tolist()


def test_a_span_at_the_end_reads_little_of_the_file(tmp_path):
    class Counted(io.BytesIO):
        count = 0

        def read(self, size=-1):
            data = super().read(size)
            self.count += len(data)
            return data

    rng = np.random.default_rng(0)
    path = tmp_path / "v.mp4"
    write_video(path, rng.integers(0, 256, (600, 64, 64, 3), dtype=np.uint8), 25)
    file = Counted(path.read_bytes())
    with VideoReader(file) as reader:
        assert len(list(reader.frames(23.9))) == 2
    assert file.count < 0.6 * path.stat().st_size


def test_the_file_is_closed_when_reading_stops_early(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    path = encode(tmp_path / "v.mp4")
    frames = iter_frames(path)
    next(frames)
    assert str(path) in open_files()
    frames.close()
    probe(path)
    with pytest.raises(InputError, match="no frame in 50 to 60 s"):
        read_frames(path, 50, 60)
    assert str(path) not in open_files()


def open_files():
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.exists(link)]


def test_probe_says_what_was_encoded(video):
    path, times = video
    info = probe(path)
    assert (info.path, info.width, info.height) == (str(path), 64, 32)
    assert info.num_frames in (0, NUM_FRAMES)
    if np.ptp(np.diff(times)) < 1e-9:
        assert info.fps == 25
        assert info.duration == pytest.approx(NUM_FRAMES / 25)
    else:
        assert info.duration == pytest.approx(times[-1] + 0.04, abs=0.03)


def test_a_video_of_one_frame_is_read(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, [numbered(77)], 30)
    frames, times = read_frames(path)
    assert number_of(frames[0]) == 77 and times.tolist() == [0.0]
    assert probe(path).num_frames == 1


def unreadable(folder, kind):
    path = folder / f"{kind.replace(' ', '_')}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a video\n" * 200)
    elif kind == "cut short":
        data = encode(path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "audio":
        with wave.open(str(path), "wb") as audio:
            audio.setparams((1, 2, 8000, 0, "NONE", ""))
            audio.writeframes(bytes(16000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "no frame":
        encode(path, movflags="faststart")
        with av.open(str(path)) as container:
            packets = list(container.demux(video=0))
        data = bytearray(path.read_bytes())
        for packet in packets:
            if packet.pos is not None:
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("missing", "No such file or directory"),
        ("empty", "the file is empty"),
        ("text", "Invalid data found"),
        ("cut short", "Invalid data found.*cut short"),
        ("audio", "it has no video stream"),
        ("folder", "Is a directory"),
        ("no frame", "Invalid data found|no frame can be decoded"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path, kind, reason):
    path = unreadable(tmp_path, kind)
    message = f"^cannot read video {re.escape(str(path))}: .*({reason})"
    with pytest.raises(InputError, match=message) as caught:
        probe(path)
    assert "\n" not in str(caught.value)
    # A decoder's own words may differ where a header tells nothing.
    reason = reason if kind == "empty" else ""
    with pytest.raises(InputError, match=f"cannot read video {re.escape(str(path))}: {reason}"):
        next(iter_frames(path))


@pytest.mark.parametrize("fps", [15, 25, 30000 / 1001, 59.94])
def test_written_videos_have_their_rate_and_play_everywhere(tmp_path, fps):
    path = tmp_path / "v.mp4"
    write_video(path, (numbered(number) for number in range(40)), fps)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    frames, times = read_frames(path)
    assert [number_of(frame) for frame in frames] == list(range(40))
    np.testing.assert_allclose(times, np.arange(40) / fps, atol=1e-4)


def test_frames_are_written_at_their_own_times(tmp_path):
    times = np.cumsum([0, 0.033, 0.1, 0.0334, 0.2, 0.04])
    pairs = ((time, numbered(number)) for number, time in enumerate(times))
    write_timed_video(tmp_path / "v.mp4", pairs, len(times) / 0.45)
    frames, read = read_frames(tmp_path / "v.mp4")
    assert [number_of(frame) for frame in frames] == list(range(len(times)))
    np.testing.assert_allclose(read, times, atol=1e-4)


def test_odd_sizes_repeat_their_last_row_and_column(tmp_path):
    ramp = np.add.outer(4 * np.arange(21), 2 * np.arange(35))
    image = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    write_video(tmp_path / "v.mp4", [image] * 3, 25, crf=1)
    frames, _ = read_frames(tmp_path / "v.mp4")
    expected = np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    assert frames.shape[1:] == (22, 36, 3)
    assert np.abs(frames.astype(int) - expected).max() <= 6


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")

    def broken():
        yield numbered(0)
        raise RuntimeError("camera lost")

    with pytest.raises(RuntimeError, match="camera lost"):
        write_video(path, broken(), 25)
    with pytest.raises(InputError, match=r"cannot write video .*v\.mp4: there are no frames"):
        write_video(path, [], 25)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("ask", ["timeline", "stream", "num_frames", "shown_size"])
def test_a_closed_reader_says_so(tmp_path, ask):
    path = tmp_path / "v.mp4"
    write_video(path, np.zeros((4, 32, 32, 3), np.uint8), 10)
    with VideoReader(path) as reader:
        pass
    with pytest.raises(ValueError, match=r"v\.mp4 is closed"):
        getattr(reader, ask)
