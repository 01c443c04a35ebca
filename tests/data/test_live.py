"""Frames of sources that may never end: pipes, loopback connections, odd clocks, lost packets."""

import contextlib
import os
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from slowfast_ac.data.live import LiveReader, is_live, public_name
from slowfast_ac.data.video import iter_frames, write_video
from slowfast_ac.errors import InputError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 3 seconds, 20 frames a second, a key frame every 12."""
    path = tmp_path_factory.mktemp("live") / "video.mp4"
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (32, 112, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for time in range(60):
            image = np.ascontiguousarray(texture[:, time : time + 48])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def pipe(tmp_path):
    """Returns a function: bytes -> a named pipe into which a thread writes them."""
    threads = []

    def write(path, data):
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(data)

    def feed(data):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        threads.append(threading.Thread(target=write, args=(path, data)))
        threads[-1].start()
        return str(path)

    yield feed
    for thread in threads:
        thread.join(60)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url_of(server, scheme="tcp"):
    return f"{scheme}://127.0.0.1:{server.getsockname()[1]}"


def read(source, **options):
    with LiveReader(str(source), **options) as reader:
        return [(f.time, f.end, f.picture.to_ndarray(format="rgb24")) for f in reader.frames()]


@pytest.mark.parametrize("format", ["file", "matroska", "mpegts"])
def test_frames_are_those_of_the_file(video, streamed, pipe, format):
    found = read(video if format == "file" else pipe(streamed(video, format)))
    expected = list(iter_frames(video))
    assert len(found) == len(expected) == 60
    for (time, end, frame), (wanted, picture) in zip(found, expected, strict=True):
        assert time == pytest.approx(wanted, abs=1e-3)
        assert end == pytest.approx(wanted + 0.05, abs=1e-3)
        np.testing.assert_array_equal(frame, picture)


def test_a_clock_that_starts_again_goes_on(video, streamed, pipe):
    data = streamed(video, "mpegts")
    times = [time for time, _, _ in read(pipe(data + data))]
    np.testing.assert_allclose(times, np.arange(120) / 20, atol=1e-3)


def test_a_reader_may_join_in_the_middle(video, streamed, pipe):
    data = streamed(video, "mpegts")
    packets = [data[start : start + 188] for start in range(0, len(data), 188)]
    # The tables at the beginning say what the stream is; then a few packets are lost.
    found = read(pipe(b"".join(packets[:2] + packets[6:40] + packets[44:])))
    times = [time for time, _, _ in found]
    assert 20 < len(times) <= 60
    assert times[0] == 0 and (np.diff(times) > 0).all()


def test_a_source_without_data_is_given_up(listener):
    with pytest.raises(InputError, match=r"cannot read tcp://127\.0\.0\.1:\d+: no data for 0.2 s"):
        read(url_of(listener), timeout=0.2)


def test_an_end_without_a_frame_is_an_error(listener):
    thread = threading.Thread(target=lambda: listener.accept()[0].close())
    thread.start()
    with pytest.raises(InputError, match=r"cannot read tcp://127\.0\.0\.1"):
        read(url_of(listener))
    thread.join(60)


@pytest.fixture
def website(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(60)


def test_a_playlist_of_the_network_is_read_but_no_file_that_it_names(
    video, streamed, website, tmp_path
):
    folder, url = website
    (folder / "part.ts").write_bytes(streamed(video, "mpegts"))
    (tmp_path / "secret.ts").write_bytes(streamed(video, "mpegts"))
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n"
    (folder / "good.m3u8").write_text(f"{head}part.ts\n#EXT-X-ENDLIST\n")
    (folder / "bad.m3u8").write_text(f"{head}file://{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n")
    assert len(read(f"{url}/good.m3u8")) == 60
    with pytest.raises(InputError, match="bad.m3u8"):
        read(f"{url}/bad.m3u8")


@pytest.mark.parametrize(
    "source, message",
    [
        ("none.mp4", "cannot read none.mp4: No such file or directory"),
        ("file:///etc/passwd", r"file:// is not one of http, https, "),
        ("concat://a", "concat:// is not one of"),
        (os.curdir, "is a folder, not a video"),
        (__file__, "Invalid data"),
    ],
)
def test_bad_sources_are_one_line(source, message):
    with pytest.raises(InputError, match=message):
        read(source)


def test_an_mp4_whose_index_is_at_its_end_cannot_be_piped(tmp_path, pipe):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (20, 128, 128, 3)).astype(np.uint8)
    write_video(tmp_path / "noise.mp4", noise, 20)
    with pytest.raises(InputError, match="no video that a pipe can carry; send Matroska"):
        read(pipe((tmp_path / "noise.mp4").read_bytes()))


def test_a_url_goes_on_and_a_pipe_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert is_live("rtsp://camera/1") and is_live(os.devnull)
    assert not is_live(str(tmp_path / "pipe")) and not is_live("-") and not is_live("none.mp4")


def test_names_have_no_password():
    assert public_name("rtsp://me:s@cret@host:554/x?y=1") == "rtsp://host:554/x?y=1"
    assert public_name("-") == "standard input"
    with pytest.raises(InputError, match=r"read http://127\.0\.0\.1:1/x:"):
        read("http://me:secret@127.0.0.1:1/x")
