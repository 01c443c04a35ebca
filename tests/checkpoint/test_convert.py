"""Conversions checked by the outputs of both code bases' own networks."""

import pytest
import torch
from torch import nn

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.errors import InputError

R101 = ("RESNET.DEPTH", 101, "RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [23, 23], [3, 3]])


@pytest.mark.parametrize("depth", [(), R101], ids=["R50", "R101"])
def test_slowfast_gives_the_same_outputs_in_both_code_bases(
    pyslowfast_model, clips, depth, ptv_slowfast, outputs, assert_same_outputs
):
    pyslowfast = pyslowfast_model("SlowFast", *depth)
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


def test_slow_gives_the_same_outputs_in_both_code_bases(
    pyslowfast_model, clips, ptv_slow, outputs, assert_same_outputs, assert_equal_states
):
    pyslowfast, pytorchvideo = pyslowfast_model("Slow"), ptv_slow()
    expected = outputs(pytorchvideo, clips[0])
    converted, _ = convert(pytorchvideo.state_dict(), "pytorchvideo", "pyslowfast")
    back, _ = convert(converted, "pyslowfast", "pytorchvideo")
    pyslowfast.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pyslowfast, clips[:1]), expected)
    assert_equal_states(back, pytorchvideo.state_dict())


def test_branch_independent_slowfast_gives_the_same_outputs_in_both_code_bases(
    pyslowfast_model, clips, ptv_branch_independent, outputs, assert_same_outputs
):
    pyslowfast, pytorchvideo = pyslowfast_model(), ptv_branch_independent()
    converted, _ = convert(pyslowfast.state_dict(), "pyslowfast", "pytorchvideo")
    pytorchvideo.load_state_dict(converted, strict=True)
    assert_same_outputs(outputs(pytorchvideo, clips), outputs(pyslowfast, clips))


@pytest.mark.parametrize("name", ["SlowFast", "SlowFastAC", "Slow"])
def test_there_and_back_gives_the_same_bits_in_the_same_order(
    pyslowfast_model, name, assert_equal_states
):
    state = pyslowfast_model(name).state_dict()
    there, _ = convert(state, "pyslowfast", "pytorchvideo")
    back, _ = convert(there, "pytorchvideo", "pyslowfast")
    assert not set(there) & set(state)
    assert_equal_states(back, state)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "module.model.", "module._orig_mod.", "net."]
)
def test_prefixes_of_wrappers_are_dropped_and_given(prefix, ptv_slowfast, assert_equal_states):
    state = ptv_slowfast().state_dict()
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    assert_equal_states(convert(wrapped, "pytorchvideo", "pytorchvideo")[0], state)
    assert_equal_states(convert(state, "pytorchvideo", "pytorchvideo", prefix=prefix)[0], wrapped)


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("native_name", "name"), [("SlowFast", "PTVSlowFast"), ("SlowFastAC", "PTVSlowFastAC")]
)
def test_ptv_models_of_pyslowfast_give_the_same_outputs(
    pyslowfast_model, clips, native_name, name, outputs, assert_same_outputs, assert_equal_states
):
    native = pyslowfast_model(native_name)
    ptv = pyslowfast_model(native_name, "MODEL.MODEL_NAME", name, seed=2)
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


def test_missing_batchnorm_counters_become_zeros(pyslowfast_model):
    state = pyslowfast_model("Slow").state_dict()
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
    """Returns the weights with some removed (None), replaced or added; "__" means a dot."""
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
    state = changed(pyslowfast_model("SlowFast").state_dict(), **changes)
    with pytest.raises(InputError, match=message):
        convert(state, "pyslowfast", "pytorchvideo")


def test_a_target_of_another_shape_depth_or_kind_is_refused(pyslowfast_model):
    state = pyslowfast_model("SlowFast").state_dict()

    def into(*opts):
        target = pyslowfast_model(*opts).state_dict()
        convert(state, "pyslowfast", "pyslowfast", target_state=target)

    into("SlowFast")
    with pytest.raises(InputError, match=r"head\.projection\.weight: shape \[7, 288\], but \[5, 2"):
        into("SlowFast", "MODEL.NUM_CLASSES", 5)
    with pytest.raises(InputError, match=r"s4\.pathway0_res6\.\S+: the target model has it"):
        into("SlowFast", *R101)
    with pytest.raises(InputError, match=r"s1\.pathway1_stem\.\S+: the target model has no such"):
        into("Slow")


def test_networks_that_the_other_code_base_lacks_are_refused(
    pyslowfast_model, ptv_slowfast, ptv_slow
):
    with pytest.raises(InputError, match=r"s3\.pathway0_nonlocal1: PyTorchVideo has no nonlocal"):
        convert(pyslowfast_model("nonlocal").state_dict(), "pyslowfast", "pytorchvideo")
    with pytest.raises(InputError, match=r"kernels \[1, 1, 1, 1, 1\] are not those of Slow"):
        state = pyslowfast_model("Slow", "MODEL.ARCH", "c2d").state_dict()
        convert(state, "pyslowfast", "pytorchvideo")
    with pytest.raises(InputError, match=r"stage s3 \(C2D and I3D"):
        convert(ptv_slow(stage1_pool=nn.MaxPool3d).state_dict(), "pytorchvideo", "pyslowfast")
    with pytest.raises(InputError, match=r"pyslowfast has no depth with \[1, 1, 1, 1\] blocks"):
        convert(ptv_slowfast(18).state_dict(), "pytorchvideo", "pyslowfast")
