"""Each repair against a small stand-in of what is broken, and against packages that are whole."""

import importlib
import inspect
import os
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import all_repairs, apply_repairs, checkpoints, imports, runtime


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout, with one module that imports by Meta's path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "train_net.py").write_text("WHERE = __name__\n")
    (tmp_path / "slowfast" / "models").mkdir(parents=True)
    return Upstream("checkout", tmp_path)


STAND_INS = ("vision", "detectron2", "pytorchvideo.losses", "torch._six")


@pytest.fixture
def modules(monkeypatch):
    """A monkeypatch after which the stand-ins in sys.modules are what they were."""
    before = {name: module for name, module in sys.modules.items() if name.startswith(STAND_INS)}
    yield monkeypatch
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.startswith(STAND_INS)]:
        del sys.modules[name]
    sys.modules.update(before)


def repair(name):
    return next(r for r in all_repairs() if r.name == name)


def hide(monkeypatch, *names):
    """Makes modules and their children unfindable."""
    real = importlib.util.find_spec

    def find_spec(name, package=None):
        if any(name == hidden or name.startswith(hidden + ".") for hidden in names):
            return None
        return real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    for name in list(sys.modules):
        if any(name == hidden or name.startswith(hidden + ".") for hidden in names):
            monkeypatch.delitem(sys.modules, name)


def test_metas_path_leads_into_the_checkout(checkout, modules):
    hide(modules, "vision")
    mend = repair("Meta's import path")
    assert mend.needed(checkout)
    mend.apply(checkout)
    module = importlib.import_module("vision.fair.slowfast.tools.train_net")
    assert module.WHERE == "vision.fair.slowfast.tools.train_net"
    assert not mend.needed(checkout)


def test_metas_path_is_left_alone_where_it_exists(checkout, modules):
    for name in ("vision", "vision.fair", "vision.fair.slowfast"):
        modules.setitem(sys.modules, name, types.ModuleType(name))
    assert not repair("Meta's import path").needed(checkout)


def test_roi_align_stand_in_is_torchvisions(checkout, modules):
    from torchvision.ops import RoIAlign

    hide(modules, "detectron2")
    mend = repair("ROIAlign")
    assert mend.needed(checkout)
    mend.apply(checkout)
    from detectron2.layers import ROIAlign

    assert ROIAlign is RoIAlign
    assert not mend.needed(checkout)


def test_an_installed_detectron2_is_kept(checkout, modules):
    modules.setitem(sys.modules, "detectron2", types.ModuleType("detectron2"))
    assert not repair("ROIAlign").needed(checkout)


def test_losses_are_added_only_where_pytorchvideo_lacks_them(checkout, modules):
    mend = repair("PyTorchVideo's losses")
    name = "pytorchvideo.losses.soft_target_cross_entropy"
    modules.setitem(sys.modules, name, types.ModuleType(name))
    assert not mend.needed(checkout)


@pytest.mark.parametrize("normalize", [True, False])
def test_soft_target_loss_is_the_written_out_cross_entropy(normalize):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator)
    target = torch.rand(5, 4, generator=generator)
    loss = imports.SoftTargetCrossEntropyLoss(normalize_targets=normalize)(logits, target)
    logits, target = logits.double().numpy(), target.double().numpy()
    if normalize:
        target = target / target.sum(axis=1, keepdims=True)
    expected = -(target * scipy.special.log_softmax(logits, axis=1)).sum(axis=1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_soft_target_loss_takes_class_indices():
    logits, labels = torch.eye(3), torch.tensor([2, 0, 1])
    loss = imports.SoftTargetCrossEntropyLoss()(logits, labels)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_distributed_helpers_do_not_override_newer_ones(checkout, modules):
    module = importlib.import_module("pytorchvideo.layers.distributed")
    own = object()
    modules.setattr(module, "cat_all_gather", own, raising=False)
    repair("PyTorchVideo's distributed helpers").apply(checkout)
    assert module.cat_all_gather is own
    assert module.get_local_size() == 1
    assert not repair("PyTorchVideo's distributed helpers").needed(checkout)


def test_functional_tensor_is_torchvisions_own_module(checkout, modules):
    name = "torchvision.transforms.functional_tensor"
    modules.delitem(sys.modules, name, raising=False)
    mend = repair("functional_tensor")
    assert mend.needed(checkout), "torchvision has no such module any more"
    mend.apply(checkout)
    image = torch.rand(3, 4, 4)
    assert torch.equal(importlib.import_module(name).hflip(image), image.flip(-1))


@pytest.mark.parametrize("classes", [1, 2, 3, 5, 9])
def test_topks_of_few_classes(classes):
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn(20, classes, generator=generator)
    labels = torch.randint(classes, (20,), generator=generator)
    ranks = (-preds.numpy()).argsort(axis=1)
    for k, count in zip((1, 5), runtime.topks_correct(preds, labels, (1, 5)), strict=True):
        assert count == (ranks[:, :k] == labels.numpy()[:, None]).sum()


@pytest.mark.parametrize("bits", range(9))
def test_posterize_keeps_the_highest_bits(bits):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    kept = np.asarray(runtime.posterize(Image.fromarray(values), bits))
    np.testing.assert_array_equal(kept, values & (0xFF00 >> bits & 0xFF))


@pytest.mark.needs("slowfast/datasets/rand_augment.py")
def test_upstreams_posterize_takes_0_bits(upstream):
    rand_augment = importlib.import_module("slowfast.datasets.rand_augment")
    assert not np.asarray(rand_augment.posterize(Image.new("RGB", (2, 2), "white"), 0)).any()


def test_topks_agree_with_upstream_where_upstream_works(upstream):
    metrics = importlib.import_module("slowfast.utils.metrics")
    preds, labels = torch.randn(9, 6), torch.randint(6, (9,))
    errors = metrics.topk_errors(preds, labels, (1, 5))
    top1 = (preds.argmax(dim=1) != labels).float().mean() * 100
    assert errors[0] == pytest.approx(top1.item())


def test_applied_repairs_are_not_needed_again(upstream):
    applied = apply_repairs(upstream)
    assert applied, "this machine's packages need at least one repair"
    assert apply_repairs(upstream) == applied
    for mended in applied:
        if mended.name not in (
            "whole checkpoints",
            "checkpoints that do not fit",
            "synchronisation without a GPU",
            "names of unreadable videos",
            "RandAugment",
            "batches of visualization.py",
            "TENSORBOARD.PREDICTIONS_PATH",
        ):
            assert not mended.needed(upstream), mended.name


def _save(folder, epoch, model, tmp_cfg):
    module = importlib.import_module("slowfast.utils.checkpoint")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return module.save_checkpoint(str(folder), model, optimizer, epoch, tmp_cfg)


def _last(folder):
    module = importlib.import_module("slowfast.utils.checkpoint")
    function = inspect.unwrap(module.get_last_checkpoint)
    task = {"task": ""} if "task" in inspect.signature(function).parameters else {}
    return module.get_last_checkpoint(str(folder), **task)


def test_saved_checkpoints_lie_where_upstream_looks(tiny_cfg, tmp_path):
    model = torch.nn.Linear(2, 2)
    _save(tmp_path, 0, model, tiny_cfg())
    path = _save(tmp_path, 1, model, tiny_cfg())
    assert path == _last(tmp_path) == str(tmp_path / "checkpoints/checkpoint_epoch_00002.pyth")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoints"]
    assert torch.load(path, weights_only=True)["epoch"] == 1


def test_depth_18_has_the_blocks_of_resnet_18_where_it_is_unknown(upstream, monkeypatch):
    networks = importlib.import_module("slowfast.models.video_model_builder")
    known = {depth: networks._MODEL_STAGE_DEPTH[depth] for depth in (50, 101)}
    monkeypatch.setattr(networks, "_MODEL_STAGE_DEPTH", dict(known))
    mend = repair("depth 18")
    assert mend.needed(upstream)
    mend.apply(upstream)
    assert not mend.needed(upstream)
    stages = torchvision.models.resnet18()
    blocks = tuple(len(getattr(stages, f"layer{number}")) for number in (1, 2, 3, 4))
    assert {**known, 18: blocks} == networks._MODEL_STAGE_DEPTH


def test_what_a_killed_run_left_half_written_is_cleared_away(tiny_cfg, tmp_path):
    left = tmp_path / checkpoints.STAGING / "checkpoints/checkpoint_epoch_00001.pyth"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PK half")
    _save(tmp_path, 1, torch.nn.Linear(2, 2), tiny_cfg())
    names = [path.name for path in tmp_path.rglob("*")]
    assert names == ["checkpoints", "checkpoint_epoch_00002.pyth"]


KILLED = """
import os, signal, sys, torch
from slowfast_ac.pyslowfast import setup
upstream = setup()
import slowfast.utils.checkpoint as checkpoint
from slowfast.config.defaults import get_cfg
model = torch.nn.Linear(400, 400)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
cfg = get_cfg()
cfg.NUM_GPUS = 0
cfg.NUM_SHARDS = 0
checkpoint.save_checkpoint(sys.argv[1], model, optimizer, 0, cfg)
save = torch.save
def save_half(data, target):
    save(data, target)
    path = target if isinstance(target, str) else target.name
    if not isinstance(target, str):
        target.flush()
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = save_half
checkpoint.save_checkpoint(sys.argv[1], model, optimizer, 1, cfg)
"""


@pytest.mark.slow
def test_a_kill_while_saving_leaves_the_last_whole_checkpoint(upstream, tmp_path):
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("*00002*")), "the kill came while the second was written"
    assert _last(tmp_path).endswith("checkpoint_epoch_00001.pyth")
    assert checkpoints.is_whole(_last(tmp_path))


def test_a_truncated_checkpoint_is_passed_over_and_named(tiny_cfg, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(checkpoints.logger, "warning", lambda text, *rest: said.append(text % rest))
    model = torch.nn.Linear(50, 50)
    first, second = (_save(tmp_path, epoch, model, tiny_cfg()) for epoch in (0, 1))
    os.truncate(second, os.path.getsize(second) // 2)
    assert _last(tmp_path) == first
    assert [line.split(":")[0] for line in said] == [f"{second} is truncated"]


@pytest.mark.parametrize("size", [0, 1000])
def test_loading_a_truncated_checkpoint_names_it(tiny_cfg, tmp_path, size):
    module = importlib.import_module("slowfast.utils.checkpoint")
    model = torch.nn.Linear(50, 50)
    path = _save(tmp_path, 0, model, tiny_cfg())
    os.truncate(path, size)
    with pytest.raises(InputError, match="epoch_00001.pyth: the checkpoint is truncated"):
        module.load_checkpoint(path, model, False)


def test_a_truncated_checkpoint_that_another_process_renames_is_no_error(
    tiny_cfg, tmp_path, monkeypatch
):
    model = torch.nn.Linear(50, 50)
    first, second = (_save(tmp_path, epoch, model, tiny_cfg()) for epoch in (0, 1))
    os.truncate(second, os.path.getsize(second) // 2)
    whole = checkpoints.is_whole

    def renamed_meanwhile(path):
        found = whole(path)
        if not found:
            os.rename(path, f"{tmp_path}/truncated")
        return found

    monkeypatch.setattr(checkpoints, "is_whole", renamed_meanwhile)
    assert _last(tmp_path) == first


def test_loading_a_missing_checkpoint_names_it(upstream, tmp_path):
    module = importlib.import_module("slowfast.utils.checkpoint")
    with pytest.raises(InputError, match="nowhere.pyth: there is no such checkpoint"):
        module.load_checkpoint(str(tmp_path / "nowhere.pyth"), torch.nn.Linear(2, 2), False)
