"""Conversions checked by the outputs of both code bases' own networks."""

import argparse
import re

import pytest
import torch
from pytorchvideo.models import create_resnet, create_slowfast
from torch import nn

from slowfast_ac.checkpoint.convert import convert, convert_checkpoint, fused_to_branch_independent
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.cli import convert as convert_command
from slowfast_ac.errors import InputError

FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
NONLOCAL = (*SLOW, "NONLOCAL.LOCATION", [[[]], [[1, 3]], [[0]], [[]]])
R101 = ("RESNET.DEPTH", 101, "RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [23, 23], [3, 3]])


@pytest.fixture
def pyslowfast_model(build_model, tiny_cfg):
    """Returns a function: config keys and values -> PySlowFast's network, random, with logits."""

    def make(*opts, seed=0):
        model = randomised(build_model(tiny_cfg(*opts)), seed)
        if hasattr(model, "head"):
            model.head.act = nn.Identity()
        return model

    return make


def ptv_slowfast(depth=50, seed=1, **options):
    return randomised(
        create_slowfast(
            slowfast_channel_reduction_ratio=8,
            slowfast_fusion_conv_kernel_size=(5, 1, 1),
            model_depth=depth,
            model_num_class=7,
            dropout_rate=0.0,
            stem_dim_outs=(8, 1),
            head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2)),
            **options,
        ),
        seed,
    )


def ptv_branch_independent(seed=1):
    return ptv_slowfast(
        seed=seed,
        slowfast_conv_channel_fusion_ratio=0,
        fusion_builder=lambda fusion_dim_in, stage_idx: nn.Identity(),
    )


def ptv_slow(seed=1, **options):
    return randomised(
        create_resnet(
            model_num_class=7,
            dropout_rate=0.0,
            stem_dim_out=8,
            stem_conv_kernel_size=(1, 7, 7),
            head_pool_kernel_size=(4, 2, 2),
            **options,
        ),
        seed,
    )


def randomised(model, seed):
    """Gives every number of the network, BatchNorm's statistics too, a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(int(torch.randint(1, 1000, (), generator=generator)))
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * fan_in**-0.5)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


@torch.no_grad()
def outputs(model, clips):
    # Both code bases write into the list they are given.
    return model(list(clips) if isinstance(clips, list) else clips)


def assert_same_outputs(first, second):
    assert first.shape == (2, 7)
    assert first.std() > 0.01, "outputs that do not depend on the clip prove nothing"
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def assert_equal_states(first, second):
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("depth", [(), R101], ids=["R50", "R101"])
def test_slowfast_gives_the_same_outputs_in_both_code_bases(pyslowfast_model, clips, depth):
    pyslowfast = pyslowfast_model(*FUSED, *depth)
    pytorchvideo = ptv_slowfast(101 if depth else 50)
    expected = outputs(pytorchvideo, clips)
    original = pytorchvideo.state_dict()
    original = {name: tensor.clone() for name, tensor in original.items()}

    converted, report = convert(pyslowfast.state_dict(), "pyslowfast", "pytorchvideo")
    pytorchvideo.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pytorchvideo, clips), outputs(pyslowfast, clips))
    assert len(report.loaded) == len(converted) and not (report.cut or report.new or report.unused)

    converted, _ = convert(original, "pytorchvideo", "pyslowfast")
    pyslowfast.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pyslowfast, clips), expected)


def test_slow_gives_the_same_outputs_in_both_code_bases(pyslowfast_model, clips):
    pyslowfast, pytorchvideo = pyslowfast_model(*SLOW), ptv_slow()
    expected = outputs(pytorchvideo, clips[0])
    converted, _ = convert(pytorchvideo.state_dict(), "pytorchvideo", "pyslowfast")
    back, _ = convert(converted, "pyslowfast", "pytorchvideo")
    pyslowfast.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pyslowfast, clips[:1]), expected)
    assert_equal_states(back, pytorchvideo.state_dict())


def test_branch_independent_slowfast_gives_the_same_outputs_in_both_code_bases(
    pyslowfast_model, clips
):
    pyslowfast, pytorchvideo = pyslowfast_model(), ptv_branch_independent()
    converted, _ = convert(pyslowfast.state_dict(), "pyslowfast", "pytorchvideo")
    pytorchvideo.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pytorchvideo, clips), outputs(pyslowfast, clips))


@pytest.mark.parametrize("opts", [FUSED, (), SLOW], ids=["SlowFast", "SlowFastAC", "Slow"])
def test_there_and_back_gives_the_same_bits_in_the_same_order(pyslowfast_model, opts):
    state = pyslowfast_model(*opts).state_dict()
    there, _ = convert(state, "pyslowfast", "pytorchvideo")
    back, _ = convert(there, "pytorchvideo", "pyslowfast")
    assert not set(there) & set(state)
    assert_equal_states(back, state)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
def test_prefixes_of_wrappers_are_dropped_and_given(prefix):
    state = ptv_slowfast().state_dict()
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    assert_equal_states(convert(wrapped, "pytorchvideo", "pytorchvideo")[0], state)
    assert_equal_states(convert(state, "pytorchvideo", "pytorchvideo", prefix=prefix)[0], wrapped)


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("opts", "name"), [(FUSED, "PTVSlowFast"), ((), "PTVSlowFastAC")], ids=["fused", "AC"]
)
def test_ptv_models_of_pyslowfast_give_the_same_outputs(pyslowfast_model, clips, opts, name):
    native = pyslowfast_model(*opts)
    ptv = pyslowfast_model(*opts, "MODEL.MODEL_NAME", name, seed=2)
    ptv.post_act = nn.Identity()
    state, _ = convert(
        native.state_dict(),
        "pyslowfast",
        "pytorchvideo",
        prefix="model.",
        target_state=ptv.state_dict(),
    )
    ptv.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(ptv, clips), outputs(native, clips))
    back, _ = convert(ptv.state_dict(), "pytorchvideo", "pyslowfast")
    assert_equal_states(back, native.state_dict())


# The cut.


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
    pyslowfast_model, clips
):
    fused, cut = pyslowfast_model(*FUSED), pyslowfast_model(seed=2)
    with_zero_lateral_weights(fused.state_dict(), PYSLOWFAST_FIRST)
    state, report = fused_to_branch_independent(fused.state_dict())
    cut.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(cut, clips), outputs(fused, clips))
    assert set(report.cut) == set(PYSLOWFAST_FIRST)
    assert set(report.unused) == {name for name in fused.state_dict() if "_fuse." in name}
    assert len(report.loaded) + len(report.cut) == len(state) and not report.new


def test_cut_pytorchvideo_network_equals_the_fused_one_with_zero_lateral_weights(clips):
    fused, cut = ptv_slowfast(), ptv_branch_independent(seed=2)
    with_zero_lateral_weights(fused.state_dict(), PTV_FIRST)
    state, report = fused_to_branch_independent(fused.state_dict())
    cut.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(cut, clips), outputs(fused, clips))
    assert set(report.cut) == set(PTV_FIRST)


def test_cut_keeps_the_slow_channels_and_leaves_the_checkpoint_alone(pyslowfast_model):
    fused = pyslowfast_model(*FUSED).state_dict()
    before = {name: tensor.clone() for name, tensor in fused.items()}
    state, _ = fused_to_branch_independent(fused)
    for name, width in PYSLOWFAST_FIRST.items():
        assert torch.equal(state[name], before[name][:, :width])
        state[name].zero_()
    assert_equal_states(fused, before)


def test_cut_keeps_the_prefix():
    state = {f"model.{name}": tensor for name, tensor in ptv_slowfast().state_dict().items()}
    cut, report = fused_to_branch_independent(state)
    assert all(name.startswith("model.") for name in [*cut, *report.loaded, *report.cut])


def test_cutting_while_converting_is_cutting_and_then_converting(pyslowfast_model):
    fused = pyslowfast_model(*FUSED).state_dict()
    at_once, _ = convert(fused, "pyslowfast", "pytorchvideo", branch_independent=True)
    cut, _ = fused_to_branch_independent(fused)
    assert_equal_states(at_once, convert(cut, "pyslowfast", "pytorchvideo")[0])


# caffe2.


def caffe2_blobs(state):
    """PySlowFast's weights as its old zoo holds them, with what the solver leaves behind."""
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


@pytest.mark.parametrize("opts", [FUSED, SLOW, NONLOCAL], ids=["SlowFast", "Slow", "nonlocal"])
def test_caffe2_blobs_get_the_names_that_upstream_gives_them(pyslowfast_model, opts):
    from slowfast.utils.c2_model_loading import get_name_convert_func

    model = pyslowfast_model(*opts)
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


def test_caffe2_converts_to_pytorchvideo(pyslowfast_model, clips):
    pyslowfast, pytorchvideo = pyslowfast_model(*FUSED), ptv_slowfast()
    blobs = caffe2_blobs(pyslowfast.state_dict())
    state, _ = convert({n: torch.tensor(b) for n, b in blobs.items()}, "caffe2", "pytorchvideo")
    pytorchvideo.load_state_dict(state, strict=True)
    assert_same_outputs(outputs(pytorchvideo, clips), outputs(pyslowfast, clips))


# Strictness.


def test_missing_batchnorm_counters_become_zeros(pyslowfast_model):
    state = pyslowfast_model(*SLOW).state_dict()
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    converted, report = convert(old, "pyslowfast", "pyslowfast")
    assert set(converted) == set(state)
    assert set(report.new) == set(state) - set(old)


def test_training_only_weights_of_scam_are_unused_and_new(pyslowfast_model):
    model = pyslowfast_model("SCAM.UPSAMPLE", True)
    state = model.state_dict()
    converted, report = convert(state, "pyslowfast", "pyslowfast", target_state=state)
    assert report.unused == report.new == ("scam.detail.weight",)
    assert set(state) - set(converted) == {"scam.detail.weight"}


def changed(state, **changes):
    """Returns the weights with some removed (None), replaced or added; "__" stands for a dot."""
    state = {**state, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head__extra__weight": torch.ones(1)}, r"^head\.extra\.weight: not a weight of"),
        ({"head__projection__bias": None}, r"^head\.projection\.bias: missing"),
        ({"s3__pathway0_res1__branch2__c__weight": None}, r"^s3\.pathway0_res1\.branch2.*missing"),
        ({"s2_fuse__bn__bias": None}, r"^s2_fuse\.bn\.bias: missing"),
    ],
)  # fmt: skip
def test_a_key_too_many_or_too_few_is_named(pyslowfast_model, changes, message):
    state = changed(pyslowfast_model(*FUSED).state_dict(), **changes)
    with pytest.raises(InputError, match=message):
        convert(state, "pyslowfast", "pytorchvideo")


def test_a_target_of_another_shape_depth_or_kind_is_refused(pyslowfast_model):
    state = pyslowfast_model(*FUSED).state_dict()

    def into(*opts):
        target = pyslowfast_model(*opts).state_dict()
        convert(state, "pyslowfast", "pyslowfast", target_state=target)

    into(*FUSED)
    with pytest.raises(InputError, match=r"head\.projection\.weight: shape \[7, 288\], but \[5, 2"):
        into(*FUSED, "MODEL.NUM_CLASSES", 5)
    with pytest.raises(InputError, match=r"s4\.pathway0_res6\.\S+: the target model has it"):
        into(*FUSED, *R101)
    with pytest.raises(InputError, match=r"s1\.pathway1_stem\.\S+: the target model has no such"):
        into(*SLOW)


def test_networks_that_the_other_code_base_lacks_are_refused(pyslowfast_model):
    with pytest.raises(InputError, match=r"s3\.pathway0_nonlocal1: PyTorchVideo has no nonlocal"):
        convert(pyslowfast_model(*NONLOCAL).state_dict(), "pyslowfast", "pytorchvideo")
    with pytest.raises(InputError, match=r"kernels \[1, 1, 1, 1, 1\] are not those of Slow"):
        state = pyslowfast_model(*SLOW, "MODEL.ARCH", "c2d").state_dict()
        convert(state, "pyslowfast", "pytorchvideo")
    with pytest.raises(InputError, match=r"stage s3 \(C2D and I3D"):
        convert(ptv_slow(stage1_pool=nn.MaxPool3d).state_dict(), "pytorchvideo", "pyslowfast")
    with pytest.raises(InputError, match=r"pyslowfast has no depth with \[1, 1, 1, 1\] blocks"):
        convert(ptv_slowfast(18).state_dict(), "pytorchvideo", "pyslowfast")


def test_only_lateral_connections_that_are_there_are_cut(pyslowfast_model):
    with pytest.raises(InputError, match="no lateral connections to cut away"):
        fused_to_branch_independent(pyslowfast_model().state_dict())
    state = pyslowfast_model(*FUSED).state_dict()
    state["s3.pathway0_res0.branch1.weight"] = torch.ones(64, 41, 1, 1, 1)
    message = r"^s3\.pathway0_res0\.branch1\.weight: takes 41 channels, not the 32 slow and 8 lat"
    with pytest.raises(InputError, match=message):
        fused_to_branch_independent(state)
    with pytest.raises(InputError, match="PySlowFast's or PyTorchVideo's names only"):
        fused_to_branch_independent({"weight": torch.ones(1)})


def test_caffe2_is_no_target(pyslowfast_model):
    with pytest.raises(InputError, match="^caffe2: not a naming to convert to"):
        convert({}, "pyslowfast", "caffe2")


# Files.


def save(path, model, cfg, epoch=4):
    torch.save(
        {
            "epoch": epoch,
            "model_state": model.state_dict(),
            "optimizer_state": {},
            "cfg": cfg.dump(),
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((*SLOW, "RESNET.STRIDE_1X1", True), r"x\.pyth: RESNET\.STRIDE_1X1: PyTorchVideo strides"),
        ((*FUSED, "DETECTION.ENABLE", True), r"x\.pyth: DETECTION\.ENABLE: only classifiers"),
    ],
)
def test_what_only_the_config_shows_is_refused(tmp_path, pyslowfast_model, tiny_cfg, opts, message):
    path = save(tmp_path / "x.pyth", pyslowfast_model(*opts[:-2]), tiny_cfg(*opts))
    with pytest.raises(InputError, match=message):
        convert_checkpoint(open_checkpoint(path), "pytorchvideo")


def run(*argv):
    parser = argparse.ArgumentParser()
    convert_command.add_arguments(parser)
    convert_command.main(parser.parse_args([str(arg) for arg in argv]))


@pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
def test_command_writes_a_file_that_opens_as_the_same_network(
    tmp_path, pyslowfast_model, tiny_cfg, capsys, suffix
):
    model = pyslowfast_model(*FUSED)
    source = save(tmp_path / "in.pyth", model, tiny_cfg(*FUSED))
    there, back = tmp_path / f"there{suffix}", tmp_path / f"back{suffix}"
    run(source, there, "--to", "pytorchvideo")
    run(there, back, "--to", "pyslowfast")
    printed = capsys.readouterr().out
    assert f"wrote {there}\nloaded" in printed and len(printed.splitlines()) == 10

    original, converted, again = map(open_checkpoint, (source, there, back))
    assert converted.model == "PTVSlowFast" and converted.naming == "pytorchvideo"
    assert (again.epoch, again.config, again.alpha) == (4, original.config, 4)
    model.load_state_dict(again.state_dict, strict=True)
    assert again.state_dict.keys() == original.state_dict.keys()
    assert all(torch.equal(again.state_dict[k], v) for k, v in original.state_dict.items())


def test_command_cuts_and_writes_what_pyslowfast_starts_from_at_epoch_zero(
    tmp_path, pyslowfast_model, tiny_cfg
):
    from slowfast.utils.checkpoint import load_checkpoint

    source = save(tmp_path / "in.pyth", pyslowfast_model(*FUSED), tiny_cfg(*FUSED))
    run(source, tmp_path / "out.pyth", "--to", "pyslowfast", "--branch-independent")
    cut = open_checkpoint(tmp_path / "out.pyth")
    assert (cut.model, cut.epoch) == ("SlowFastAC", None)
    model = pyslowfast_model()
    assert load_checkpoint(str(tmp_path / "out.pyth"), model, data_parallel=False) == -1
    assert_equal_states(cut.state_dict, model.state_dict())


@pytest.mark.parametrize(
    ("output", "extra", "message"),
    [
        ("out.pkl", [], r"out\.pkl: the suffix must be one of \.pyth, \.safetensors"),
        ("out.pyth", ["--branch-independent"], r"in\.pyth: no lateral connections"),
    ],
)
def test_command_that_fails_writes_nothing(
    tmp_path, pyslowfast_model, tiny_cfg, output, extra, message
):
    source = save(tmp_path / "in.pyth", pyslowfast_model(), tiny_cfg())
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / output, "--to", "pyslowfast", *extra)
    assert list(tmp_path.iterdir()) == [source]
