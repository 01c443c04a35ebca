"""Windows over live sources: the same answers as of the file, little memory, no answer too late."""

import contextlib
import os
import socket
import threading
import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from slowfast_ac.data.live import LiveFrame, LiveReader
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.errors import InputError
from slowfast_ac.inference import stream
from slowfast_ac.inference.predict import predict
from slowfast_ac.inference.stream import predict_stream, rolling_windows
from slowfast_ac.inference.windows import sliding_spans

WINDOWS = {"window": 2.0, "stride": 1.5}


def frames_at(times, interval=0.04):
    return [LiveFrame(time, time + interval, None) for time in times]


def assert_equal(answers, predictions):
    """Checks spans and scores of answers, of which some may be missing."""
    by_start = {round(prediction.start, 3): prediction for prediction in predictions}
    for answer in answers:
        expected = by_start[round(answer.prediction.start, 3)]
        assert answer.prediction.end == pytest.approx(expected.end, abs=2e-3)
        np.testing.assert_allclose(answer.prediction.scores, expected.scores, atol=1e-6)
        assert answer.latency >= 0


@pytest.mark.parametrize("window, stride", [(2, 2), (2, 0.3), (3, 1.5), (1, 2.5), (9, 1), (50, 1)])
@pytest.mark.parametrize("count, interval", [(250, 0.04), (251, 0.04), (1, 0.04), (60, 0.15)])
def test_windows_are_those_of_a_file(window, stride, count, interval):
    frames = frames_at(np.arange(count) * interval, interval)
    found = list(rolling_windows(frames, window, stride))
    expected = sliding_spans(count * interval, window, stride)
    np.testing.assert_allclose([w.span for w in found], expected, atol=1e-3)
    for span, held in found:
        inside = [f.time for f in frames if span.start <= f.time < span.end - 1e-3]
        assert set(inside) <= {f.time for f in held}
        assert held[0].time <= span.start + 1e-9


def test_windows_without_a_frame_are_left_out():
    frames = frames_at([*np.arange(0, 5, 0.1), *np.arange(1000.05, 1003, 0.1)], 0.1)
    found = [span.start for span, _ in rolling_windows(frames, 1.0, 0.5)]
    before = [start for start in found if start < 500]
    after = [start for start in found if start > 500]
    assert before == list(np.arange(0, 5, 0.5))
    assert after[:-1] == list(np.arange(999.5, 1002.5, 0.5))
    assert after[-1] == pytest.approx(frames[-1].end - 1)


def test_no_more_than_a_window_of_frames_is_held():
    alive = weakref.WeakSet()

    class Picture:
        pass

    def frames():
        for number in range(5000):
            picture = Picture()
            alive.add(picture)
            yield LiveFrame(number * 0.04, number * 0.04 + 0.04, picture)

    most = 0
    for window in rolling_windows(frames(), 2.0, 1.0):
        del window
        most = max(most, len(alive))
    # 2 s of 25 frames, the one on the screen before and the one that ended the window.
    assert 50 <= most <= 53


@pytest.mark.parametrize(
    "changes", [{}, {"ends_with_span": True}, {"dataset": "charades"}, {"dataset": "ssv2"}]
)
@pytest.mark.parametrize("views", [CENTER_VIEW, Views(3, 3)])
def test_a_file_is_answered_as_predict_does(brightness, fading, changes, views):
    model = brightness(**changes)
    answers = list(predict_stream(model, fading, views, **WINDOWS))
    expected = predict(model, fading, views, **WINDOWS)
    assert len(answers) == len(expected) == 5
    assert_equal(answers, expected)
    assert not any(answer.skipped for answer in answers)


def test_the_window_is_a_clip_by_default(brightness, fading):
    model = brightness()
    answers = list(predict_stream(model, fading))
    assert len(answers) == 10
    assert_equal(answers, predict(model, fading, CENTER_VIEW, stride=model.preprocessing.seconds))


@pytest.fixture
def paced():
    """Returns a function: bytes, write -> a thread that writes half and, when told so, the rest."""
    threads, goes_on = [], threading.Event()

    def start(data, open_writer):
        def send():
            with contextlib.suppress(BrokenPipeError), open_writer() as file:
                file.write(data[: len(data) // 2])
                file.flush()
                assert goes_on.wait(120), "there was no answer to the first half"
                file.write(data[len(data) // 2 :])

        threads.append(threading.Thread(target=send))
        threads[-1].start()
        return goes_on

    yield start
    goes_on.set()
    for thread in threads:
        thread.join(120)


def test_a_pipe_is_answered_while_it_is_written(brightness, fading, streamed, tmp_path, paced):
    model, path = brightness(), tmp_path / "pipe"
    os.mkfifo(path)
    goes_on = paced(streamed(fading), partial(path.open, "wb"))
    answers = []
    for answer in predict_stream(model, str(path), **WINDOWS):
        answers.append(answer)
        goes_on.set()
    expected = predict(model, fading, CENTER_VIEW, **WINDOWS)
    assert len(answers) == len(expected)
    assert_equal(answers, expected)


def test_a_connection_is_answered_while_it_sends(brightness, fading, streamed, paced):
    model = brightness()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        goes_on = paced(streamed(fading), lambda: server.accept()[0].makefile("wb"))
        answers = []
        for answer in predict_stream(model, f"tcp://127.0.0.1:{port}", **WINDOWS):
            answers.append(answer)
            goes_on.set()
    expected = predict(model, fading, CENTER_VIEW, **WINDOWS)
    assert_equal(answers, expected)
    # How many it skips depends on the machine; the last window is never skipped.
    assert len(answers) + sum(answer.skipped for answer in answers) == len(expected)
    assert answers[-1].prediction.end == pytest.approx(8.0, abs=2e-3)


def test_a_slow_network_takes_the_latest_window_of_a_source_that_goes_on(
    brightness, fading, monkeypatch
):
    model, all_read = brightness(), threading.Event()
    read = LiveReader.frames

    def frames(reader):
        reader.waits = False
        yield from read(reader)

    offer = stream._Reading._offer

    def offered(reading, ready):
        offer(reading, ready)
        if ready.window.span.end > 7.99:
            all_read.set()

    def scores(pathways):
        assert all_read.wait(120)
        return model.scores(pathways)

    monkeypatch.setattr(LiveReader, "frames", frames)
    monkeypatch.setattr(stream._Reading, "_offer", offered)
    answers = list(predict_stream(replace(model, scores=scores), fading, **WINDOWS))
    expected = predict(model, fading, CENTER_VIEW, **WINDOWS)
    assert_equal(answers, expected)
    assert 1 <= len(answers) <= 2
    assert sum(answer.skipped for answer in answers) == len(expected) - len(answers)
    assert answers[-1].prediction.end == pytest.approx(8.0)


@pytest.mark.parametrize("waits", [True, False])
def test_the_reading_thread_ends_with_its_consumer(brightness, fading, monkeypatch, waits):
    read = LiveReader.frames

    def endless(reader):
        reader.waits = waits
        pictures = [frame.picture for frame in read(reader)]
        number = 0
        while True:
            yield LiveFrame(number / 25, (number + 1) / 25, pictures[number % len(pictures)])
            number += 1

    monkeypatch.setattr(LiveReader, "frames", endless)
    answers = predict_stream(brightness(), fading, **WINDOWS)
    starts = [next(answers).prediction.start for _ in range(4)]
    assert all(first < second for first, second in pairwise(starts))
    [thread] = [thread for thread in threading.enumerate() if thread.name == fading]
    answers.close()
    thread.join(120)
    assert not thread.is_alive()


def test_an_error_of_the_source_comes_after_its_answers(brightness, fading, monkeypatch):
    read = LiveReader.frames

    def broken(reader):
        for frame in read(reader):
            if frame.time > 4:
                raise InputError("cannot read camera: unplugged")
            yield frame

    monkeypatch.setattr(LiveReader, "frames", broken)
    answers = []
    with pytest.raises(InputError, match="unplugged"):
        for answer in predict_stream(brightness(), fading, **WINDOWS):
            answers.append(answer)
    assert [answer.prediction.start for answer in answers] == [0.0, 1.5]


@pytest.mark.parametrize(
    "changes, windows, message",
    [
        ({}, {"window": 0.5}, "window: 0.5 s is shorter than this network's clip"),
        ({}, {"stride": 0.0}, "stride: 0 s is not positive"),
        ({"dataset": "ssv2"}, {"stride": 1.0}, "window: needed in seconds"),
    ],
)
def test_invalid_windows_are_refused(brightness, fading, changes, windows, message):
    with pytest.raises(InputError, match=message):
        next(predict_stream(brightness(**changes), fading, **windows))
