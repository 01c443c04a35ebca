"""Measures what limits training: decoding, augmentation, loader workers or the network."""

import contextlib
import importlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast_ac.benchmark.networks import Batch
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import spread
from slowfast_ac.benchmark.train import Trainer
from slowfast_ac.errors import InputError
from slowfast_ac.figures import saved_figure

Clock = Callable[[], float]
# Share of the time that the network may wait; below it, more workers make no visible difference.
IDLE = 0.1


def bench_loader(
    cfg: CfgNode, settings: Settings, clock: Clock = time.perf_counter
) -> list[dict[str, Any]]:
    """Times the clips of a config's training list on their way into its network.

    Args:
        cfg: a config whose training list was checked.
        settings: how to measure; ``batch`` clips a step, ``iterations`` steps.
        clock: returns seconds.

    Returns:
        The rows ``decode`` and ``augment``, on one core; ``network``, a training step with clips
        that are already in memory; ``loader``, upstream's loader alone, with
        DATA_LOADER.NUM_WORKERS; and ``run``, both together, with ``waiting``, the share of the time
        that the network waited for clips. Times are seconds per clip. See
        :mod:`slowfast_ac.benchmark.results`.

    Raises:
        InputError: if the list is shorter than a batch, or the data set decodes no video.
    """
    cfg = cfg.clone()
    # The wheel's loader divides by the number of GPUs.
    cfg.TRAIN.BATCH_SIZE, cfg.NUM_GPUS = settings.batch, 1
    cfg.DATA_LOADER.PIN_MEMORY &= settings.device.type == "cuda"
    construct = importlib.import_module("slowfast.datasets.loader").construct_loader
    loader = construct(cfg.clone(), "train")
    cfg.NUM_GPUS = int(settings.device.type == "cuda")
    if not len(loader):
        raise InputError(
            f"--batch: {settings.batch} clips, but the training list has {len(loader.dataset)}"
        )
    decoding, augmenting = _time_items(loader.dataset, settings, clock)
    # Without the loader, whose workers would take cores from the network.
    there = loader.collate_fn([loader.dataset[index] for index in range(settings.batch)])
    trainer = Trainer(cfg, _to_batch(there, settings.device), settings.device)
    network = _time_steps(trainer.step, settings, clock)
    batches = _batches(loader, settings.device)
    loading = _time_steps(lambda: next(batches), settings, clock)
    waits: list[float] = []

    def step() -> None:
        start = clock()
        trainer.batch = next(batches)
        waits.append(clock() - start)
        trainer.step()

    running = _time_steps(step, settings, clock)
    rows = [
        _row("decode", decoding),
        _row("augment", augmenting),
        *(
            _row(name, [seconds / settings.batch for seconds in steps])
            for name, steps in (("network", network), ("loader", loading), ("run", running))
        ),
    ]
    rows[-1]["waiting"] = sum(waits[settings.warmup :]) / sum(running)
    return rows


def verdict(rows: Sequence[Mapping[str, Any]], workers: int) -> dict[str, object]:
    """Returns what limits the run, and how many workers would feed the network.

    Args:
        rows: of :func:`bench_loader`.
        workers: DATA_LOADER.NUM_WORKERS, which is per GPU.
    """
    of = {row["name"]: row for row in rows}
    clip = 1 / of["decode"]["clips_per_second"] + 1 / of["augment"]["clips_per_second"]
    waiting = of["run"]["waiting"]
    return {
        "DATA_LOADER.NUM_WORKERS": workers,
        "the network waits for clips": f"{100 * waiting:.0f} % of the time",
        "limited by": "the loader" if waiting > IDLE else "the network",
        "workers that feed the network": math.ceil(of["network"]["clips_per_second"] * clip),
    }


def draw_loader(title: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the clips per second of each row."""
    with saved_figure(path, figsize=(6, 3)) as figure:
        axis = figure.subplots()
        axis.barh([row["name"] for row in rows], [row["clips_per_second"] for row in rows])
        axis.invert_yaxis()
        axis.set(title=title, xlabel="clips per second")


def _time_items(dataset, settings: Settings, clock: Clock) -> tuple[list[float], list[float]]:
    """Returns the seconds of decoding and of the rest, for each of some clips, on one core."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist()
    wanted = itertools.islice(
        itertools.cycle(order), settings.batch * (settings.warmup + settings.iterations)
    )
    decoding, augmenting = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # As in a loader's worker.
    try:
        with _timed_decoder(clock) as spent:
            for index in wanted:
                spent.clear()
                start = clock()
                dataset[index]
                total = clock() - start
                decoding.append(sum(spent))
                augmenting.append(total - sum(spent))
                if not spent:
                    name = type(dataset).__name__
                    raise InputError(f"TRAIN.DATASET: {name} decodes no video; take kinetics")
    finally:
        torch.set_num_threads(threads)
    first = settings.batch * settings.warmup
    return decoding[first:], augmenting[first:]


@contextlib.contextmanager
def _timed_decoder(clock: Clock) -> Iterator[list[float]]:
    """Yields a list that collects the seconds of each call of upstream's decoder."""
    kinetics = importlib.import_module("slowfast.datasets.kinetics")
    places = [(kinetics.container, "get_video_container"), (kinetics.decoder, "decode")]
    originals = [getattr(module, name) for module, name in places]
    spent: list[float] = []

    def timed(function):
        def call(*args, **kwargs):
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append(clock() - start)

        return call

    for (module, name), original in zip(places, originals, strict=True):
        setattr(module, name, timed(original))
    try:
        yield spent
    finally:
        for (module, name), original in zip(places, originals, strict=True):
            setattr(module, name, original)


def _batches(loader, device: torch.device) -> Iterator[Batch]:
    """Yields batches, epoch after epoch."""
    while True:
        for collated in loader:
            yield _to_batch(collated, device)


def _to_batch(collated, device: torch.device) -> Batch:
    inputs, labels, *_ = collated
    clips = [clip.to(device, non_blocking=True) for clip in inputs]
    return Batch(clips, labels.to(device, non_blocking=True))


def _time_steps(step: Callable[[], object], settings: Settings, clock: Clock) -> list[float]:
    seconds = []
    for turn in range(settings.warmup + settings.iterations):
        start = clock()
        step()
        if settings.device.type == "cuda":
            torch.cuda.synchronize(settings.device)
        if turn >= settings.warmup:
            seconds.append(clock() - start)
    return seconds


def _row(name: str, seconds: list[float]) -> dict[str, Any]:
    time = spread(seconds)
    return {
        "name": name,
        "seconds": time.median,
        "seconds_low": time.low,
        "seconds_high": time.high,
        # Over all clips, since a loader's workers deliver in bursts.
        "clips_per_second": len(seconds) / sum(seconds),
    }
