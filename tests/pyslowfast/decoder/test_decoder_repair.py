"""When the decoder is mended, by which backend, and what it says of files that cannot be read."""

import importlib
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.decoder import install, is_needed

FPS = {"25": 25, "29.97": Fraction(30000, 1001)}


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_what_upstream_prints_names_the_video_and_the_reason(
    modules, tmp_path, capsys, backend, encode
):
    path = encode(tmp_path / "damaged.mp4", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        start = min(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    path.write_bytes(path.read_bytes()[:start] + bytes(2000))
    handle = modules[1].get_video_container(str(path), False, backend)
    result = modules[0].decode(handle, [4], [8], video_meta={}, backend=backend)
    assert result == (None, None, None)
    assert f"cannot read video {path}: Invalid data found" in capsys.readouterr().out


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_a_text_file_is_named_by_either_step(modules, tmp_path, capsys, backend):
    path = tmp_path / "text.mp4"
    path.write_text("not a video\n" * 100)
    try:
        handle = modules[1].get_video_container(str(path), False, backend)
    except Exception as error:
        assert "Invalid data found" in str(error) and str(path) in str(error)
        return
    assert modules[0].decode(handle, [4], [8], video_meta={}, backend=backend)[0] is None
    assert f"cannot read video {path}: Invalid data found" in capsys.readouterr().out


def test_a_missing_file_fails_where_upstream_expects_it(modules, tmp_path):
    for backend in ("pyav", "torchvision"):
        with pytest.raises(FileNotFoundError, match="none.mp4"):
            modules[1].get_video_container(str(tmp_path / "none.mp4"), False, backend)


def test_no_file_stays_open(modules, tmp_path, encode, open_files):
    path = encode(tmp_path / "v.mp4")
    for backend in ("pyav", "torchvision"):
        handle = modules[1].get_video_container(str(path), False, backend)
        clips, _, _ = modules[0].decode(handle, [1], [8], video_meta={}, backend=backend)
        assert len(clips[0]) == 8
        assert str(path) not in open_files()


def test_the_repair_is_needed_until_it_is_installed_and_once_is_enough(broken):
    decoder, video_container = broken
    assert is_needed(decoder)
    install(decoder, video_container)
    assert not is_needed(decoder)
    mended = decoder.decode, decoder.torchvision_decode, video_container.get_video_container
    install(decoder, video_container)
    again = decoder.decode, decoder.torchvision_decode, video_container.get_video_container
    assert all(first is second for first, second in zip(mended, again, strict=True))


def test_the_repair_is_not_needed_where_both_backends_work_or_for_the_wheel(broken, wheel_decoder):
    decoder, _ = broken
    decoder.io = SimpleNamespace(_probe_video_from_memory=len)
    assert is_needed(decoder)
    decoder.pyav_decode = lambda *args: decoder.get_multiple_start_end_idx(*args)
    assert not is_needed(decoder)
    decoder.io = SimpleNamespace()
    assert is_needed(decoder)
    assert not is_needed(wheel_decoder())


def test_torchcodec_that_is_missing_is_named_with_its_key_and_command(
    modules, tmp_path, monkeypatch, encode
):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    path = encode(tmp_path / "v.mp4", 2)
    with pytest.raises(
        InputError, match="DATA.DECODING_BACKEND: torchcodec .* pip install torchcodec"
    ):
        modules[1].get_video_container(str(path), False, "torchcodec")


def test_other_backends_stay_unknown(modules, tmp_path):
    with pytest.raises(NotImplementedError, match="decord"):
        modules[1].get_video_container(str(tmp_path / "v.mp4"), False, "decord")


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize("fps", ["25", "29.97"])
def test_torchcodec_gives_the_frames_of_pyav(modules, tmp_path, fps, name, encode, decode):
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError):
        pytest.skip("needs torchcodec and FFmpeg")
    path = encode(tmp_path / name, fps=FPS[fps])
    for rate, count, clips in ((4, 8, 5), (1, 1, 3), (1, 8, 4), (16, 16, 2)):
        for index in range(clips):
            pyav, torchcodec = (
                decode(modules, path, backend, (rate,), (count,), index, clips)
                for backend in ("pyav", "torchcodec")
            )
            assert pyav[0] == torchcodec[0]
            # torchcodec counts a video's fps, a header may round it.
            np.testing.assert_allclose(pyav[1], torchcodec[1], rtol=1e-3)
