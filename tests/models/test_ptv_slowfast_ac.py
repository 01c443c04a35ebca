"""The method over PyTorchVideo: surgery on create_slowfast, and the model of a checkout."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.precise_bn import update_bn_stats
from pytorchvideo.models.slowfast import create_slowfast
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.models.ptv_slowfast_ac import remove_lateral_connections, slow_pathway
from slowfast_ac.models.surgery import captured_inputs


def without_zero_initialisation(model):
    """PyTorchVideo starts each block's last BatchNorm at zero; here every layer is to matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and module.affine:
            module.weight.data.fill_(1)
    return model


def fused_network(depth=50, seed=0):
    torch.manual_seed(seed)
    model = create_slowfast(
        slowfast_fusion_conv_stride=(4, 1, 1),
        model_depth=depth,
        model_num_class=7,
        dropout_rate=0.0,
        stem_dim_outs=(8, 1),
        head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2)),
    )
    return without_zero_initialisation(model)


def unfused_network(depth=50, seed=0):
    model = fused_network(depth, seed)
    remove_lateral_connections(model)
    return model


def silence_laterals(model):
    """The lateral connections' outputs become zero."""
    for block in model.blocks[:4]:
        block.multipathway_fusion.conv_fast_to_slow.weight.data.zero_()
        block.multipathway_fusion.norm.bias.data.zero_()
        block.multipathway_fusion.norm.running_mean.zero_()


# Surgery ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.slow)])
def test_equals_the_fused_network_whose_laterals_carry_nothing(
    clips, depth, training, copy_without_laterals
):
    fused, model = fused_network(depth).double(), unfused_network(depth, seed=1).double()
    clips = [clip.double() for clip in clips]
    update_bn_stats(fused.train(), [list(clips)], 1)
    carrying = copy.deepcopy(fused).train(training)
    silence_laterals(fused)
    copy_without_laterals(fused, model)
    with torch.no_grad():
        expected = fused.train(training)(list(clips))
        torch.testing.assert_close(model.train(training)(list(clips)), expected)
        assert not torch.allclose(carrying(list(clips)), expected)


def test_names_are_those_of_create_slowfast_without_the_fusion():
    names = set(fused_network().state_dict())
    kept = {name for name in names if ".multipathway_fusion." not in name}
    assert kept < names
    assert set(unfused_network().state_dict()) == kept


def test_narrowed_convolutions_are_initialised_as_the_others():
    # create_slowfast initialises before the surgery; Kaiming's fan-out does not see the input.
    for block in unfused_network().blocks[1:5]:
        first = block.multipathway_blocks[0].res_blocks[0]
        for conv in (first.branch1_conv, first.branch2.conv_a):
            fan_out = conv.out_channels * np.prod(conv.kernel_size)
            assert conv.weight.std().item() == pytest.approx(np.sqrt(2 / fan_out), rel=0.2)
            assert conv.bias is None


@pytest.mark.parametrize("own, other", [(0, 1), (1, 0)], ids=["slow", "fast"])
def test_streams_share_nothing_before_the_classifier(clips, own, other):
    model = unfused_network().train()
    clips = [clip.requires_grad_() for clip in clips]
    with captured_inputs(model.blocks[5]) as streams:
        model(list(clips))
    to_own, to_other = torch.autograd.grad(
        streams[own].pow(2).sum(), [clips[own], clips[other]], allow_unused=True
    )
    assert to_own.abs().sum() > 0
    assert to_other is None


def test_slow_pathway_alone_gives_what_it_gives_in_the_whole_network(clips):
    model = unfused_network().eval()
    with torch.no_grad(), captured_inputs(model.blocks[4]) as res4:
        with captured_inputs(model.blocks[5]) as res5:
            model(list(clips))
        alone = slow_pathway(model, clips[0])
    assert torch.equal(alone.res5, res5[0])
    assert torch.equal(alone.res4, res4[0])


# The registered model ---------------------------------------------------------------------------


@pytest.fixture
def build(build_model, tiny_cfg):
    """Options -> a seeded PTVSlowFastAC in training mode."""

    def make(*opts, name="PTVSlowFastAC"):
        torch.manual_seed(0)
        model = build_model(tiny_cfg("MODEL.MODEL_NAME", name, *opts))
        return without_zero_initialisation(model).train()

    return make


def counted(model):
    calls = []
    model.model.blocks[0].multipathway_blocks[0].register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.checkout
def test_pooled_maps_add_up_to_the_logits(build, clips):
    model = build("SCAM.SCALES", [1.0])
    bias = model.model.blocks[6].proj.bias.data.uniform_(-1, 1)
    preds = model(clips)
    spatial, temporal = preds.attention.spatial, preds.attention.temporal
    assert spatial.shape == temporal.shape == (2, 7, 2, 2)
    pooled = spatial.mean(dim=(2, 3)) + temporal.mean(dim=(2, 3)) / 16
    torch.testing.assert_close(pooled + bias, preds, rtol=1e-4, atol=1e-5)


@pytest.mark.checkout
def test_maps_are_those_of_slowfast_ac_with_the_same_weights(build, clips):
    # Both upstreams' networks are the same; their parameters come in the same order, block by
    # block, but for branch1 and branch2, so they are matched by shape within each block.
    ours, reference = build(), build(name="SlowFastAC")
    groups = {}
    for model, which in ((ours, 0), (reference, 1)):
        for name, tensor in model.state_dict().items():
            groups.setdefault(place(name), ({}, {}))[which][kind(name)] = tensor
    for mine, theirs in groups.values():
        assert mine.keys() == theirs.keys()
        for part, tensor in mine.items():
            tensor.copy_(theirs[part])
    found, expected = ours(clips), reference(clips)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name in ("spatial", "temporal"):
        torch.testing.assert_close(
            getattr(found.attention, name),
            getattr(expected.attention, name),
            rtol=1e-3,
            atol=1e-3,
        )


def place(name):
    """(stage, pathway, block) of a parameter in either upstream's naming."""
    parts = name.split(".")
    if name.startswith("model.blocks.6") or name.startswith("head."):
        return ("head",)
    if parts[0] == "model":
        stage, pathway = int(parts[2]) + 1, int(parts[4])
        return (stage, pathway, int(parts[6]) if parts[5] == "res_blocks" else 0)
    stage, pathway = int(parts[0][1]), int(parts[1][len("pathway")])
    return (stage, pathway, int(parts[1].split("res")[1]) if "res" in parts[1] else 0)


RENAMED = {
    "conv": "stem conv",
    "bn": "stem norm",
    "norm": "stem norm",
    "branch1": "shortcut conv",
    "branch1_conv": "shortcut conv",
    "branch1_bn": "shortcut norm",
    "branch1_norm": "shortcut norm",
    "a": "conv a",
    "conv_a": "conv a",
    "a_bn": "norm a",
    "norm_a": "norm a",
    "b": "conv b",
    "conv_b": "conv b",
    "b_bn": "norm b",
    "norm_b": "norm b",
    "c": "conv c",
    "conv_c": "conv c",
    "c_bn": "norm c",
    "norm_c": "norm c",
    "proj": "classifier",
    "projection": "classifier",
}


def kind(name):
    """The layer and tensor of a parameter, whatever its upstream."""
    layer, tensor = name.split(".")[-2:]
    return RENAMED[layer], tensor


@pytest.mark.checkout
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("norm", [[], ["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2]])
def test_running_statistics_after_a_step_are_those_without_the_second_scale(
    build, criterion, clips, norm, grad, assert_same, labels
):
    model = build("SCAM.GRAD", grad, *norm)
    plain = build("MODEL.LOSS_FUNC", "cross_entropy", *norm)
    criterion(model(clips), labels)[0].backward()
    F.cross_entropy(plain(clips), labels).backward()
    assert_same(model.named_buffers(), plain.named_buffers())


@pytest.mark.checkout
def test_second_scale_only_in_training_steps(build, clips):
    model = build()
    calls = counted(model)
    assert hasattr(model(clips), "attention")
    assert len(calls) == 2
    with torch.no_grad():
        assert not hasattr(model(clips), "attention")
    assert not hasattr(model.eval()(clips), "attention")
    assert len(calls) == 4


@pytest.mark.checkout
def test_evaluation_is_that_of_the_plain_network(build, clips):
    model = build().eval()
    plain = build("MODEL.LOSS_FUNC", "cross_entropy").eval()
    assert plain.scam is None
    assert torch.equal(model(clips), plain(clips))


@pytest.mark.checkout
def test_lambda_zero_gives_exactly_the_gradient_of_cross_entropy(
    build, criterion, clips, gradients, assert_same, labels
):
    model, plain = build("AC.LAMBDA", 0.0), build("MODEL.LOSS_FUNC", "cross_entropy")
    assert_same(
        gradients(model, criterion(model(clips), labels)[0]),
        gradients(plain, F.cross_entropy(plain(clips), labels)),
    )


@pytest.mark.checkout
def test_without_scam_grad_the_second_scale_is_a_constant(
    build, detached, criterion, clips, gradients, assert_same, labels
):
    model, reference = build("SCAM.GRAD", False), build()
    stream = reference.spatial_stream
    reference.spatial_stream = lambda clip: detached(stream(clip))
    found, expected = (gradients(m, criterion(m(clips), labels)[0]) for m in (model, reference))
    assert_same(found, expected)


@pytest.mark.checkout
@pytest.mark.parametrize("opts", [[], ["SCAM.UPSAMPLE", True], ["RESNET.DEPTH", 101]], ids=str)
def test_every_parameter_gets_a_gradient(build, criterion, clips, opts, gradients, labels):
    model = build(*opts)
    preds = model(clips)
    side = 4 if "SCAM.UPSAMPLE" in opts else 2
    assert preds.attention.spatial.shape == (2, 7, side, side)
    for name, gradient in gradients(model, criterion(preds, labels)[0]).items():
        assert gradient is not None, name
        assert gradient.count_nonzero() > 0, name


@pytest.mark.checkout
def test_boxes_are_refused(build, clips):
    with pytest.raises(InputError, match="DETECTION.ENABLE: PTVSlowFastAC"):
        build("DETECTION.ENABLE", True)
    with pytest.raises(InputError, match="not defined for boxes"):
        build()(clips, bboxes=torch.zeros(1, 5))


@pytest.mark.checkout
def test_input_list_is_left_as_it_is(build, clips):
    given = list(clips)
    build()(given)
    assert given[0] is clips[0] and given[1] is clips[1]


def test_mixin_needs_no_pyslowfast(clips):
    # Over any module that builds create_slowfast's network as ``model``.
    from fvcore.common.config import CfgNode

    from slowfast_ac.config import add_custom_config
    from slowfast_ac.models.ptv_slowfast_ac import PTVSlowFastACMixin

    class Base(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self._construct_network(cfg)

        def _construct_network(self, cfg):
            self.model = fused_network()

        def forward(self, x, bboxes=None):
            return self.model(x).flatten(1)

    class Model(PTVSlowFastACMixin, Base):
        pass

    cfg = CfgNode()
    add_custom_config(cfg)
    cfg.MODEL = CfgNode({"MODEL_NAME": "Model", "LOSS_FUNC": "attention_consistency"})
    cfg.DETECTION = CfgNode({"ENABLE": False})
    cfg.DATA = CfgNode({"TRAIN_CROP_SIZE": 64})
    preds = Model(cfg).train()(clips)
    assert preds.attention.spatial.shape == preds.attention.temporal.shape == (2, 7, 2, 2)
