"""``slowfast-ac app`` in a real browser: answers, pictures, keyboard, no foreign requests."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from slowfast_ac.cli import main
from slowfast_ac.data.video import write_video
from slowfast_ac.data.views import Views
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Chromium's own camera, which shows a green picture with a moving disc.
CAMERA = "--use-fake-device-for-media-stream"
# Milliseconds after which a browser gives up; a busy machine is slow.
PATIENCE = 240_000


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 3 seconds, moving stripes."""
    path = tmp_path_factory.mktemp("app") / "stripes.mp4"
    x, y = np.meshgrid(np.arange(80), np.arange(64))
    waves = (128 + 100 * np.sin((x + 0.5 * y) / 6 + time / 3) for time in range(75))
    write_video(path, (np.repeat(wave[..., None], 3, 2).astype(np.uint8) for wave in waves), 25)
    return path


@pytest.fixture
def checkpoints(build_model, tiny_cfg, tmp_path):
    """Two files of weights of the same classes."""
    paths = []
    for seed, name in enumerate(("ours", "theirs")):
        torch.manual_seed(seed)
        cfg = tiny_cfg("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 4)
        path = tmp_path / name / "checkpoint.pyth"
        path.parent.mkdir()
        state = build_model(cfg).state_dict()
        torch.save({"model_state": state, "cfg": cfg.dump(), "epoch": 0}, path)
        paths.append(path)
    return paths


@pytest.fixture
def class_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(f"<class {number}>" for number in range(7)))
    return path


@pytest.fixture
def models(checkpoints, class_file):
    paths = dict(zip(("ours", "theirs"), checkpoints, strict=True))
    return {name: load_model(path, classes=class_file) for name, path in paths.items()}


@pytest.fixture
def page(models, tmp_path, monkeypatch):
    """The page in a browser; its attribute ``requests`` has the addresses that it asked for."""
    pytest.importorskip("gradio", reason="needs gradio: pip install 'slowfast_ac[app]'")
    reason = "needs playwright: pip install playwright"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    from slowfast_ac.visualization.page import build_page, serve

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with sync_api.sync_playwright() as playwright:
        program = CHROMIUM or playwright.chromium.executable_path
        if not os.path.exists(program):
            pytest.skip("needs Chromium: playwright install chromium, or a distribution's package")
        served = build_page(models, tmp_path, Views(2, 1))
        url = serve(served, "127.0.0.1", None)
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--use-fake-ui-for-media-stream", CAMERA],
            timeout=PATIENCE,
        )
        try:
            page = browser.new_page(permissions=["camera", "microphone"])
            page.set_default_timeout(PATIENCE)
            page.requests = []
            page.on("request", lambda request: page.requests.append(request.url))
            page.goto(url)
            page.get_by_role("button", name="Name the action").wait_for()
            yield page
        finally:
            browser.close()
            served.close()


@pytest.mark.slow
def test_a_video_gets_names_a_timeline_and_maps(page, models, video):
    page.locator("input[type=file]").first.set_input_files(video)
    page.locator("video").first.wait_for()
    page.get_by_role("button", name="Name the action").click()
    status = page.get_by_role("status").filter(has_text="ours: <class")
    status.wait_for()
    best = {}
    for name, model in models.items():
        [whole] = predict(model, video, Views(2, 1))
        [number] = whole.top(1)
        best[name] = f"<class {number}>", whole.scores[number]
        shown = page.get_by_role("button", name=re.compile(f"<class {number}> .*%"))
        assert f"{100 * whole.scores[number]:.0f}%" in " ".join(shown.all_inner_texts())
    expected = "; ".join(f"{name}: {label} {score:.2f}" for name, (label, score) in best.items())
    assert status.inner_text() == expected
    for name in models:
        assert page.get_by_role("heading", name=name, exact=True).count() == 1
    # The pictures have arrived and hold something.
    pictures = page.get_by_role("img", name=re.compile("Scores over time"))
    assert pictures.count() == 2
    for number in range(2):
        pictures.nth(number).evaluate("image => image.decode()")
        assert pictures.nth(number).evaluate("image => image.naturalWidth") > 400
    assert page.get_by_role("heading", name=re.compile(r"Attention for <class \d>, ")).count() == 1
    maps = page.locator("video").last
    width = "video => new Promise(done => video.readyState ? done(video.videoWidth) : "
    width += "video.addEventListener('loadedmetadata', () => done(video.videoWidth)))"
    assert maps.evaluate(width) == 3 * 80
    page.get_by_text("Best class of each clip").first.click()
    first = page.get_by_role("row").filter(has_text="0.00 to 1.07 s").first
    assert "<class" in first.inner_text()
    elsewhere = [url for url in page.requests if urlsplit(url).hostname not in ("127.0.0.1", None)]
    assert not elsewhere
    assert len(page.requests) > 5


@pytest.mark.slow
def test_a_recording_of_the_camera_gets_names_and_maps(page):
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.get_by_role("button", name="start recording").click()
    stop = page.locator("button:has-text('Stop')")
    stop.wait_for()
    page.wait_for_timeout(2500)
    with page.expect_response(re.compile("upload")):
        stop.click()
    page.locator("video[src]").first.wait_for()
    page.get_by_role("button", name="Name the action").click()
    page.get_by_role("status").filter(has_text="ours: <class").wait_for()
    end = page.get_by_role("heading", name=re.compile("Attention for")).inner_text().split()[-2]
    # However few frames a busy machine recorded.
    assert 0 < float(end) < 10


@pytest.mark.slow
def test_nothing_can_be_loaded_from_elsewhere(page):
    assert "default-src 'self'" in page.request.get(page.url).headers["content-security-policy"]
    loads = "url => fetch(url).then(() => 'loaded', () => 'refused')"
    refusal = "new Promise(done => document.addEventListener('securitypolicyviolation', "
    refusal += "event => done(event.effectiveDirective)))"
    page.evaluate(f"() => {{ window.refused = {refusal} }}")
    assert page.evaluate(loads, "http://127.0.0.2:9/") == "refused"
    assert page.evaluate("() => window.refused") == "connect-src"


@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_bad_input_is_one_line(page, tmp_path):
    names = []
    name = "document.activeElement.ariaLabel || document.activeElement.innerText"
    while len(names) < 20 and "Name the action" not in names:
        page.keyboard.press("Tab")
        names.append(page.evaluate(name).strip())
    assert names[-1] == "Name the action"
    assert "Upload file" in names and "Capture from camera" in names and "" not in names
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    alert.filter(has_text="There is no video yet: choose one first.").wait_for()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    page.locator("input[type=file]").first.set_input_files(broken)
    page.locator("video").first.wait_for()
    page.get_by_role("button", name="Name the action").click()
    alert.filter(has_text="cannot read video broken.mp4: ").wait_for()
    assert str(tmp_path) not in alert.first.inner_text()
    assert page.get_by_role("heading", name="ours").count() == 0


@pytest.mark.slow
def test_the_command_listens_on_this_machine_only_and_removes_uploads(checkpoints, tmp_path):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'slowfast_ac[app]'")
    words = ["-m", "slowfast_ac", "app", *map(str, checkpoints)]
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        # Otherwise a failing test would wait for it forever.
        stack.callback(process.kill)
        line = process.stdout.readline().decode()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(stop with Ctrl-C\)\n", line), (
            process.stderr.read().decode()
        )
        assert list(tmp_path.glob("slowfast-ac-*"))
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0
    assert not list(tmp_path.glob("slowfast-ac-*"))


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app", str(tmp_path / "none.pyth")]) == 2
    assert "app needs the package gradio, which is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_checkpoint_gives_one_line(capsys, tmp_path):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'slowfast_ac[app]'")
    path = Path(tmp_path / "none.pyth")
    assert main(["app", str(path)]) == 2
    assert capsys.readouterr().err == f"slowfast-ac: {path}: no such file\n"
