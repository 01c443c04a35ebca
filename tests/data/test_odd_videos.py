"""Odd files, as people's cameras, browsers and tools write them: what is read is what is shown."""

import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from slowfast_ac.data.picture import to_rgb
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video import VideoReader, read_frames
from slowfast_ac.errors import InputError

MILLISECOND = Fraction(1, 1000)
CLIP = Preprocessing(8, 4, None, 32, (0.45,) * 3, (0.225,) * 3)
STARTS = [0.0, 0.5, 1.3, 2.0]


def browser_times(kind):
    draw = np.random.default_rng(0)
    steps = {
        "jitter": draw.choice([16, 17, 33, 33, 34, 50], 99),
        "burst": [1] * 5 + [33] * 94,
        "pause": [33] * 40 + [900] + [33] * 40,
    }[kind]
    return np.cumsum([0, *steps])


def without_header_times(path):
    """Voids DefaultDuration and Duration, which browsers do not write."""
    data = bytearray(path.read_bytes())
    for element in (b"\x23\xe3\x83", b"\x44\x89"):
        at = data.find(element, 0, 2000)
        if at >= 0:
            length = len(element) + 1 + (data[at + len(element)] & 0x7F)
            data[at : at + length] = bytes([0xEC, 0x80 | (length - 2)]) + bytes(length - 2)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["jitter", "burst", "pause"])
def test_a_browsers_recording_has_the_frames_of_the_same_film_as_mp4(
    tmp_path, write_numbered, number_of, kind, clips_at
):
    times = browser_times(kind)
    webm = write_numbered(tmp_path / "v.webm", times, 25, MILLISECOND, container={"live": "1"})
    without_header_times(webm)
    mp4 = write_numbered(tmp_path / "v.mp4", times, 30, MILLISECOND)
    clips = {path: clips_at(path, CLIP, STARTS) for path in (webm, mp4)}
    for start, one, other in zip(STARTS, clips[webm], clips[mp4], strict=True):
        shown = [number_of(image) for image in one.frames]
        assert shown == [number_of(image) for image in other.frames]
        assert one.times.tolist() == pytest.approx(other.times.tolist(), abs=1e-9)
        instants = start + np.linspace(0, 31, 8).astype(int) / 30
        early = np.searchsorted(times / 1000, instants - 0.00052, side="right") - 1
        late = np.searchsorted(times / 1000, instants + 1 / 30 + 0.00052, side="right") - 1
        assert ((early <= shown) & (shown <= late)).all()
    with VideoReader(webm) as reader:
        assert reader.fps == pytest.approx(len(times) / reader.duration)
        assert reader.duration == pytest.approx(times[-1] / 1000, abs=0.05)


MATRICES = {
    "as it is": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "the other transposed": (0, -1, -1, 0),
}


def with_matrix(path, matrix):
    a, b, c, d = (0x10000 * value for value in matrix)
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)


@pytest.mark.parametrize("name", list(MATRICES))
def test_a_video_is_upright_as_its_matrix_says(tmp_path, write_numbered, name):
    path = write_numbered(tmp_path / "v.mp4", range(9))
    stored = read_frames(path)[0]
    with_matrix(path, MATRICES[name])
    shown, _ = read_frames(path)
    # Every pixel, moved by the matrix; then the corner of the picture to the origin.
    a, b, c, d = MATRICES[name]
    y, x = np.mgrid[: stored.shape[1], : stored.shape[2]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    expected = np.zeros((len(stored), down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[:, down, across] = stored
    assert np.array_equal(shown, expected)
    with VideoReader(path) as reader:
        assert reader.shown_size == expected.shape[1:3]
        later = next(reader.at([5])).frame.to_ndarray(format="rgb24")
    assert np.array_equal(later, expected[5])


@pytest.mark.parametrize("marked", [False, True])
def test_the_film_is_read_and_not_the_cover_before_it(
    tmp_path, write_numbered, numbered, number_of, marked
):
    film = write_numbered(tmp_path / "film.mp4", range(40))
    path = tmp_path / "cover_first.mkv"
    with av.open(str(path), "w") as output, av.open(str(film)) as source:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 48, "yuvj420p"
        if marked:
            cover.disposition = av.stream.Disposition.attached_pic
        copy = output.add_stream_from_template(source.streams.video[0])
        picture = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 200, np.uint8), format="rgb24")
        output.mux(cover.encode(picture))
        output.mux(cover.encode())
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    frames, _ = read_frames(path)
    assert [number_of(frame) for frame in frames] == list(range(40))


def test_every_frame_has_the_first_ones_size(tmp_path, numbered, number_of):
    raw = b""
    for width, height in ((64, 32), (32, 64)):
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.options = Fraction(1, 30), {"bf": "0", "g": "10"}
        for number in range(30):
            image = numbered(number + 30 * (width == 32), width, height)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            raw += b"".join(bytes(packet) for packet in context.encode(frame))
        raw += b"".join(bytes(packet) for packet in context.encode())
    (tmp_path / "v.h264").write_bytes(raw)
    path = tmp_path / "size_changes.mkv"
    with av.open(str(path), "w") as output, av.open(str(tmp_path / "v.h264")) as source:
        copy = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.pts, packet.dts, packet.duration = number, number, 1
            packet.time_base, packet.stream = Fraction(1, 30), copy
            output.mux(packet)
    frames, _ = read_frames(path)
    assert frames.shape == (60, 32, 64, 3)
    assert [number_of(frame) for frame in frames] == list(range(60))
    # Also where reading begins with the other size.
    with VideoReader(path) as reader:
        later = next(reader.at([55])).frame.to_ndarray(format="rgb24")
    assert later.shape == (32, 64, 3) and number_of(later) == 55


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_joined_files_are_one_after_the_other(tmp_path, write_numbered, number_of, suffix):
    part = write_numbered(tmp_path / f"part.{suffix}", range(50), 25).read_bytes()
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(part + part)
    with VideoReader(path) as reader:
        timeline = reader.timeline
        shown = [number_of(one.frame.to_ndarray(format="rgb24")) for one in reader.at([3, 60, 99])]
    assert timeline.jumps == 1 and len(timeline.times) == 100
    assert timeline.end == pytest.approx(4.0, abs=0.05)
    assert (np.diff(timeline.times) > 0).all()
    assert shown == [3, 10, 49]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
@pytest.mark.parametrize("begin", [-20, 77])
def test_a_film_may_begin_at_any_time(tmp_path, write_numbered, number_of, suffix, begin, clips_at):
    options = {"avoid_negative_ts": "disabled"} if suffix == "mkv" else {}
    path = tmp_path / f"v.{suffix}"
    write_numbered(path, range(begin, begin + 60), 25, container=options, bf="0")
    frames, times = read_frames(path)
    assert [number_of(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(times, np.arange(60) / 25, atol=0.00101)
    clip = clips_at(path, CLIP, [0.4])[0]
    assert number_of(clip.frames[0]) == 10


def test_frames_that_do_not_advance_are_no_video(tmp_path, numbered):
    path = tmp_path / "equal_times.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            for packet in stream.encode(frame):
                packet.pts = packet.dts = 0
                output.mux(packet)
    with pytest.raises(InputError, match=r"equal_times.mkv: 29 of its 30 frames begin at the same"):
        read_frames(path)


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "-1.mp4", "%03d.mp4", "a b#?.mp4"])
def test_a_name_is_only_a_name(tmp_path, write_numbered, monkeypatch, name):
    write_numbered(tmp_path / "v.mp4", range(10)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_frames(name)[0]) == 10


def test_what_may_never_end_is_not_read(tmp_path, write_numbered):
    os.mkfifo(tmp_path / "pipe.mp4")
    write_numbered(tmp_path / "v.ts", range(10))
    (tmp_path / "live.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv.ts\n#EXTINF:1,\nnext.ts\n"
    )
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile v.ts\n")
    for name in ("pipe.mp4", "live.m3u8", "list.ffconcat"):
        with pytest.raises(InputError, match=f"cannot read video .*{name}: [^\n]+$"):
            read_frames(tmp_path / name)
    with pytest.raises(InputError, match="http://host/v.mp4: only files are read; download it"):
        read_frames("http://host/v.mp4")


@pytest.mark.parametrize("options", [{"movflags": "faststart"}, {}])
def test_a_clip_after_the_end_of_a_cut_file_is_refused(tmp_path, write_numbered, options, clips_at):
    suffix = "mp4" if options else "ts"
    path = write_numbered(tmp_path / f"v.{suffix}", range(90), container=options, g="10", bf="0")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with VideoReader(path) as reader:
        assert reader.duration < 2.6
    with pytest.raises(InputError, match="it has no frame at or after 2.8 s|Invalid data"):
        clips_at(path, CLIP, [2.8])


@pytest.mark.parametrize("count", [4, 120])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_pause_before_the_last_frames_is_seen_though_b_frames_hide_it(
    tmp_path, write_numbered, number_of, suffix, count, clips_at
):
    # The times of decoding, which an index lists, are equally spaced all the same.
    ticks = [*range(count - 1), count + 40]
    path = write_numbered(tmp_path / f"v.{suffix}", ticks, 25, bf="3")
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.timeline.times, np.array(ticks) / 25, atol=0.00101)
    clip = clips_at(path, CLIP, [(count + 20) / 25])[0]
    assert number_of(clip.frames[0]) == count - 2


def test_a_song_with_a_cover_is_no_film(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=44100)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 200, np.uint8), format="rgb24")
        output.mux([*cover.encode(picture), *cover.encode()])
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate, silence.pts = 44100, 0
        output.mux([*sound.encode(silence), *sound.encode()])
    with pytest.raises(InputError, match=r"song\.m4a: it has a cover picture and no film"):
        VideoReader(path)


def test_vp8_frames_that_are_never_shown_do_not_count(tmp_path, numbered, number_of):
    path, hidden = tmp_path / "v.webm", (7, 31)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=30, options={"deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        pictures = (av.VideoFrame.from_ndarray(numbered(n), format="rgb24") for n in range(60))
        packets = [packet for picture in pictures for packet in stream.encode(picture)]
        for number, packet in enumerate([*packets, *stream.encode()]):
            data = bytearray(packet)
            if number in hidden:
                data[0] &= ~0x10  # show_frame, RFC 6386, section 9.1
            made = av.Packet(bytes(data))
            made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
            made.is_keyframe, made.stream = packet.is_keyframe, stream
            output.mux(made)
    shown = [number for number in range(60) if number not in hidden]
    frames, times = read_frames(path)
    assert [number_of(frame) for frame in frames] == shown
    np.testing.assert_allclose(times, np.array(shown) / 30, atol=1e-3)
    with VideoReader(path) as reader:
        assert len(reader.timeline.times) == 58
        found = [number_of(to_rgb(one.frame)) for one in reader.at([6, 7, 29, 30])]
    assert found == [6, 8, 30, 32]
