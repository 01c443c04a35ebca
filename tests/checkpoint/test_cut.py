"""A fused SlowFast without its lateral connections equals the fused one with zeros for them."""

import pytest
import torch

from slowfast_ac.checkpoint.convert import convert, fused_to_branch_independent
from slowfast_ac.errors import InputError


def with_zero_lateral_weights(state, slow_channels):
    """Zeroes what the first blocks of the slow stages take from the lateral connections."""
    for name, width in slow_channels.items():
        state[name][:, width:] = 0
    return state


PYSLOWFAST_FIRST = {
    f"s{stage}.pathway0_res0.{layer}.weight": width
    for stage, width in ((2, 8), (3, 32), (4, 64), (5, 128))
    for layer in ("branch1", "branch2.a")
}


PTV_FIRST = {
    f"blocks.{block}.multipathway_blocks.0.res_blocks.0.{layer}.weight": width
    for block, width in ((1, 8), (2, 32), (3, 64), (4, 128))
    for layer in ("branch1_conv", "branch2.conv_a")
}


def test_cut_pyslowfast_network_equals_the_fused_one_with_zero_lateral_weights(
    pyslowfast_model, clips, outputs, assert_same_outputs
):
    fused, cut = pyslowfast_model("SlowFast"), pyslowfast_model(seed=2)
    with_zero_lateral_weights(fused.state_dict(), PYSLOWFAST_FIRST)
    state, report = fused_to_branch_independent(fused.state_dict())
    cut.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(cut, clips), outputs(fused, clips))
    assert set(report.cut) == set(PYSLOWFAST_FIRST)
    assert set(report.unused) == {name for name in fused.state_dict() if "_fuse." in name}
    assert len(report.loaded) + len(report.cut) == len(state) and not report.new


def test_cut_pytorchvideo_network_equals_the_fused_one_with_zero_lateral_weights(
    clips, ptv_slowfast, ptv_branch_independent, outputs, assert_same_outputs
):
    fused, cut = ptv_slowfast(), ptv_branch_independent(seed=2)
    with_zero_lateral_weights(fused.state_dict(), PTV_FIRST)
    state, report = fused_to_branch_independent(fused.state_dict())
    cut.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(cut, clips), outputs(fused, clips))
    assert set(report.cut) == set(PTV_FIRST)


def test_cut_keeps_the_slow_channels_and_leaves_the_checkpoint_alone(
    pyslowfast_model, assert_equal_states
):
    fused = pyslowfast_model("SlowFast").state_dict()
    before = {name: tensor.clone() for name, tensor in fused.items()}
    state, _ = fused_to_branch_independent(fused)
    for name, width in PYSLOWFAST_FIRST.items():
        assert torch.equal(state[name], before[name][:, :width])
        state[name].zero_()
    assert_equal_states(fused, before)


def test_cut_keeps_the_prefix(ptv_slowfast):
    state = {f"model.{name}": tensor for name, tensor in ptv_slowfast().state_dict().items()}
    cut, report = fused_to_branch_independent(state)
    assert all(name.startswith("model.") for name in [*cut, *report.loaded, *report.cut])


def test_cutting_while_converting_is_cutting_and_then_converting(
    pyslowfast_model, assert_equal_states
):
    fused = pyslowfast_model("SlowFast").state_dict()
    at_once, _ = convert(fused, "pyslowfast", "pytorchvideo", branch_independent=True)
    cut, _ = fused_to_branch_independent(fused)
    assert_equal_states(at_once, convert(cut, "pyslowfast", "pytorchvideo")[0])


def test_only_lateral_connections_that_are_there_are_cut(pyslowfast_model):
    with pytest.raises(InputError, match="no lateral connections to cut away"):
        fused_to_branch_independent(pyslowfast_model().state_dict())
    state = pyslowfast_model("SlowFast").state_dict()
    state["s3.pathway0_res0.branch1.weight"] = torch.ones(64, 41, 1, 1, 1)
    message = r"^s3\.pathway0_res0\.branch1\.weight: takes 41 channels, not the 32 slow and 8 lat"
    with pytest.raises(InputError, match=message):
        fused_to_branch_independent(state)
    with pytest.raises(InputError, match="PySlowFast's or PyTorchVideo's names only"):
        fused_to_branch_independent({"weight": torch.ones(1)})
