"""Checkpoints that are refused: what cannot be continued, tested or taken as a start."""

import contextlib
import pickle
from pathlib import Path

import pytest
import torch

from slowfast_ac.errors import InputError


def test_resuming_is_strict(
    training, load, clips, tmp_path, networks, take_step, save, state, differing
):
    cfg, old, old_optimizer = training(seed=1)
    take_step(cfg, old, old_optimizer, clips)
    path = save(tmp_path / "last.pyth", old, old_optimizer)
    _, model, optimizer = training()
    assert load(path, model, optimizer) == 4
    assert not differing(state(old), state(model))
    _, model, optimizer = training("MODEL.NUM_CLASSES", 5)
    with pytest.raises(InputError, match="last.pyth: cannot be continued: .*head.projection.we"):
        load(path, model, optimizer)
    _, model, optimizer = training(*networks["SlowFast"])
    with pytest.raises(InputError, match="last.pyth: does not fit SlowFast.*: s2.pathway0_re"):
        load(path, model, optimizer)


def test_resuming_with_other_groups_is_refused_and_with_another_factor_takes_it(
    training, load, clips, tmp_path, take_step, save
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


def test_resuming_needs_an_optimizer(training, load, tmp_path, save):
    _, old, _ = training(seed=1)
    path = save(tmp_path / "exported.pyth", old)
    _, model, optimizer = training()
    with pytest.raises(InputError, match="exported.pyth: .* no optimizer_state; .*EPOCH_RESET"):
        load(path, model, optimizer)


@pytest.fixture
def check_resume(upstream, training, clips, take_step, tmp_path):
    """Returns a function: keys of the saved run and of today's -> checks that it goes on."""
    from slowfast.utils.checkpoint import make_checkpoint_dir, save_checkpoint

    from slowfast_ac.pyslowfast.initial_weights import check_start

    def check(then, now):
        cfg, old, optimizer = training(*then, "OUTPUT_DIR", str(tmp_path))
        take_step(cfg, old, optimizer, clips)
        make_checkpoint_dir(str(tmp_path))
        save_checkpoint(str(tmp_path), old, optimizer, 4, cfg)
        cfg.merge_from_list(list(now))
        check_start(cfg, upstream)

    return check


def test_a_run_on_several_gpus_goes_on(check_resume):
    check_resume((), ("NUM_GPUS", 2))
    with pytest.raises(InputError, match="00005.pyth: cannot be continued: .* other groups"):
        check_resume((), ("NUM_GPUS", 2, "FINETUNE.FREEZE", ["s1"]))


def test_a_run_does_not_go_on_with_another_kind_of_optimizer(
    check_resume, training, load, tmp_path
):
    keys = ("SOLVER.OPTIMIZING_METHOD", "adam")
    with pytest.raises(InputError, match="its optimizer is of another SOLVER.OPTIM"):
        check_resume((), keys)
    _, model, optimizer = training(*keys)
    path = tmp_path / "checkpoints/checkpoint_epoch_00005.pyth"
    with pytest.raises(InputError, match="its optimizer is of another SOLVER.OPTIM"):
        load(path, model, optimizer)
    # A file that is given lends its weights.
    assert load(path, model, optimizer, epoch_reset=False) == -1


@pytest.mark.checkout
def test_a_run_goes_on_in_mixed_precision_only_with_its_scale(check_resume, skip_unknown_keys):
    skip_unknown_keys(("TRAIN.MIXED_PRECISION", True))
    with pytest.raises(InputError, match="cannot be continued: it has no scaler_state"):
        check_resume((), ("TRAIN.MIXED_PRECISION", True))


@pytest.mark.checkout
def test_a_run_with_sub_batchnorm_goes_on(check_resume, skip_unknown_keys):
    keys = ("BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2)
    skip_unknown_keys(keys)
    check_resume(keys, ())


def test_a_given_file_whose_optimizer_does_not_fit_gives_its_weights(
    upstream, training, load, tmp_path, save, state, differing
):
    from slowfast_ac.pyslowfast.initial_weights import check_start

    _, old, optimizer = training(seed=1)
    alone = save(tmp_path / "alone.pyth", old)
    whole = save(tmp_path / "whole.pyth", old, optimizer)
    for path, keys in ((alone, ()), (whole, ("FINETUNE.FREEZE", ["s1"]))):
        cfg, model, optimizer = training(*keys, "TRAIN.CHECKPOINT_FILE_PATH", str(path))
        check_start(cfg, upstream)
        assert load(path, model, optimizer, epoch_reset=False) == -1
        assert not differing(state(old), state(model))


def test_a_test_refuses_what_would_leave_weights_random(
    training, load, tmp_path, networks, save, state, differing
):
    _, old, _ = training("SCAM.UPSAMPLE", True, seed=1)
    path = save(tmp_path / "old.pyth", old)
    _, model, _ = training()
    load(path, model)  # SCAM's own layer has nothing to do in a test
    assert not differing(state(model), old.state_dict())
    for opts, name in (
        (("MODEL.NUM_CLASSES", 14), "head.projection.weight"),
        (networks["ResNet"], "head"),
    ):
        _, model, _ = training(*opts)
        with pytest.raises(InputError, match=rf"old.pyth: .* of 7 classes, .* {name}.*not tested"):
            load(path, model)
    _, fused, _ = training(*networks["SlowFast"])
    path = save(tmp_path / "fused.pyth", fused)
    _, model, _ = training()
    with pytest.raises(InputError, match=r"fused.pyth: holds SlowFast .* s2.pathway0_res0.branch1"):
        load(path, model)


@pytest.mark.parametrize(
    ("old", "opts", "new", "message"),
    [
        (
            "SlowFastAC",
            ("RESNET.WIDTH_PER_GROUP", 16),
            "SlowFastAC",
            r"conv.weight: shape \[16, 3, 1, 7, 7\], but \[8, 3",
        ),
        (
            "ResNet",
            (),
            "SlowFast",
            r"s2.pathway0_res0.branch1.weight: shape .*only the classifier may differ",
        ),
        ("SlowFastAC", (), "SlowFast", r"s2.pathway0_res0.branch1.weight: shape"),
        (
            "SlowFastAC",
            ("RESNET.DEPTH", 101),
            "SlowFastAC",
            r"has \[3, 4, 23, 3\] blocks in its stages, the network \[3, 4, 6, 3\]: another depth",
        ),
    ],
)
def test_another_network_is_refused(
    training, networks, load, tmp_path, old, opts, new, message, save, state, differing
):
    blocks = [[3, 3], [4, 4], [23, 23], [3, 3]]
    more = ("RESNET.NUM_BLOCK_TEMP_KERNEL", blocks) if "RESNET.DEPTH" in opts else ()
    _, source, _ = training(*networks[old], *opts, *more)
    path = save(tmp_path / "other.pyth", source)
    _, model, optimizer = training(*networks[new])
    before = state(model)
    with pytest.raises(InputError, match="other.pyth: does not fit .*" + message):
        load(path, model, optimizer, epoch_reset=True)
    assert not differing(before, state(model))


@pytest.mark.needs("configs/Kinetics/MVIT_B_16x4_CONV.yaml")
def test_a_transformer_is_loaded_by_upstream_but_not_from_nothing(
    upstream, load, tmp_path, save, state, differing, classifier
):
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
    assert differing(other.state_dict(), state(model)) == classifier
    torch.save({"model_state": {"encoder.weight": torch.zeros(1)}}, tmp_path / "alien.pyth")
    with pytest.raises(InputError, match="alien.pyth: does not fit MViT: none of its weights"):
        load(tmp_path / "alien.pyth", model, optimizer, epoch_reset=True)


class RunsCode:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('ran').touch()",)


@pytest.mark.checkout
def test_a_caffe2_file_that_is_inflated_runs_no_code(
    training, load, networks, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _, model, optimizer = training(*networks["ResNet"])
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"blobs": {"a": RunsCode()}}))
    options = {"inflation": True, "convert_from_caffe2": True}
    with contextlib.suppress(Exception):
        load(tmp_path / "evil.pkl", model, optimizer, **options)
    assert not (tmp_path / "ran").exists()


def test_inflated_weights_of_nothing_are_refused(training, load, networks, tmp_path):
    _, model, optimizer = training(*networks["ResNet"])
    torch.save({"model_state": {"alien": torch.zeros(2)}}, tmp_path / "alien.pyth")
    with pytest.raises(InputError, match="alien.pyth: "):
        load(tmp_path / "alien.pyth", model, optimizer, inflation=True)
