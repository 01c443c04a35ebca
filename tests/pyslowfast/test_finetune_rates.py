"""Rates and frozen parts in upstream's optimizer."""

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from slowfast_ac.models.parts import names_in, new_layers

PLAIN_SGD = ("SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.NESTEROV", False)
PTV = pytest.mark.needs("slowfast/models/ptv_model_builder.py")


@pytest.mark.parametrize(
    ("network", "opts"),
    [
        pytest.param("SlowFastAC", (), id="SlowFastAC"),
        pytest.param("SlowFastAC", ("SCAM.UPSAMPLE", True), id="SlowFastAC with detail path"),
        pytest.param("SlowFast", (), id="SlowFast"),
        pytest.param("ResNet", (), id="ResNet"),
        pytest.param("PTVSlowFastAC", (), id="PTVSlowFastAC", marks=PTV),
    ],
)
def test_a_step_is_the_schedules_rate_for_new_layers_and_a_factor_of_it_for_old(
    networks, training, clips, network, opts, take_step, state, differing
):
    factor = 0.25
    cfg, model, optimizer = training(
        *networks[network],
        *opts,
        *PLAIN_SGD,
        "BN.WEIGHT_DECAY",
        0.0,
        "FINETUNE.BACKBONE_LR_FACTOR",
        factor,
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
def test_momentum_and_weight_decay_do_not_move_what_is_frozen(
    training, clips, method, take_step, state, differing
):
    cfg, model, optimizer = training(
        *("FINETUNE.FREEZE", ["slow"], "SOLVER.MOMENTUM", 0.9, "SOLVER.WEIGHT_DECAY", 0.1),
        *("BN.WEIGHT_DECAY", 0.1, "SOLVER.OPTIMIZING_METHOD", method),
    )
    before = state(model)
    for _ in range(2):
        take_step(cfg, model, optimizer, clips)
    moved = differing(before, state(model))
    assert moved == {name for name in before if "pathway0" not in name}


def test_frozen_parts_train_in_parallel(training, clips, tmp_path, take_step, state, differing):
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
