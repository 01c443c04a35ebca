"""What tests share: one PySlowFast a process, the wheel unless PYSLOWFAST_ROOT names a checkout."""

import gc
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from slowfast_ac.data.video import write_video

ROOT = Path(__file__).resolve().parent.parent
TWO = [[1, 1], [2, 2], [2, 2], [2, 2]]

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of a run in the background, whose children would ignore the Ctrl-C of tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """With PYSLOWFAST_ROOTS, runs pytest once for each of its checkouts and for the wheel."""
    roots = os.environ.get("PYSLOWFAST_ROOTS")
    if not roots:
        return None
    usual = {k: v for k, v in os.environ.items() if not k.startswith("PYSLOWFAST_ROOT")}
    command = [sys.executable, "-m", "pytest", *config.invocation_params.args]
    results = {}
    for root in ["", *filter(None, roots.split(os.pathsep))]:
        print(f"\n=== PySlowFast: {root or 'the wheel'}", flush=True)
        environment = {**usual, "PYSLOWFAST_ROOT": root}
        results[root] = subprocess.run(command, env=environment, check=False).returncode
    print()
    for root, status in results.items():
        print(f"{'passed' if status == 0 else 'FAILED'}  {root or 'the wheel'}")
    return max(results.values())


def pytest_collection_modifyitems(items):
    """Skips the tests that need a checkout where there is none, or a file that it does not have."""
    # After NNCF has quantised a network, caplog gets no records in its process.
    items.sort(key=lambda item: item.path.name == "test_quantize.py")
    root = os.environ.get("PYSLOWFAST_ROOT")
    skip = pytest.mark.skip(reason="needs a PySlowFast checkout: set PYSLOWFAST_ROOT")
    for item in items:
        needed = [mark.args[0] for mark in item.iter_markers("needs")]
        if not root and (needed or item.get_closest_marker("checkout")):
            item.add_marker(skip)
        for path in needed:
            if root and not (Path(root) / path).exists():
                item.add_marker(pytest.mark.skip(reason=f"this checkout has no {path}"))


def pytest_collection_finish():
    """Halves the time of garbage collection, which would go through all that was imported."""
    gc.freeze()


@pytest.fixture
def skip_unknown_keys(upstream):
    """Returns a function: skip the test if this PySlowFast has none of the keys' names yet."""
    from slowfast.config.defaults import get_cfg

    def check(opts):
        for key in opts[::2]:
            value = get_cfg()
            for name in key.split("."):
                if name not in value:
                    pytest.skip(f"this PySlowFast has no key {key}")
                value = value[name]

    return check


@pytest.fixture
def sequences_apart(upstream):
    """Skips where Ssv2 and Charades choose their frames inside __getitem__, unrepaired."""
    if upstream.kind == "checkout":
        from slowfast.datasets.ssv2 import Ssv2

        if not hasattr(Ssv2, "get_seq_frames"):
            pytest.skip("this checkout's data sets have no get_seq_frames")


@pytest.fixture(scope="session")
def upstream():
    """The PySlowFast of this test run, repaired and with the method registered."""
    from slowfast_ac.pyslowfast import setup

    return setup()


@pytest.fixture(scope="session")
def build_model(upstream):
    """PySlowFast's own ``build_model(cfg)``."""
    if upstream.kind == "wheel":
        from slowfast.models.model_builder import build_model

        return build_model
    from slowfast.models.build import MODEL_REGISTRY, build_model

    def build(cfg, *args, **kwargs):
        name = cfg.MODEL.MODEL_NAME
        if name.startswith("PTV") and name not in MODEL_REGISTRY:
            pytest.skip(f"this PySlowFast has no {name}")
        return build_model(cfg, *args, **kwargs)

    return build


@pytest.fixture(scope="session")
def tiny_cfg(upstream):
    """Returns a function: config keys and values in turn -> a config of a tiny two-stream network.

    16 and 4 frames of 64 x 64 pixels, so maps of 2 x 2; 7 classes; no zero initialisation, so that
    every layer matters. Eq. 1-3 as the paper writes them, so that they can be checked by hand.
    """
    from slowfast.config.defaults import get_cfg

    def make(*opts):
        cfg = get_cfg()
        cfg.merge_from_list(
            ["MODEL.MODEL_NAME", "SlowFastAC", "MODEL.LOSS_FUNC", "attention_consistency"]
            + ["MODEL.NUM_CLASSES", 7, "MODEL.DROPOUT_RATE", 0.0, "MODEL.FC_INIT_STD", 0.1]
            + ["NUM_GPUS", 0, "DATA.NUM_FRAMES", 16, "SLOWFAST.ALPHA", 4]
            + ["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64]
            + ["RESNET.WIDTH_PER_GROUP", 8, "RESNET.ZERO_INIT_FINAL_BN", False]
            + ["RESNET.SPATIAL_STRIDES", TWO, "RESNET.SPATIAL_DILATIONS", [[1, 1]] * 4]
            + ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [6, 6], [3, 3]]]
            + ["NONLOCAL.LOCATION", [[[], []]] * 4, "NONLOCAL.GROUP", [[1, 1]] * 4]
            + ["AC.CLASSES", "all", "AC.NORMALIZE", "none"]
            + ["SCAM.GRAD", True, "SCAM.FRAME_STRIDE", 1]
            + list(opts)
        )
        return cfg

    return make


@pytest.fixture
def clips():
    """Two random clips for ``tiny_cfg``: slow (2, 3, 4, 64, 64) and fast (2, 3, 16, 64, 64)."""
    generator = torch.Generator().manual_seed(0)
    fast = torch.randn(2, 3, 16, 64, 64, generator=generator)
    return [fast[:, :, torch.linspace(0, 15, 4).long()], fast]


@pytest.fixture(scope="session")
def streamed():
    """Returns a function: video, format -> the same packets as bytes that can be sent."""

    def remux(path, format="matroska"):
        buffer = io.BytesIO()
        buffer.seekable = lambda: False
        with av.open(str(path)) as source, av.open(buffer, "w", format=format) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        return buffer.getvalue()

    return remux


@pytest.fixture(scope="session")
def session_members():
    """Returns a function: process id -> the running processes of the session that it leads."""

    def members(session):
        members = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                members.append(stat.parent.name)
        return members

    return members


@pytest.fixture(scope="session")
def video_lists(tmp_path_factory):
    """A folder with train, val and test lists of real mp4 files: three classes, 72 x 72, 24 frames.

    The class is the direction in which a bright square moves over noise.
    """
    folder = tmp_path_factory.mktemp("lists")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        lines = []
        for label, (dx, dy) in enumerate(((2, 0), (0, 2), (0, 0))):
            for number in range(count):
                frames = np.repeat(rng.integers(0, 160, (1, 72, 72, 3), dtype=np.uint8), 24, axis=0)
                for time, frame in enumerate(frames):
                    x, y = 8 + dx * (time % 20), 8 + dy * (time % 20)
                    frame[y : y + 14, x : x + 14] = 255
                path = folder / f"{split}_{label}_{number}.mp4"
                write_video(path, frames, 30)
                lines.append(f"{path} {label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def video_folders(video_lists, tmp_path):
    """The folders ``videos/train`` and ``videos/val`` of class folders, two videos each."""
    for split in ("train", "val"):
        for label, name in enumerate(("right", "down", "still")):
            (tmp_path / "videos" / split / name).mkdir(parents=True)
            for number in range(2):
                file = video_lists / f"{split}_{label}_{number}.mp4"
                (tmp_path / "videos" / split / name / file.name).symlink_to(file)


# Each process notes the videos whose results it kept. "kill": it dies at its second one, those of
# an even number before they keep it, the others after.
EIGHT = """
import os, signal, sys
from slowfast_ac import cli, journal
log, kill, *words = sys.argv[1:]
if words[0] in ("predict", "features"):
    import slowfast_ac.inference.load  # once for all
add = journal.Journal.add
def noted(self, entry):
    left.pop()
    if not left and self.rank.number % 2 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, entry)
    with open(log, "a") as file:
        file.write(entry["video"] + "\\n")
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
journal.Journal.add = noted
left = [None] * (2 if kill == "kill" else 1000)
processes = []
for rank in range(8):
    process = os.fork()
    if process:
        processes.append(process)
        continue
    os.environ.update(RANK=str(rank), WORLD_SIZE="8", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="8")
    status = cli.main(words)
    sys.stdout.flush()
    os._exit(status)
print([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes])
"""


@pytest.fixture
def in_eight_processes(tmp_path):
    """Returns a function that runs a command as torchrun would, in eight processes.

    With ``kill``, they are killed when each has done one or two videos. Returns their exit statuses
    and the videos whose results they kept.
    """

    def run(*words, kill=False):
        log = tmp_path / "kept.log"
        log.write_text("")
        words = [log, "kill" if kill else "-", *words]
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", EIGHT, *map(str, words)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.returncode == 0, process.stderr
        return eval(process.stdout.splitlines()[-1]), log.read_text().splitlines()

    return run
