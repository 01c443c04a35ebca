"""Blobs of PySlowFast's old zoo get the names that upstream gives them."""

import re

import pytest
import torch

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.errors import InputError


def caffe2_blobs(state):
    """PySlowFast's weights as its old zoo holds them, with the solver's leftovers."""
    return {caffe2_name(name): tensor.numpy() for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")}  # fmt: skip


def caffe2_name(name):
    """The inverse of upstream's utils/c2_model_loading.py."""
    last = {"2": "2", "3": "3", "4": "5"}
    rules = [
        (r"\.running_mean$", "_rm"),
        (r"\.running_var$", "_riv"),
        (r"bn\.weight$", "bn_s"),
        (r"\.weight$", "_w"),
        (r"\.bias$", "_b"),
        (r"^s1_fuse\.(conv_f2s|bn)", lambda m: "t_pool1_subsample" + "_bn" * (m[1] == "bn")),
        (
            r"^s([234])_fuse\.(conv_f2s|bn)",
            lambda m: f"t_res{m[1]}_{last[m[1]]}_branch2c_bn_subsample" + "_bn" * (m[2] == "bn"),
        ),
        (r"^s1\.pathway0_stem\.bn", "res_conv1_bn"),
        (r"^s1\.pathway1_stem\.bn", "t_res_conv1_bn"),
        (r"^s1\.pathway0_stem\.conv", "conv1"),
        (r"^s1\.pathway1_stem\.conv", "t_conv1"),
        (r"^s(\d)\.pathway0_nonlocal(\d+)\.(?:conv_)?", r"nonlocal_conv\1_\2_"),
        (r"^s(\d)\.pathway0_res(\d+)\.", r"res\1_\2_"),
        (r"^s(\d)\.pathway1_res(\d+)\.", r"t_res\1_\2_"),
        (r"branch2\.", "branch2"),
        (r"^head\.projection", "pred"),
    ]
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize("name", ["SlowFast", "Slow", "nonlocal"])
def test_caffe2_blobs_get_the_names_that_upstream_gives_them(pyslowfast_model, name):
    from slowfast.utils.c2_model_loading import get_name_convert_func

    model = pyslowfast_model(name)
    blobs = caffe2_blobs(model.state_dict())
    solver = {"lr": 0.1, "model_iter": 9, "conv1_w_momentum": 0.0, "pred_b_momentum": 0.0}
    tensors = {name: torch.tensor(value) for name, value in {**solver, **blobs}.items()}

    state, report = convert(tensors, "caffe2", "pyslowfast")
    upstream_names = map(get_name_convert_func(), blobs)
    for blob, name in zip(blobs, upstream_names, strict=True):
        assert torch.equal(state[name], tensors[blob])
    assert set(report.unused) == set(solver)
    assert set(report.new) == {name for name in state if name.endswith("num_batches_tracked")}
    assert not any(state[name] for name in report.new)
    model.load_state_dict(state, strict=True)


def test_caffe2_converts_to_pytorchvideo(
    pyslowfast_model, clips, ptv_slowfast, outputs, assert_same_outputs
):
    pyslowfast, pytorchvideo = pyslowfast_model("SlowFast"), ptv_slowfast()
    blobs = caffe2_blobs(pyslowfast.state_dict())
    state, _ = convert({n: torch.tensor(b) for n, b in blobs.items()}, "caffe2", "pytorchvideo")
    pytorchvideo.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(pytorchvideo, clips), outputs(pyslowfast, clips))


def test_caffe2_is_no_target(pyslowfast_model):
    with pytest.raises(InputError, match="^caffe2: not a naming to convert to"):
        convert({}, "pyslowfast", "caffe2")
