"""Runs of a tiny network as users start them, and trainings step by step, for the tests here."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import simplejson
import torch

CONFIG = (
    Path(__file__).resolve().parents[2]
    / "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"
)


class Runs:
    """``slowfast-ac run`` in processes of its own, on lists of three classes.

    Args:
        lists: the folder of the lists.
    """

    def __init__(self, lists):
        self.lists = lists

    def arguments(self, output, *opts, cfg=CONFIG, lists=None):
        """Returns the command line after ``slowfast-ac``."""
        settings = ["DATA.PATH_TO_DATA_DIR", lists or self.lists, "OUTPUT_DIR", output]
        settings += ["MODEL.NUM_CLASSES", 3, "DATA.TRAIN_JITTER_SCALES", [64, 72], "LOG_PERIOD", 1]
        settings += ["DATA.NUM_FRAMES", 8, "TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.BATCH_SIZE", 6]
        return list(map(str, ["run", "--cfg", cfg, "--opts", *settings, *opts]))

    def start(self, output, *opts, environment=None, **kwargs):
        """Starts a run, with the arguments of ``subprocess.Popen``."""
        command = [sys.executable, "-m", "slowfast_ac", *self.arguments(output, *opts)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        return subprocess.Popen(command, env=environment, text=True, **kwargs)

    def fails(self, output, *opts, **kwargs):
        """Runs and returns the exit status, stdout and stderr."""
        process = self.start(
            output, *opts, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
        )
        printed, errors = process.communicate()
        return process.returncode, printed, errors

    def __call__(self, output, *opts, **kwargs):
        """Runs to the end and returns what was printed."""
        status, printed, errors = self.fails(output, *opts, **kwargs)
        assert status == 0, printed[-3000:] + errors[-3000:]
        return printed

    def kill(self, output, *opts, when):
        """Kills a run once its log has the pattern ``when``; returns what it had printed."""
        path, log_file = Path(output) / "printed.txt", Path(output) / "stdout.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as log:
            process = self.start(output, *opts, stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        found = None
        while not found and process.poll() is None and time.monotonic() < deadline:
            found = log_file.exists() and re.search(when, log_file.read_text())
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert found, path.read_text()[-3000:]
        return path.read_text()


@pytest.fixture(scope="session")
def runs(video_lists):
    """Runs of a tiny network: ``runs(output, KEY, VALUE, ...)`` and the methods of Runs."""
    return Runs(video_lists)


@pytest.fixture(scope="session")
def finished(runs, tmp_path_factory):
    """OUTPUT_DIR of a finished run of the method; tests change copies of it."""
    output = tmp_path_factory.mktemp("finished")
    runs(output)
    return output


@pytest.fixture
def refused(runs, capsys):
    """Returns a function: run in this process what is to be refused -> the one line."""
    from slowfast_ac.cli import main

    def run(output, *opts, **kwargs):
        status = main(runs.arguments(output, *opts, **kwargs))
        captured = capsys.readouterr()
        assert status == 2, captured
        assert len(captured.err.strip().splitlines()) == 1, captured.err
        return captured.err

    return run


@pytest.fixture(scope="session")
def json_stats():
    """Returns a function: text of a log -> its json_stats lines."""

    def parse(text):
        return [simplejson.loads(line) for line in re.findall(r"json_stats: (\{.*\})", text)]

    return parse


@pytest.fixture(scope="session")
def contents():
    """Returns a function: folder -> every file's path and bytes, to compare before and after."""

    def read(folder):
        # Python writes its caches itself, and git its index when it is asked for a status.
        return {
            path: path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file() and not {"__pycache__", ".git"} & set(path.parts)
        }

    return read


# Trainings step by step ---------------------------------------------------------------------------


@pytest.fixture
def training(build_model, tiny_cfg):
    """Returns a function: config keys -> (config, upstream's model, upstream's optimizer)."""
    import slowfast.models.optimizer as optim

    def make(*opts, seed=0):
        cfg = tiny_cfg(*opts)
        torch.manual_seed(seed)
        model = build_model(cfg).train()
        return cfg, model, optim.construct_optimizer(model, cfg)

    return make


@pytest.fixture(scope="session")
def networks():
    """Name of a network -> its config keys."""
    return {
        "SlowFastAC": (),
        "SlowFast": ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy"),
        "PTVSlowFastAC": ("MODEL.MODEL_NAME", "PTVSlowFastAC"),
        "ResNet": (
            *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy"),
            *("MODEL.ARCH", "slow", "DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
            *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "NONLOCAL.LOCATION", [[[]]] * 4),
            *("RESNET.SPATIAL_DILATIONS", [[1]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
            *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
        ),
    }


@pytest.fixture(scope="session")
def take_step(upstream):
    """Returns a function that takes one training step as both loops take it -> its rate."""
    import slowfast.models.losses as losses
    import slowfast.models.optimizer as optim

    def step(cfg, model, optimizer, clips, epoch=0.0):
        rate = optim.get_epoch_lr(epoch, cfg)
        optim.set_lr(optimizer, rate)
        preds = model(clips[:1] if cfg.MODEL.ARCH == "slow" else list(clips))
        criterion = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
        loss = criterion(preds, torch.tensor([0, 1]))
        optimizer.zero_grad()
        (loss[0] if isinstance(loss, tuple) else loss).backward()
        optimizer.step()
        return rate

    return step


@pytest.fixture
def load(upstream):
    """Upstream's ``load_checkpoint`` as its training loop calls it for a file that is given."""
    from slowfast.utils.checkpoint import load_checkpoint

    def call(path, model, optimizer=None, **options):
        return load_checkpoint(str(path), model, False, optimizer, **options)

    return call


@pytest.fixture(scope="session")
def save():
    """Returns a function that writes a checkpoint as upstream does -> its path."""

    def write(path, model, optimizer=None, epoch=4, **extras):
        checkpoint = {"model_state": model.state_dict(), **extras}
        if epoch is not None:
            checkpoint["epoch"] = epoch
        if optimizer is not None:
            checkpoint["optimizer_state"] = optimizer.state_dict()
        torch.save(checkpoint, path)
        return path

    return write


@pytest.fixture(scope="session")
def state():
    """Returns a function: model -> a copy of its state."""
    return lambda model: {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="session")
def differing():
    """Returns a function: two states -> the names whose tensors differ."""
    return lambda first, second: {n for n in first if not torch.equal(first[n], second[n])}


@pytest.fixture(scope="session")
def classifier():
    """The names of PySlowFast's classifier."""
    return {"head.projection.weight", "head.projection.bias"}
