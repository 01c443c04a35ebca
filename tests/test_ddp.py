"""Two real processes on the CPU: a shared step is the single-process step on the joined batch.

This file is also the program of the processes: ``python test_ddp.py RANK FOLDER``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import slowfast_ac
from slowfast_ac import AttentionConsistencyLoss, create_slowfast_ac
from slowfast_ac.batchnorm import frozen_running_stats
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.build import build_model
from slowfast_ac.pyslowfast.config_file import load_config

PROCESSES = 2
LABELS = torch.tensor([1, 4, 0, 4])
CONFIG = (
    Path(__file__).resolve().parent.parent
    / "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"
)
CASES = {
    "default": [],
    "detail path": ["SCAM.UPSAMPLE", True],
    "no gradient into the second scale": ["SCAM.GRAD", False],
    "own class": ["AC.CLASSES", "label", "AC.NORMALIZE", "l2"],
    "lambda 0": ["AC.LAMBDA", 0.0],
}


def build(name):
    """The model of a case with BatchNorm in evaluation mode: each clip is on its own."""
    cfg = load_config(CONFIG, ["RESNET.ZERO_INIT_FINAL_BN", False, *CASES[name]])
    torch.manual_seed(0)
    return without_batch_statistics(build_model(cfg))


def build_plain():
    """The same without PySlowFast."""
    torch.manual_seed(0)
    tiny = {"model_num_class": 5, "model_depth": 18, "stem_dim_out": 16, "crop_size": 64}
    return without_batch_statistics(create_slowfast_ac(**tiny, num_frames=16, dropout_rate=0.0))


def without_batch_statistics(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
            module.weight.data.fill_(1)  # PyTorchVideo starts each block's last one at zero
    return model


def batch():
    generator = torch.Generator().manual_seed(0)
    fast = torch.randn(len(LABELS), 3, 16, 64, 64, generator=generator)
    return [fast[:, :, torch.linspace(0, 15, 4).long()], fast]


def step(model, clips, labels):
    """One forward and backward pass with PySlowFast's criterion."""
    from slowfast.models.losses import get_loss_func

    preds = model(clips)
    criterion = get_loss_func("attention_consistency")(reduction="mean")
    criterion.takes_terms = True  # before September 2022 the loop took the loss alone
    loss, terms = criterion(preds, labels)
    loss.backward()
    return {"maps": hasattr(preds, "attention"), "loss": loss.item(), "terms": terms}


def plain_step(model, clips, labels):
    """The same in plain torch."""
    output = model(clips[1])
    loss, terms = AttentionConsistencyLoss(return_terms=True)(output, labels)
    loss.backward()
    return {"maps": output.attention is not None, "loss": loss.item(), "terms": terms}


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# What a process does ----------------------------------------------------------------------------


def work(rank, folder):
    torch.set_num_threads(1)
    slowfast_ac.register()
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    share = slice(rank * 2, rank * 2 + 2)
    clips, labels = [clip[share] for clip in batch()], LABELS[share]
    results = {"BatchNorm": synchronised_batchnorm(rank), "unused": with_unused(clips, labels)}
    for name in CASES:
        model = build(name)
        parallel = DistributedDataParallel(model)
        step(parallel, list(clips), labels)
        parallel.zero_grad()
        # A parameter without gradient in the first step would stop the second.
        results[name] = step(parallel, list(clips), labels) | {"gradients": gradients(model)}
    for unused in (False, True):
        model = build_plain()
        parallel = DistributedDataParallel(model, find_unused_parameters=unused)
        found = plain_step(parallel, clips, labels)
        results["plain", unused] = found | {"gradients": gradients(model)}
    torch.save(results, folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def with_unused(clips, labels):
    """What comes of a step under find_unused_parameters: an error's message, or nothing."""
    model = DistributedDataParallel(build("default"), find_unused_parameters=True)
    try:
        step(model, list(clips), labels)
    except InputError as error:
        return str(error)
    return ""


def synchronised_batchnorm(rank):
    """A frozen pass of PyTorchVideo's layer, whose statistics are those of all processes."""
    from pytorchvideo.layers.batch_norm import NaiveSyncBatchNorm3d

    torch.manual_seed(rank)
    layer, x = NaiveSyncBatchNorm3d(num_features=3).train(), 2 * torch.randn(2, 3, 2, 4, 4) + 1
    layer.running_mean.fill_(0.25)
    with frozen_running_stats(layer):
        found = layer(x).detach()
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer(x)
    return {"x": x, "found": found, "buffers": buffers, "later mean": layer.running_mean}


# The tests --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranks(upstream, tmp_path_factory):
    """What each of the processes found."""
    folder = tmp_path_factory.mktemp("processes")
    package = Path(slowfast_ac.__file__).parent.parent
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(rank), str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_process_on_the_joined_batch(ranks, name):
    model = build(name)
    alone = step(model, batch(), LABELS)
    compare([rank[name] for rank in ranks], alone, model)


@pytest.mark.parametrize("find_unused_parameters", [False, True])
def test_plain_gradients_are_those_of_one_process_on_the_joined_batch(
    ranks, find_unused_parameters
):
    model = build_plain()
    alone = plain_step(model, batch(), LABELS)
    compare([rank["plain", find_unused_parameters] for rank in ranks], alone, model)


def compare(steps, alone, model):
    for found in steps:
        assert found["maps"]
        assert found["gradients"].keys() == gradients(model).keys()
        for parameter, expected in gradients(model).items():
            size = expected.abs().max()
            assert size > 0
            shared = found["gradients"][parameter]
            torch.testing.assert_close(shared / size, expected / size, rtol=0, atol=1e-4)
    losses = [found["loss"] for found in steps]
    assert losses[0] != losses[1]
    assert sum(losses) / PROCESSES == pytest.approx(alone["loss"], rel=1e-5)


def test_maps_that_get_lost_on_the_way_are_an_error_and_not_a_silent_cross_entropy(ranks):
    # find_unused_parameters makes DistributedDataParallel rebuild the predictions.
    for rank in ranks:
        assert "without attention maps" in rank["unused"]


def test_frozen_pass_of_synchronised_batchnorm_normalises_with_all_processes(ranks):
    everything = torch.cat([rank["BatchNorm"]["x"] for rank in ranks])
    mean = everything.mean(dim=(0, 2, 3, 4), keepdim=True)
    deviation = everything.var(dim=(0, 2, 3, 4), keepdim=True, unbiased=False).add(1e-5).sqrt()
    for rank in ranks:
        result = rank["BatchNorm"]
        expected = (result["x"] - mean) / deviation
        torch.testing.assert_close(result["found"], expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(result["buffers"]["running_mean"], torch.full((3,), 0.25))
        assert torch.equal(result["buffers"]["running_var"], torch.ones(3))
        assert result["buffers"]["num_batches_tracked"] == 0
        later = 0.9 * 0.25 + 0.1 * mean.flatten()
        torch.testing.assert_close(result["later mean"], later)


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
