"""The parts of a training clip's time, on a clock that only the work of the parts moves."""

import json

import pytest
import torch

from slowfast_ac.benchmark import loader as bench
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.train import Trainer
from slowfast_ac.cli import main
from slowfast_ac.errors import InputError

SETTINGS = Settings(torch.device("cpu"), batch=2, crop=64, iterations=3, warmup=1)
# Seconds of the made-up clock.
DECODE, AUGMENT, STEP = 3.0, 1.0, 4.0


@pytest.fixture
def cfg(tiny_cfg, video_lists):
    """A tiny network on twelve training videos, without workers."""
    return tiny_cfg(
        *("DATA.PATH_TO_DATA_DIR", str(video_lists), "DATA_LOADER.NUM_WORKERS", 0),
        *("DATA.SAMPLING_RATE", 1, "DATA.TRAIN_JITTER_SCALES", [64, 72]),
        *("MODEL.NUM_CLASSES", 3),
    )


@pytest.fixture
def clock(monkeypatch, upstream):
    """A clock that moves by DECODE, AUGMENT and STEP when a clip or the network is at work."""
    from slowfast.datasets import kinetics

    now = [0.0]

    def costs(owner, name, seconds):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            now[0] += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    costs(kinetics.container, "get_video_container", DECODE / 3)
    costs(kinetics.decoder, "decode", DECODE * 2 / 3)
    costs(kinetics.utils, "pack_pathway_output", AUGMENT)
    costs(Trainer, "step", STEP)
    return lambda: now[0]


def test_each_part_gets_its_own_time(cfg, clock):
    rows = {row["name"]: row for row in bench.bench_loader(cfg, SETTINGS, clock)}
    assert list(rows) == ["decode", "augment", "network", "loader", "run"]
    seconds = {name: pytest.approx(row["seconds"]) for name, row in rows.items()}
    assert seconds == {
        "decode": DECODE,
        "augment": AUGMENT,
        "network": STEP / 2,
        "loader": DECODE + AUGMENT,
        "run": DECODE + AUGMENT + STEP / 2,
    }
    # Two clips of four seconds, then a step of four.
    assert rows["run"]["waiting"] == pytest.approx(8 / 12)
    assert rows["decode"]["clips_per_second"] == pytest.approx(1 / DECODE)
    told = bench.verdict(list(rows.values()), workers=0)
    assert told["limited by"] == "the loader"
    # The network takes half a clip a second, a worker makes a quarter of one.
    assert told["workers that feed the network"] == 2


def test_a_network_that_does_not_wait_is_the_limit():
    rows = [
        *({"name": name, "clips_per_second": 10.0} for name in ("decode", "augment", "network")),
        {"name": "run", "waiting": 0.02},
    ]
    told = bench.verdict(rows, workers=4)
    assert told["limited by"] == "the network"
    assert told["the network waits for clips"] == "2 % of the time"
    assert told["workers that feed the network"] == 2


def test_a_list_of_less_than_a_batch_is_refused(cfg):
    with pytest.raises(InputError, match="--batch: 50 clips, but the training list has 12"):
        bench.bench_loader(cfg, Settings(batch=50, iterations=1))


def test_the_decoder_is_upstreams_again_afterwards(cfg):
    from slowfast.datasets import kinetics

    before = kinetics.decoder.decode
    bench.bench_loader(cfg, Settings(batch=2, iterations=1, warmup=0))
    assert kinetics.decoder.decode is before


def test_the_command_says_what_limits_the_run(cfg, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(cfg.dump())
    words = ["bench", "loader", "--cfg", str(tmp_path / "tiny.yaml"), "--output", str(tmp_path)]
    words += ["--batch", "2", "--iterations", "2", "--warmup", "1", "--device", "cpu"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "DATA_LOADER.NUM_WORKERS: 0" in out and "limited by: the" in out
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in written["rows"]] == [
        *("decode", "augment", "network", "loader", "run")
    ]
    assert (tmp_path / "bench.png").exists()
    assert main([*words, "--opts", "DATA.PATH_TO_DATA_DIR", str(tmp_path / "nowhere")]) == 2
    assert "nowhere/train.csv: cannot read this list" in capsys.readouterr().err
