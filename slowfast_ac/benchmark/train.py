"""Measures one training step of each network: operations, memory and time."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast_ac.benchmark import networks
from slowfast_ac.benchmark.counting import count_step
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import add_times, interleave
from slowfast_ac.models.counts import count_parameters

MEBIBYTE = 2**20


class Trainer:
    """One network with upstream's loss and optimizer, and a step as upstream's loop takes it.

    Args:
        cfg: config of one network.
        batch: the clips and labels of every step.
        device: where it runs.
    """

    def __init__(self, cfg: CfgNode, batch: networks.Batch, device: torch.device):
        self.model = networks.build_network(cfg, device).train()
        self.loss_func = networks.find_loss(cfg)
        optimizers = importlib.import_module("slowfast.models.optimizer")
        self.optimizer = optimizers.construct_optimizer(self.model, cfg)
        self.compiled = cfg.COMPUTE.COMPILE
        self.batch = batch
        self.device = device

    def loss(self) -> Tensor:
        """Computes the batch's loss."""
        # Upstream's SlowFast overwrites the items of its input list.
        loss = self.loss_func(self.model(list(self.batch.clips)), self.batch.labels)
        return loss[0] if isinstance(loss, tuple) else loss

    def step(self) -> None:
        """Takes one step."""
        loss = self.loss()
        loss.item()  # upstream's loop looks for nan here, and so waits for the GPU
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def count(self) -> dict[str, float]:
        """Counts one step without the optimizer; for a compiled network, only its operations.

        Compiled code keeps other features, and the counters cannot see into it.
        """
        present = [*self.model.parameters(), *self.model.buffers(), *self.batch.clips]
        # A stage whose first call is inside the counters would never be compiled.
        with torch.compiler.set_stance("force_eager"):
            count = count_step(self.loss, present)
        self.optimizer.zero_grad()
        clips = len(self.batch.labels)
        operations = {
            "params": count_parameters(self.model),
            "forward_gflops": count.forward / clips / 1e9,
            "backward_gflops": count.backward / clips / 1e9,
            "gflops": (count.forward + count.backward) / clips / 1e9,
        }
        if self.compiled:
            return operations
        return operations | {
            "saved_mebibytes": count.saved_bytes / MEBIBYTE,
            "peak_mebibytes": count.peak_bytes / MEBIBYTE,
        }

    def cuda_peak(self) -> float:
        """Takes a step and returns the GPU memory it needs, as if nothing else were there, in MiB.

        The optimizer's state must exist, so not the first step.
        """
        self.optimizer.zero_grad()
        own = [*self.model.parameters(), *self.model.buffers(), *self.batch.clips]
        for state in self.optimizer.state.values():
            own += [value for value in state.values() if isinstance(value, Tensor)]
        return cuda_peak(self.step, self.device) + networks.resident_bytes(own) / MEBIBYTE


def cuda_peak(step: Callable[[], object], device: torch.device) -> float:
    """Returns the peak of the GPU memory that a call adds to what was in use before, in MiB."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE


def bench_train(cfg: CfgNode, settings: Settings) -> list[dict[str, Any]]:
    """Measures one training step of each network.

    Args:
        cfg: a config with two pathways.
        settings: how to measure; ``only`` has names of
            :data:`slowfast_ac.benchmark.networks.NETWORKS`.

    Returns:
        One row per network; see :mod:`slowfast_ac.benchmark.results`. Compiled rows are left out,
        with a line on stderr, if there is no compiler or nothing is timed.
    """
    cfg = cfg.clone()
    cfg.DATA.TRAIN_CROP_SIZE = settings.crop
    device = settings.device
    names = networks.choose(list(networks.NETWORKS), settings.only)
    names = networks.without_uncompilable(names, settings)
    data = networks.random_batch(cfg, settings.batch, settings.crop, device)
    trainers = {
        name: Trainer(networks.network_config(cfg, name, device), data, device) for name in names
    }
    rows = {name: {"name": name} | trainer.count() for name, trainer in trainers.items()}
    if settings.iterations:
        steps = {name: trainer.step for name, trainer in trainers.items()}
        add_times(rows, interleave(steps, settings), settings.batch)
        if device.type == "cuda":
            for name, trainer in trainers.items():
                rows[name]["cuda_peak_mebibytes"] = trainer.cuda_peak()
    add_ratios(rows)
    return list(rows.values())


def add_ratios(rows: dict[str, dict[str, Any]]) -> None:
    """Adds the ratios of operations and memory relative to the first row."""
    baseline = next(iter(rows.values()))
    for row in rows.values():
        for key in ("gflops", "saved_mebibytes", "peak_mebibytes", "cuda_peak_mebibytes"):
            if baseline.get(key) and key in row:
                row[f"{key}_ratio"] = row[key] / baseline[key]
