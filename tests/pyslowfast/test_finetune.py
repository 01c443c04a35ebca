"""Fine-tuning: what is loaded, what is frozen, which rates, through upstream's own functions."""

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
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import freeze, names_in, new_layers

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"
FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
PTV = ("MODEL.MODEL_NAME", "PTVSlowFastAC")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
)
CLASSIFIER = {"head.projection.weight", "head.projection.bias"}
PLAIN_SGD = ("SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.NESTEROV", False)


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


@pytest.fixture
def load(upstream):
    """Upstream's ``load_checkpoint`` as its training loop calls it for a file that is given."""
    from slowfast.utils.checkpoint import load_checkpoint

    def call(path, model, optimizer=None, **options):
        return load_checkpoint(str(path), model, False, optimizer, **options)

    return call


def save(path, model, optimizer=None, epoch=4, **extras):
    checkpoint = {"model_state": model.state_dict(), **extras}
    if epoch is not None:
        checkpoint["epoch"] = epoch
    if optimizer is not None:
        checkpoint["optimizer_state"] = optimizer.state_dict()
    torch.save(checkpoint, path)
    return path


def take_step(cfg, model, optimizer, clips, epoch=0.0):
    """One training step as both loops take it."""
    import slowfast.models.losses as losses
    import slowfast.models.optimizer as optim

    rate = optim.get_epoch_lr(epoch, cfg)
    optim.set_lr(optimizer, rate)
    preds = model(clips[:1] if cfg.MODEL.ARCH == "slow" else list(clips))
    loss = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")(preds, torch.tensor([0, 1]))
    optimizer.zero_grad()
    (loss[0] if isinstance(loss, tuple) else loss).backward()
    optimizer.step()
    return rate


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def differing(first, second):
    return {name for name in first if not torch.equal(first[name], second[name])}


# Rates and frozen parts in upstream's optimizer ---------------------------------------------------


@pytest.mark.parametrize(
    "opts",
    [
        pytest.param((), id="SlowFastAC"),
        pytest.param(("SCAM.UPSAMPLE", True), id="SlowFastAC with detail path"),
        pytest.param(FUSED, id="SlowFast"),
        pytest.param(SLOW, id="ResNet"),
        pytest.param(PTV, id="PTVSlowFastAC", marks=pytest.mark.checkout),
    ],
)
def test_a_step_is_the_schedules_rate_for_new_layers_and_a_factor_of_it_for_old(
    training, clips, opts
):
    factor = 0.25
    cfg, model, optimizer = training(
        *opts, *PLAIN_SGD, "BN.WEIGHT_DECAY", 0.0, "FINETUNE.BACKBONE_LR_FACTOR", factor
    )
    for parameter in model.parameters():
        # PyTorchVideo starts the last BatchNorm of every block at zero.
        parameter.data += 0.0 if parameter.any() else 0.5
    for epoch in (0.0, 0.5):  # set_lr comes before every step
        before = state(model)
        rate = take_step(cfg, model, optimizer, clips, epoch)
        for name, parameter in model.named_parameters():
            scale = rate if name in names_in(model, new_layers(model)) else factor * rate
            expected = before[name] - scale * parameter.grad
            torch.testing.assert_close(parameter.data, expected, msg=name)
        moved = differing(before, state(model)) & set(dict(model.named_parameters()))
        assert len(moved) > 0.9 * len(list(model.parameters()))  # a channel may be dead


def test_weight_decay_stays_that_of_each_group(training):
    cfg, model, optimizer = training("FINETUNE.BACKBONE_LR_FACTOR", 0.1, "BN.WEIGHT_DECAY", 0.3)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decays = {names[p]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decays) == len(names) == sum(len(g["params"]) for g in optimizer.param_groups)
    _, _, plain = training("BN.WEIGHT_DECAY", 0.3)
    order = [parameter.shape for parameter in model.parameters()]
    assert len(order) == len(decays)
    for name, decay in decays.items():
        assert decay == (0.3 if "bn" in name else cfg.SOLVER.WEIGHT_DECAY), name
    assert {g["weight_decay"] for g in plain.param_groups} == set(decays.values())


def test_by_default_the_optimizer_is_upstreams(training):
    import slowfast.models.optimizer as optim

    cfg, model, optimizer = training()
    original = optim.construct_optimizer.__wrapped__(model, cfg)
    assert optimizer.state_dict() == original.state_dict()


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_momentum_and_weight_decay_do_not_move_what_is_frozen(training, clips, method):
    cfg, model, optimizer = training(
        *("FINETUNE.FREEZE", ["slow"], "SOLVER.MOMENTUM", 0.9, "SOLVER.WEIGHT_DECAY", 0.1),
        *("BN.WEIGHT_DECAY", 0.1, "SOLVER.OPTIMIZING_METHOD", method),
    )
    before = state(model)
    for _ in range(2):
        take_step(cfg, model, optimizer, clips)
    moved = differing(before, state(model))
    assert moved == {name for name in before if "pathway0" not in name}


def test_frozen_parts_train_in_parallel(training, clips, tmp_path):
    cfg, model, _ = training("FINETUNE.FREEZE", ["slow", "s1"], "FINETUNE.BACKBONE_LR_FACTOR", 0.5)
    from slowfast.models.optimizer import construct_optimizer

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/m", rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(model)
        if "NUM_SHARDS" in cfg and hasattr(construct_optimizer, "__wrapped__"):
            cfg.NUM_GPUS = 2  # where upstream unwraps the model
        optimizer = construct_optimizer(parallel, cfg)
        before = state(model)
        for _ in range(2):  # the second step would miss a parameter without gradient
            take_step(cfg, parallel, optimizer, clips)
        frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
        assert frozen and not frozen & differing(before, state(model))
        assert len({g["lr"] for g in optimizer.param_groups}) == 2
    finally:
        dist.destroy_process_group()


# What of a checkpoint is loaded -----------------------------------------------------------------


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("classes", [5, 14])  # 14: upstream repeats a bias of 7 where it divides
def test_another_class_count_loads_all_but_the_classifier(
    training, load, tmp_path, caplog, reset, classes
):
    _, old, old_optimizer = training(seed=1)
    path = save(tmp_path / "old.pyth", old, old_optimizer)
    _, model, optimizer = training("MODEL.NUM_CLASSES", classes)
    initial, optimizer_before = state(model), optimizer.state_dict()
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=reset) == -1
    assert differing(old.state_dict(), state(model)) == CLASSIFIER
    assert not CLASSIFIER & differing(initial, state(model))
    assert optimizer.state_dict() == optimizer_before
    assert re.search(r"old.pyth: SlowFastAC of 7 classes, the start of SlowFastAC", caplog.text)
    assert re.search(r"\nnew +2  head.projection.weight, \.\.\.\nunused +2  head", caplog.text)


def test_equal_classes_bring_the_classifier_and_only_without_reset_epoch_and_optimizer(
    training, load, clips, tmp_path
):
    cfg, old, old_optimizer = training(seed=1)
    take_step(cfg, old, old_optimizer, clips)
    path = save(tmp_path / "old.pyth", old, old_optimizer)
    for reset, epoch in ((True, -1), (False, 4)):
        _, model, optimizer = training()
        assert load(path, model, optimizer, epoch_reset=reset) == epoch
        assert not differing(state(old), state(model))
        assert bool(optimizer.state_dict()["state"]) == (not reset)


def test_weights_without_an_epoch_start_anew(training, load, tmp_path):
    _, old, _ = training(seed=1)
    path = save(tmp_path / "weights.pyth", old, epoch=None)
    _, model, optimizer = training()
    assert load(path, model, optimizer, epoch_reset=False) == -1
    assert not differing(state(old), state(model))


def test_the_detail_path_is_new_or_loaded_and_resumes(training, load, clips, tmp_path, caplog):
    upsample = ("SCAM.UPSAMPLE", True)
    _, plain, _ = training(seed=1)
    cfg, old, old_optimizer = training(*upsample, seed=1)
    take_step(cfg, old, old_optimizer, clips)
    caplog.set_level("INFO")
    _, model, optimizer = training(*upsample)
    load(save(tmp_path / "plain.pyth", plain), model, optimizer, epoch_reset=True)
    assert not differing(state(plain), state(model))  # the classifier fits and is taken
    assert re.search(r"\nnew +1  scam.detail.weight\nunused +0$", caplog.text, re.MULTILINE)
    path = save(tmp_path / "last.pyth", old, old_optimizer)
    for options, epoch in (({}, 4), ({"epoch_reset": True}, -1)):
        _, model, optimizer = training(*upsample)
        assert load(path, model, optimizer, **options) == epoch
        assert not differing(state(old), state(model))


def test_names_are_cleared_as_upstream_clears_them(training, load, tmp_path):
    _, old, _ = training(seed=1)
    path = tmp_path / "wrapped.pyth"
    wrapped = {f"net.{name}": tensor for name, tensor in old.state_dict().items()}
    torch.save({"model_state": wrapped, "epoch": 4}, path)
    _, model, optimizer = training()
    with pytest.raises(InputError, match="wrapped.pyth: does not fit SlowFastAC: none of its wei"):
        load(path, model, optimizer, epoch_reset=True)
    load(path, model, optimizer, epoch_reset=True, clear_name_pattern=("net.",))
    assert not differing(state(old), state(model))
    # The same key leaves an equally large classifier out.
    path = save(tmp_path / "old.pyth", old)
    _, model, optimizer = training()
    load(path, model, optimizer, epoch_reset=True, clear_name_pattern=("head.projection.",))
    assert differing(state(old), state(model)) == {"head.projection.weight"}  # biases are zero


def test_a_fused_slowfast_is_cut_for_slowfastac(training, load, tmp_path, caplog):
    _, fused, _ = training(*FUSED, seed=1)
    path = save(tmp_path / "fused.pyth", fused, epoch=4)
    _, model, optimizer = training("MODEL.NUM_CLASSES", 5)
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=False) == -1
    old, new = state(fused), state(model)
    for name in set(new) - CLASSIFIER:
        assert torch.equal(
            new[name], old[name][:, : new[name].shape[1]] if new[name].dim() == 5 else old[name]
        ), name
    assert re.search(r"\ncut +8  s2.pathway0_res0.branch1.weight, ...\nnew +2 ", caplog.text)
    assert "SlowFast of 7 classes, the start of SlowFastAC" in caplog.text


def test_pytorchvideos_names_are_understood(training, load, tmp_path):
    _, old, _ = training(*FUSED, seed=1)
    renamed, _ = convert(old.state_dict(), "pyslowfast", "pytorchvideo")
    torch.save({"model_state": renamed}, tmp_path / "ptv.pyth")
    _, model, optimizer = training(*FUSED, "MODEL.NUM_CLASSES", 5)
    assert load(tmp_path / "ptv.pyth", model, optimizer, epoch_reset=False) == -1
    assert differing(state(old), state(model)) == CLASSIFIER


@pytest.mark.checkout
def test_pyslowfasts_weights_start_its_pytorchvideo_models(training, load, tmp_path):
    _, old, _ = training(*FUSED, seed=1)
    path = save(tmp_path / "fused.pyth", old)
    _, model, optimizer = training(*PTV, "MODEL.NUM_CLASSES", 5)
    assert load(path, model, optimizer, epoch_reset=True) == -1
    weights, _ = convert(
        old.state_dict(), "pyslowfast", "pytorchvideo", branch_independent=True, prefix="model."
    )
    assert differing(weights, state(model)) == {
        "model.blocks.6.proj.weight",
        "model.blocks.6.proj.bias",
    }


@pytest.mark.checkout
def test_split_statistics_are_loaded_too(training, load, tmp_path):
    _, old, _ = training(seed=1)
    for buffer in old.buffers():
        buffer.copy_(torch.rand(buffer.shape) * 3)
    path = save(tmp_path / "old.pyth", old)
    _, model, optimizer = training(
        "BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2, "MODEL.NUM_CLASSES", 5
    )
    load(path, model, optimizer, epoch_reset=True)
    expected = old.state_dict()["s1.pathway0_stem.bn.running_mean"]
    assert torch.equal(model.s1.pathway0_stem.bn.bn.running_mean, expected)
    assert torch.equal(model.s1.pathway0_stem.bn.split_bn.running_mean, expected.repeat(2))


def test_a_slow_network_starts_the_slow_pathway(training, load, tmp_path, caplog):
    _, slow, _ = training(*SLOW, seed=1)
    path = save(tmp_path / "slow.pyth", slow)
    _, model, optimizer = training()
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=True) == -1
    # Both networks' biases are zero still.
    assert differing(slow.state_dict(), state(model)) == {"head.projection.weight"}
    assert "s1.pathway1_stem.conv.weight" in re.search(r"\nnew .*", caplog.text)[0]


# What is refused --------------------------------------------------------------------------------


def test_resuming_is_strict(training, load, clips, tmp_path):
    cfg, old, old_optimizer = training(seed=1)
    take_step(cfg, old, old_optimizer, clips)
    path = save(tmp_path / "last.pyth", old, old_optimizer)
    _, model, optimizer = training()
    assert load(path, model, optimizer) == 4
    assert not differing(state(old), state(model))
    _, model, optimizer = training("MODEL.NUM_CLASSES", 5)
    with pytest.raises(InputError, match="last.pyth: cannot be continued: .*head.projection.we"):
        load(path, model, optimizer)
    _, model, optimizer = training(*FUSED)
    with pytest.raises(InputError, match="last.pyth: does not fit SlowFast.*: s2.pathway0_re"):
        load(path, model, optimizer)


def test_resuming_with_other_groups_is_refused_and_with_another_factor_takes_it(
    training, load, clips, tmp_path
):
    factor = "FINETUNE.BACKBONE_LR_FACTOR"
    cfg, old, old_optimizer = training(factor, 0.1)
    take_step(cfg, old, old_optimizer, clips)
    path = save(tmp_path / "last.pyth", old, old_optimizer)
    cfg, model, optimizer = training(factor, 0.5)
    assert load(path, model, optimizer) == 4
    assert {group["layer_decay"] for group in optimizer.param_groups} == {0.5, 1.0}
    for opts in ((), (factor, 0.1, "FINETUNE.FREEZE", ["s1"])):
        _, model, optimizer = training(*opts)
        with pytest.raises(InputError, match="last.pyth: .* other groups of .* change of FINETUNE"):
            load(path, model, optimizer)


def test_continuing_needs_an_optimizer(training, load, tmp_path):
    _, old, _ = training(seed=1)
    path = save(tmp_path / "exported.pyth", old)
    _, model, optimizer = training()
    with pytest.raises(InputError, match="exported.pyth: .* no 'optimizer_state'; .*EPOCH_RESET"):
        load(path, model, optimizer, epoch_reset=False)


def test_a_test_refuses_what_would_leave_weights_random(training, load, tmp_path):
    _, old, _ = training("SCAM.UPSAMPLE", True, seed=1)
    path = save(tmp_path / "old.pyth", old)
    _, model, _ = training()
    load(path, model)  # SCAM's own layer has nothing to do in a test
    assert not differing(state(model), old.state_dict())
    for opts, name in ((("MODEL.NUM_CLASSES", 14), "head.projection.weight"), (SLOW, "head")):
        _, model, _ = training(*opts)
        with pytest.raises(InputError, match=rf"old.pyth: .* of 7 classes, .* {name}.*not tested"):
            load(path, model)
    _, fused, _ = training(*FUSED)
    path = save(tmp_path / "fused.pyth", fused)
    _, model, _ = training()
    with pytest.raises(InputError, match=r"fused.pyth: holds SlowFast .* s2.pathway0_res0.branch1"):
        load(path, model)


@pytest.mark.parametrize(
    ("old", "opts", "message"),
    [
        (("RESNET.WIDTH_PER_GROUP", 16), (), r"conv.weight: shape \[16, 3, 1, 7, 7\], but \[8, 3"),
        (SLOW, FUSED, r"s2.pathway0_res0.branch1.weight: shape .*only the classifier may differ"),
        ((), FUSED, r"s2.pathway0_res0.branch1.weight: shape"),
        (
            ("RESNET.DEPTH", 101),
            (),
            r"has \[3, 4, 23, 3\] blocks in its stages, the network \[3, 4, 6, 3\]: another depth",
        ),
    ],
)
def test_another_network_is_refused(training, load, tmp_path, old, opts, message):
    blocks = [[3, 3], [4, 4], [23, 23], [3, 3]]
    more = ("RESNET.NUM_BLOCK_TEMP_KERNEL", blocks) if "RESNET.DEPTH" in old else ()
    _, source, _ = training(*old, *more)
    path = save(tmp_path / "other.pyth", source)
    _, model, optimizer = training(*opts)
    before = state(model)
    with pytest.raises(InputError, match="other.pyth: does not fit .*" + message):
        load(path, model, optimizer, epoch_reset=True)
    assert not differing(before, state(model))


@pytest.mark.checkout
def test_a_transformer_is_loaded_by_upstream_but_not_from_nothing(upstream, load, tmp_path):
    from slowfast_ac.pyslowfast.build import build_model
    from slowfast_ac.pyslowfast.config_file import load_config

    path = Path(upstream.root) / "configs/Kinetics/MVIT_B_16x4_CONV.yaml"
    narrow = ["NUM_GPUS", 0, "MVIT.DEPTH", 1, "MVIT.EMBED_DIM", 8, "MVIT.DIM_MUL", []]
    narrow += ["MVIT.HEAD_MUL", [], "MVIT.POOL_Q_STRIDE", []]
    model, other = (
        build_model(load_config(path, [*narrow, "MODEL.NUM_CLASSES", classes]))
        for classes in (5, 7)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saved = save(tmp_path / "mvit.pyth", other)
    assert load(saved, model, optimizer, epoch_reset=True) == -1
    assert differing(other.state_dict(), state(model)) == CLASSIFIER
    torch.save({"model_state": {"encoder.weight": torch.zeros(1)}}, tmp_path / "alien.pyth")
    with pytest.raises(InputError, match="alien.pyth: does not fit MViT: none of its weights"):
        load(tmp_path / "alien.pyth", model, optimizer, epoch_reset=True)


# Before and during runs -------------------------------------------------------------------------


def arguments(lists, output, *opts):
    settings = ["DATA.PATH_TO_DATA_DIR", lists, "OUTPUT_DIR", output, "MODEL.NUM_CLASSES", 3]
    settings += ["DATA.TRAIN_JITTER_SCALES", [64, 72], "LOG_PERIOD", 1, "DATA.NUM_FRAMES", 8]
    settings += ["TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1, *opts]
    return ["run", "--cfg", str(CONFIG), "--opts", *map(str, settings)]


def start(lists, output, *opts, **kwargs):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "slowfast_ac", *arguments(lists, output, *opts)]
    return subprocess.Popen(command, env=environment, text=True, **kwargs)


def run(lists, output, *opts):
    process = start(lists, output, *opts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


@pytest.fixture
def pretrained(training, tmp_path):
    """Returns a function: config keys -> a checkpoint of a trained-looking network of 7 classes."""

    def make(*opts, epoch=9):
        _, model, optimizer = training(*opts, "DATA.NUM_FRAMES", 8, seed=1)
        # Statistics of real features: with others, a network that keeps them explodes.
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm3d):
                layer.momentum = 1.0
        fast = torch.randn(4, 3, 8, 64, 64)
        with torch.no_grad():
            model([fast] if "MODEL.ARCH" in opts else [fast[:, :, ::4], fast])
        return save(tmp_path / "pretrained.pyth", model, optimizer, epoch=epoch)

    return make


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("FINETUNE.FREEZE", ["s7"]), r"FINETUNE.FREEZE: 's7' is no part of SlowFastAC, whose par"),
        (("FINETUNE.FREEZE", ["head"]), r"FINETUNE.FREEZE: 'head' holds the classifier"),
        (("FINETUNE.FREEZE", [1]), r"FINETUNE.FREEZE: \[1\] is no list of names, for example"),
        (("FINETUNE.BACKBONE_LR_FACTOR", 0), r"FINETUNE.BACKBONE_LR_FACTOR: 0.0 is not above 0 .*"),
        (("FINETUNE.BACKBONE_LR_FACTOR", 10), r"FINETUNE.BACKBONE_LR_FACTOR: 10.0 is not above 0"),
        (("RESNET.WIDTH_PER_GROUP", 16), r"pretrained.pyth: does not fit SlowFastAC: s1.pathway0_"),
        (
            ("FINETUNE.FREEZE", ["s1"], "TRAIN.CHECKPOINT_FILE_PATH", ""),
            r"FINETUNE.FREEZE: \['s1'\] would stay random, since TRAIN.CHECKPOINT_FILE_PATH is em",
        ),
        (
            ("MODEL.NUM_CLASSES", 7),
            r"CHECKPOINT_EPOCH_RESET: False goes on behind epoch 10 of .*SOLVER.MAX_EPOCH is 2: no",
        ),
    ],
)
def test_what_cannot_be_fine_tuned_is_one_line_before_the_run(
    pretrained, video_lists, tmp_path, capsys, opts, message
):
    from slowfast_ac.cli import main

    opts = ("TRAIN.CHECKPOINT_FILE_PATH", pretrained(), *opts)
    assert main(arguments(video_lists, tmp_path / "output", *opts)) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error
    assert not (tmp_path / "output").exists()


def test_what_is_frozen_has_to_be_in_the_checkpoint(pretrained, video_lists, tmp_path, capsys):
    from slowfast_ac.cli import main

    opts = ("TRAIN.CHECKPOINT_FILE_PATH", pretrained(*SLOW), "FINETUNE.FREEZE", ["s1"])
    assert main(arguments(video_lists, tmp_path / "output", *opts)) == 2
    error = capsys.readouterr().err
    assert re.search(r"FREEZE: \['s1'\] holds s1.pathway1_stem.conv.weight, which ", error)


def test_a_file_that_would_run_code_is_not_loaded(upstream, video_lists, tmp_path, capsys):
    import pickle

    from slowfast_ac.cli import main

    witness, path = tmp_path / "witness", tmp_path / "evil.pkl"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": Evil()}}, protocol=2))
    opts = ("TRAIN.CHECKPOINT_FILE_PATH", path, "TRAIN.CHECKPOINT_TYPE", "caffe2")
    assert main(arguments(video_lists, tmp_path / "output", *opts)) == 2
    assert "evil.pkl" in capsys.readouterr().err
    assert not witness.exists()


def test_frozen_bn_keeps_all_running_statistics_in_a_run(pretrained, video_lists, tmp_path):
    path = pretrained()
    run(
        *(video_lists, tmp_path / "run", "TRAIN.CHECKPOINT_FILE_PATH", path),
        *("MODEL.FROZEN_BN", True, "SOLVER.BASE_LR", 0.001, "AC.NORMALIZE", "l2"),
        *("SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False),
    )
    before = torch.load(path, weights_only=True)["model_state"]
    after = torch.load(tmp_path / "run/checkpoints/checkpoint_epoch_00001.pyth")["model_state"]
    backbone = {name: before[name] for name in set(before) - CLASSIFIER}
    statistics = {name for name in before if re.search("running|num_batches", name)}
    moved = differing(backbone, after)
    assert statistics and not moved & statistics
    assert len(moved) > 0.5 * len(set(backbone) - statistics)


@pytest.mark.parametrize(
    ("opts", "frozen"),
    [
        pytest.param((), ["slow"], id="SlowFastAC, slow"),
        pytest.param(FUSED, ["s1", "s2.fast"], id="SlowFast, stages"),
        pytest.param(PTV, ["backbone"], id="PTVSlowFastAC", marks=pytest.mark.checkout),
    ],
)
def test_a_killed_fine_tuning_resumes_with_its_frozen_parts_bit_equal(
    pretrained, training, video_lists, tmp_path, opts, frozen
):
    path = pretrained(*opts)
    opts = (
        *(*opts, "TRAIN.CHECKPOINT_FILE_PATH", path, "FINETUNE.FREEZE", frozen),
        *("FINETUNE.BACKBONE_LR_FACTOR", 0.1, "SOLVER.MAX_EPOCH", 3, "TRAIN.EVAL_PERIOD", 10),
    )
    with open(tmp_path / "output.txt", "w") as log:
        process = start(video_lists, tmp_path / "run", *opts, stdout=log, stderr=log)
    deadline = time.monotonic() + 240
    in_second = False
    while not in_second and process.poll() is None and time.monotonic() < deadline:
        printed = (tmp_path / "output.txt").read_text()
        in_second = re.search(r'"epoch": "2/3".*"iter": "1/', printed) is not None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert in_second, printed
    assert "Start epoch: 1" in printed
    assert re.search(r"pretrained.pyth: \w+ of 7 classes, the start of \w+", printed)
    assert re.search(r"\nnew +2  \S+\.weight, \.\.\.\n", printed)

    name = path.rename(tmp_path / "not needed any more.pyth")
    printed = run(video_lists, tmp_path / "run", *opts)
    assert "Start epoch: 2" in printed and "the start of" not in printed
    lines = [simplejson.loads(line) for line in re.findall(r"json_stats: (\{.*\})", printed)]
    assert [line for line in lines if line.get("split") == "test_final"]

    before = torch.load(name, weights_only=True)["model_state"]
    after = torch.load(tmp_path / "run/checkpoints/checkpoint_epoch_00003.pyth")["model_state"]
    assert before.keys() == after.keys()
    _, twin, _ = training(
        *[
            o
            for pair in zip(opts[::2], opts[1::2], strict=True)
            if pair[0].startswith("MODEL.")
            for o in pair
        ]
    )
    freeze(twin, frozen)
    still = {name for name, p in twin.named_parameters() if not p.requires_grad}
    held = {
        f"{name}.{buffer}"
        for name, module in twin.named_modules()
        for buffer, _ in module.named_buffers(recurse=False)
        if f"{name}.weight" in still
    }
    same_shape = {n: t for n, t in before.items() if t.shape == after[n].shape}
    assert set(before) - set(same_shape) == names_in(twin, new_layers(twin))
    moved = differing(same_shape, after)
    assert held and not moved & (still | held)
    # A channel of so narrow a network may be dead.
    assert len(moved) >= 0.9 * len(set(same_shape) - still - held)
