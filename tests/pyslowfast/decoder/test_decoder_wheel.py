"""The wheel decodes the frames that it did before, and says which video fails and why."""

import av
import numpy as np
import pytest
import torch

from slowfast_ac.data.reader import VideoReader
from slowfast_ac.pyslowfast.decoder import install_wheel


def test_the_wheel_decodes_the_same_frames_as_before(tmp_path, encode, wheel_decoder, open_files):
    path = encode(tmp_path / "v.mp4")
    plain, mended = wheel_decoder(), wheel_decoder()
    install_wheel(mended)
    first = mended.pyav_decode
    install_wheel(mended)
    assert mended.pyav_decode is first
    for rate, count, clips in ((4, 8, 3), (3, 8, 7), (1, 1, 5)):
        for index in range(clips):
            handle = av.open(str(path))
            old = plain.decode(handle, rate, count, index, clips, target_fps=30)
            new = mended.decode(av.open(str(path)), rate, count, index, clips, target_fps=30)
            assert torch.equal(old, new)
            assert str(path) not in open_files()


@pytest.mark.parametrize("name", ["v.ts", "v.h264", "v.flv"])
def test_the_wheel_reads_what_its_own_decoder_does_not(
    tmp_path, name, encode, numbers, wheel_decoder
):
    path = encode(tmp_path / name)
    module = wheel_decoder()
    install_wheel(module)
    handle = VideoReader(path)
    # 100 frames, clips of 16: the fourth of five begins at 50.4 or, in a file decoded whole, there.
    got = numbers(module.decode(handle, 2, 8, 3, 5, target_fps=25))
    assert got[0] in (50, 51) and all(1 <= step <= 3 for step in np.diff(got))
    assert got[-1] in (65, 66)


@pytest.mark.parametrize(
    "name, index, reason",
    [
        ("audio.wav", 0, "it has no video stream"),
        ("damaged.mp4", 0, "Invalid data found"),
    ],
)
def test_the_wheel_names_the_video_and_the_reason(
    tmp_path, capsys, name, index, reason, encode, open_files, wheel_decoder
):
    path = tmp_path / name
    if name == "audio.wav":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    elif name == "damaged.mp4":
        encode(path, options={"movflags": "faststart"})
        with av.open(str(path)) as container:
            start = min(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
        path.write_bytes(path.read_bytes()[:start] + bytes(2000))

    module = wheel_decoder()
    install_wheel(module)
    container = av.open(str(path))
    assert module.decode(container, 1, 4, index, 10, target_fps=25) is None
    printed = capsys.readouterr().out
    assert f"cannot read video {path}: {reason}" in printed
    assert str(path) not in open_files()
