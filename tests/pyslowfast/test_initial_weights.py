"""What of a checkpoint starts a training, through upstream's own load_checkpoint."""

import re

import pytest
import torch

from slowfast_ac.checkpoint.convert import convert


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("classes", [5, 14])  # 14: upstream repeats a bias of 7 where it divides
def test_another_class_count_loads_all_but_the_classifier(
    training, load, tmp_path, caplog, reset, classes, save, state, differing, classifier
):
    _, old, old_optimizer = training(seed=1)
    path = save(tmp_path / "old.pyth", old, old_optimizer)
    _, model, optimizer = training("MODEL.NUM_CLASSES", classes)
    initial, optimizer_before = state(model), optimizer.state_dict()
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=reset) == -1
    assert differing(old.state_dict(), state(model)) == classifier
    assert not classifier & differing(initial, state(model))
    assert optimizer.state_dict() == optimizer_before
    assert re.search(r"old.pyth: SlowFastAC of 7 classes, the start of SlowFastAC", caplog.text)
    assert re.search(r"\nnew +2  head.projection.weight, \.\.\.\nunused +2  head", caplog.text)


def test_equal_classes_bring_the_classifier_and_only_without_reset_epoch_and_optimizer(
    training, load, clips, tmp_path, take_step, save, state, differing
):
    cfg, old, old_optimizer = training(seed=1)
    take_step(cfg, old, old_optimizer, clips)
    path = save(tmp_path / "old.pyth", old, old_optimizer)
    for reset, epoch in ((True, -1), (False, 4)):
        _, model, optimizer = training()
        assert load(path, model, optimizer, epoch_reset=reset) == epoch
        assert not differing(state(old), state(model))
        assert bool(optimizer.state_dict()["state"]) == (not reset)


def test_weights_without_an_epoch_start_anew(training, load, tmp_path, save, state, differing):
    _, old, _ = training(seed=1)
    path = save(tmp_path / "weights.pyth", old, epoch=None)
    _, model, optimizer = training()
    assert load(path, model, optimizer, epoch_reset=False) == -1
    assert not differing(state(old), state(model))


def test_the_detail_path_is_new_or_loaded_and_resumes(
    training, load, clips, tmp_path, caplog, take_step, save, state, differing
):
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


def test_names_are_cleared_as_upstream_clears_them(
    training, load, tmp_path, save, state, differing
):
    _, old, _ = training(seed=1)
    path = tmp_path / "wrapped.pyth"
    wrapped = {f"net.{name}": tensor for name, tensor in old.state_dict().items()}
    torch.save({"model_state": wrapped, "epoch": 4}, path)
    _, model, optimizer = training()
    load(path, model, optimizer, epoch_reset=True, clear_name_pattern=("net.",))
    assert not differing(state(old), state(model))
    # A prefix of all names is found without the key, too.
    _, model, optimizer = training()
    load(path, model, optimizer, epoch_reset=True)
    assert not differing(state(old), state(model))
    # The same key leaves an equally large classifier out.
    path = save(tmp_path / "old.pyth", old)
    _, model, optimizer = training()
    load(path, model, optimizer, epoch_reset=True, clear_name_pattern=("head.projection.",))
    assert differing(state(old), state(model)) == {"head.projection.weight"}  # biases are zero


def test_a_fused_slowfast_is_cut_for_slowfastac(
    training, load, tmp_path, caplog, networks, save, state, classifier
):
    _, fused, _ = training(*networks["SlowFast"], seed=1)
    path = save(tmp_path / "fused.pyth", fused, epoch=4)
    _, model, optimizer = training("MODEL.NUM_CLASSES", 5)
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=False) == -1
    old, new = state(fused), state(model)
    for name in set(new) - classifier:
        assert torch.equal(
            new[name], old[name][:, : new[name].shape[1]] if new[name].dim() == 5 else old[name]
        ), name
    assert re.search(r"\ncut +8  s2.pathway0_res0.branch1.weight, ...\nnew +2 ", caplog.text)
    assert "SlowFast of 7 classes, the start of SlowFastAC" in caplog.text


def test_pytorchvideos_names_are_understood(
    training, load, tmp_path, networks, state, differing, classifier
):
    _, old, _ = training(*networks["SlowFast"], seed=1)
    renamed, _ = convert(old.state_dict(), "pyslowfast", "pytorchvideo")
    torch.save({"model_state": renamed}, tmp_path / "ptv.pyth")
    _, model, optimizer = training(*networks["SlowFast"], "MODEL.NUM_CLASSES", 5)
    assert load(tmp_path / "ptv.pyth", model, optimizer, epoch_reset=False) == -1
    assert differing(state(old), state(model)) == classifier


@pytest.mark.needs("slowfast/models/ptv_model_builder.py")
def test_pyslowfasts_weights_start_its_pytorchvideo_models(
    training, load, tmp_path, networks, save, state, differing
):
    _, old, _ = training(*networks["SlowFast"], seed=1)
    path = save(tmp_path / "fused.pyth", old)
    _, model, optimizer = training(*networks["PTVSlowFastAC"], "MODEL.NUM_CLASSES", 5)
    assert load(path, model, optimizer, epoch_reset=True) == -1
    weights, _ = convert(
        old.state_dict(), "pyslowfast", "pytorchvideo", branch_independent=True, prefix="model."
    )
    assert differing(weights, state(model)) == {
        "model.blocks.6.proj.weight",
        "model.blocks.6.proj.bias",
    }


@pytest.mark.checkout
def test_split_statistics_are_loaded_too(training, load, tmp_path, save):
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


def test_a_slow_network_starts_the_slow_pathway(
    training, load, tmp_path, caplog, networks, save, state, differing
):
    _, slow, _ = training(*networks["ResNet"], seed=1)
    path = save(tmp_path / "slow.pyth", slow)
    _, model, optimizer = training()
    caplog.set_level("INFO")
    assert load(path, model, optimizer, epoch_reset=True) == -1
    # Both networks' biases are zero still.
    assert differing(slow.state_dict(), state(model)) == {"head.projection.weight"}
    assert "s1.pathway1_stem.conv.weight" in re.search(r"\nnew .*", caplog.text)[0]
