"""SlowFastAC on PySlowFast: parity, independence, maps, statistics, gradients."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.flop_count import flop_count
from fvcore.nn.precise_bn import update_bn_stats

from slowfast_ac.cam import attention_consistency
from slowfast_ac.errors import InputError
from slowfast_ac.losses import consistency_term
from slowfast_ac.models.surgery import captured_inputs
from slowfast_ac.scam_head import StreamFeatures

LABELS = torch.tensor([1, 4])

# Options of PySlowFast that change the network: it builds it, so they must keep working.
OPTIONS = {
    "R50": [],
    "R101": ["RESNET.DEPTH", 101],
    "groups": ["RESNET.NUM_GROUPS", 8],
    "nonlocal": ["NONLOCAL.LOCATION", [[[], []], [[1], [0]], [[0, 2], []], [[], []]]],
    "nonlocal softmax": [
        *["NONLOCAL.LOCATION", [[[], []], [[1], []], [[4], [2]], [[], []]]],
        *["NONLOCAL.INSTANTIATION", "softmax"],
    ],
    "stride in 1x1": ["RESNET.STRIDE_1X1", True],
    "fusion ratio": ["SLOWFAST.FUSION_CONV_CHANNEL_RATIO", 1, "SLOWFAST.FUSION_KERNEL_SZ", 7],
    "wide fast pathway": ["SLOWFAST.BETA_INV", 4],
    "alpha 8": ["SLOWFAST.ALPHA", 8],
    "dropout": ["MODEL.DROPOUT_RATE", 0.5],
}
SUB_BATCHNORM = ["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2]
OPTION_SETS = [
    *(pytest.param(opts, id=name) for name, opts in OPTIONS.items()),
    pytest.param(SUB_BATCHNORM, id="sub_batchnorm", marks=pytest.mark.checkout),
]


@pytest.fixture
def build(build_model, tiny_cfg):
    """Options -> a seeded model in training mode; the same options give the same weights."""

    def make(*opts, seed=0):
        torch.manual_seed(seed)
        return build_model(tiny_cfg(*opts)).train()

    return make


@pytest.fixture
def criterion(upstream):
    """The criterion as PySlowFast's loop builds it."""
    from slowfast.models.losses import get_loss_func

    return get_loss_func("attention_consistency")(reduction="mean")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def shake_statistics(model):
    """Moves BatchNorm's running statistics and affine parameters away from their defaults."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator) / 10)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(shape, generator=generator) / 10)


class Calls:
    """Counts the passes of the slow and the fast pathway's stem."""

    def __init__(self, model):
        self.slow = self.fast = 0
        model.s1.pathway0_stem.register_forward_hook(lambda *_: self.add("slow"))
        model.s1.pathway1_stem.register_forward_hook(lambda *_: self.add("fast"))

    def add(self, name):
        setattr(self, name, getattr(self, name) + 1)


def res5(model, clips):
    """Both streams' last feature maps, read at the head of a whole pass."""
    with captured_inputs(model.head) as streams:
        model(list(clips))
    return streams


def cam(features, weight):
    """(N, C, T, H, W), (L, C) -> (N, L, T, H, W), a map per frame, in numpy."""
    features, weight = features.detach().double().numpy(), weight.detach().double().numpy()
    return np.einsum("ncthw,lc->nlthw", features, weight)


# The network ------------------------------------------------------------------------------------


def copy_without_laterals(fused, model):
    """Gives ``model`` the fused network's weights and statistics, cut to the slow channels."""
    state = fused.state_dict()
    kept = {
        name: state[name] if state[name].shape == own.shape else state[name][:, : own.shape[1]]
        for name, own in model.state_dict().items()
    }
    model.load_state_dict(kept)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["R50", "groups", "nonlocal", "alpha 8", "fusion ratio"])
def test_equals_the_fused_network_whose_laterals_carry_nothing(build, clips, name, training):
    fused = build("MODEL.MODEL_NAME", "SlowFast", *OPTIONS[name], seed=1).double()
    model = build(*OPTIONS[name]).double().train(training)
    clips = [clip.double() for clip in clips]
    if name == "alpha 8":
        clips[0] = clips[0][:, :, :2]
    shake_statistics(fused)
    update_bn_stats(fused, [list(clips)], 1)  # so that activations keep their size in evaluation
    fuses = [getattr(fused, f"s{stage}_fuse") for stage in (1, 2, 3, 4)]
    for fuse in fuses:
        fuse.bn.running_mean.zero_()
        fuse.bn.bias.data.zero_()
    copy_without_laterals(fused, model)
    # Softmax, which evaluation ends with, would hide small differences.
    model.head.act = fused.head.act = torch.nn.Identity()
    with torch.no_grad():
        carrying = fused.train(training)(list(clips))
        for fuse in fuses:
            fuse.conv_f2s.weight.zero_()
        expected = fused(list(clips))
        torch.testing.assert_close(model(list(clips)), expected)
    assert not torch.allclose(carrying, expected)


@pytest.mark.parametrize("opts", OPTION_SETS)
def test_names_are_upstreams_without_the_fusion(build, opts):
    fused = build("MODEL.MODEL_NAME", "SlowFast", *opts).state_dict()
    kept = {name for name in fused if "_fuse." not in name}
    assert kept < set(fused)
    assert set(build(*opts).state_dict()) == kept


def test_detail_path_adds_one_parameter(build):
    plain, detailed = build(), build("SCAM.UPSAMPLE", True)
    assert set(detailed.state_dict()) - set(plain.state_dict()) == {"scam.detail.weight"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("own, other", [(0, 1), (1, 0)], ids=["slow", "fast"])
def test_streams_share_nothing_before_the_classifier(build, clips, own, other, training):
    model = build().train(training)
    clips = [clip.requires_grad_() for clip in clips]
    stages = [model.s2, model.s3, model.s4, model.s5, model.head]
    seen = []
    for stage in stages:
        # The second scale passes the slow pathway only.
        stage.register_forward_pre_hook(lambda _, args: seen.extend(args[0][own : own + 1]))
    model(clips)
    assert len(seen) >= len(stages)
    total = sum(features.pow(2).sum() for features in seen)
    to_own, to_other = torch.autograd.grad(total, [clips[own], clips[other]], allow_unused=True)
    assert to_own.abs().sum() > 0
    assert to_other is None or to_other.count_nonzero() == 0


@pytest.mark.parametrize("opts", OPTION_SETS)
def test_slow_pathway_alone_gives_what_it_gives_in_the_whole_network(build, clips, opts):
    model = build(*opts).eval()
    if "SLOWFAST.ALPHA" in opts:
        clips = [clips[0][:, :, :2], clips[1]]
    with torch.no_grad(), captured_inputs(model.s5) as res4:
        slow, _ = res5(model, clips)
        alone = model.spatial_stream(clips[0])
    assert torch.equal(alone.res5, slow)
    assert torch.equal(alone.res4, res4[0])
    assert model.s5.num_pathways == 2


def test_slow_pathway_alone_follows_dilations(build, clips):
    # PySlowFast's head assumes a stride of 32, so such a network is evaluated only.
    opts = ["RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [1, 1]]]
    model = build(*opts, "RESNET.SPATIAL_DILATIONS", [[1, 1], [1, 1], [1, 1], [2, 2]]).eval()
    with torch.no_grad():
        slow, _ = res5(model, clips)
        assert slow.shape[-2:] == (4, 4)
        assert torch.equal(model.spatial_stream(clips[0]).res5, slow)


def test_input_list_is_left_as_it_is(build, clips):
    given = list(clips)
    build()(given)
    assert given[0] is clips[0] and given[1] is clips[1]


def test_no_hook_stays_behind(build, clips):
    model = build()
    model(clips)
    with pytest.raises(AssertionError, match="does not contain 2 pathway"):
        model(clips[:1])
    assert not any(module._forward_pre_hooks for module in model.modules())


# The maps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["R50", "alpha 8", "wide fast pathway", "nonlocal"])
def test_pooled_maps_add_up_to_the_logits(build, clips, name):
    if name == "alpha 8":
        clips = [clips[0][:, :, :2], clips[1]]
    model = build("SCAM.SCALES", [1.0], *OPTIONS[name])
    model.head.projection.bias.data.uniform_(-1, 1)
    preds = model(clips)
    spatial, temporal = preds.attention.spatial, preds.attention.temporal
    pooled = spatial.mean(dim=(2, 3)) + temporal.mean(dim=(2, 3)) / clips[1].shape[2]
    torch.testing.assert_close(pooled + model.head.projection.bias, preds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opts", [["SCAM.SCALES", [1.0]], ["SCAM.ENABLE", False]])
def test_one_scale_gives_the_plain_class_activation_map(build, clips, opts):
    model = build(*opts)
    streams = res5(copy.deepcopy(model), clips)
    preds = model(clips)
    weight = model.head.projection.weight
    slow = cam(streams[0], weight[:, :256]).mean(axis=2)
    fast = cam(streams[1], weight[:, 256:]).sum(axis=2)
    np.testing.assert_allclose(preds.attention.spatial.detach(), slow, atol=1e-4)
    np.testing.assert_allclose(preds.attention.temporal.detach(), fast, atol=1e-4)


def test_second_scale_is_a_pass_of_the_half_sized_clip(build, clips):
    # In evaluation mode of BatchNorm a pass does not depend on the other passes.
    model = build()
    shake_statistics(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    preds = model(clips)
    half = F.avg_pool3d(clips[0], (1, 2, 2))  # bilinear at exactly one half
    weight = model.head.projection.weight[:, :256]
    with torch.no_grad():
        full = cam(res5(model, clips)[0], weight).mean(axis=2)
        small = cam(model.spatial_stream(half).res5, weight).mean(axis=2)
    assert small.shape[-2:] == (1, 1)
    np.testing.assert_allclose(preds.attention.spatial.detach(), (full + small) / 2, atol=1e-4)


def test_equal_scales_give_the_map_of_one(build, clips):
    one = build("SCAM.SCALES", [1.0])(clips).attention.spatial
    three = build("SCAM.SCALES", [1.0, 1.0, 1.0])(clips).attention.spatial
    torch.testing.assert_close(three, one)


@pytest.mark.parametrize("opts", OPTION_SETS)
def test_maps_and_step_with_upstreams_options(build, criterion, clips, opts):
    model = build(*opts)
    if "SLOWFAST.ALPHA" in opts:
        clips = [clips[0][:, :, :2], clips[1]]
    preds = model(clips)
    assert preds.attention.spatial.shape == preds.attention.temporal.shape == (2, 7, 2, 2)
    found = gradients(model, criterion(preds, LABELS)[0])
    assert all(grad is not None and grad.isfinite().all() for grad in found.values())


@pytest.mark.checkout
def test_maps_at_the_crops_of_multigrids_short_cycle(build, criterion, clips):
    model = build("MULTIGRID.SHORT_CYCLE", True)
    smaller = [clip[..., :48, :48] for clip in clips]
    for inputs, side in ((clips, 2), (smaller, 2), ([clip[..., :32, :32] for clip in clips], 1)):
        preds = model(inputs)
        assert preds.attention.spatial.shape == (2, 7, side, side)
        assert criterion(preds, LABELS)[0].isfinite()


def test_dropout_does_not_reach_the_maps(build, clips):
    plain, dropping = build()(clips), build("MODEL.DROPOUT_RATE", 0.9)(clips)
    assert torch.equal(dropping.attention.spatial, plain.attention.spatial)
    assert torch.equal(dropping.attention.temporal, plain.attention.temporal)
    assert not torch.equal(dropping, plain)


def test_detail_path_gives_maps_of_res4s_size(build, clips):
    preds = build("SCAM.UPSAMPLE", True)(clips)
    assert preds.attention.spatial.shape == preds.attention.temporal.shape == (2, 7, 4, 4)


@pytest.mark.parametrize("opts", [[], ["SCAM.UPSAMPLE", True], ["AC.TEMPORAL_CAM", "random"]])
def test_predictions_are_those_without_the_criterion(build, clips, opts):
    plain = build("MODEL.LOSS_FUNC", "cross_entropy")
    model = build(*opts)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model(clips), plain(clips))
    model.eval(), plain.eval()
    assert torch.equal(model(clips), plain(clips))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_are_float32_and_gradients_finite_under_autocast(build, criterion, clips, dtype):
    model = build()
    with torch.autocast("cpu", dtype):
        preds = model(clips)
        loss, _ = criterion(preds, LABELS)
    assert preds.dtype == dtype
    assert preds.attention.spatial.dtype == preds.attention.temporal.dtype == torch.float32
    assert all(grad.isfinite().all() for grad in gradients(model, loss).values())


# When they are made -----------------------------------------------------------------------------


def test_training_step_runs_the_slow_pathway_once_a_scale_and_the_fast_one_once(build, clips):
    for opts, passes in (
        ([], 2),
        (["SCAM.SCALES", [1.0, 0.5, 0.75]], 3),
        (["SCAM.ENABLE", False], 1),
        (["MODEL.LOSS_FUNC", "cross_entropy"], 1),
    ):
        model = build(*opts)
        calls = Calls(model)
        preds = model(clips)
        assert (calls.slow, calls.fast) == (passes, 1)
        assert hasattr(preds, "attention") == ("MODEL.LOSS_FUNC" not in opts)


@pytest.mark.parametrize("training, grad", [(True, False), (False, True), (False, False)])
def test_neither_maps_nor_second_scale_outside_training_steps(build, clips, training, grad):
    model = build().train(training)
    calls = Calls(model)
    with torch.set_grad_enabled(grad):
        preds = model(clips)
    assert not hasattr(preds, "attention")
    assert (calls.slow, calls.fast) == (1, 1)


def test_precise_batchnorm_sees_each_clip_once(build, clips):
    model, plain = build(), build("MODEL.LOSS_FUNC", "cross_entropy")
    calls = Calls(model)
    update_bn_stats(model, [clips] * 3, 3)
    update_bn_stats(plain, [clips] * 3, 3)
    assert (calls.slow, calls.fast) == (3, 3)
    assert_same(buffers(model), buffers(plain))


def test_flops_are_those_without_the_criterion(build, clips):
    model, plain = build().eval(), build("MODEL.LOSS_FUNC", "cross_entropy").eval()
    calls = Calls(model)
    assert flop_count(model, (clips,))[0] == flop_count(plain, (clips,))[0]
    assert (calls.slow, calls.fast) == (1, 1)


@pytest.mark.checkout
@pytest.mark.parametrize("use_train_input", [True, False])
def test_upstreams_counter_sees_one_pass(build, tiny_cfg, use_train_input):
    from slowfast.utils.misc import get_model_stats

    counts = []
    for opts in ([], ["MODEL.LOSS_FUNC", "cross_entropy"]):
        model = build(*opts)
        counts.append(get_model_stats(model, tiny_cfg(*opts), "flop", use_train_input))
        assert model.training
    assert counts[0] == counts[1] > 0


# Running statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    "opts",
    [
        pytest.param([], id="batchnorm"),
        pytest.param(SUB_BATCHNORM, id="sub_batchnorm", marks=pytest.mark.checkout),
        pytest.param(["SCAM.SCALES", [1.0, 0.5, 1.5], "SCAM.UPSAMPLE", True], id="three scales"),
    ],
)
def test_running_statistics_after_a_step_are_those_without_the_second_scale(
    build, criterion, clips, opts, grad
):
    model = build(*opts, "SCAM.GRAD", grad)
    norm = [o for o in opts if opts is SUB_BATCHNORM]
    plain = build(*norm, "MODEL.LOSS_FUNC", "cross_entropy")
    plain.load_state_dict(model.state_dict(), strict=False)
    before = buffers(model)
    criterion(model(clips), LABELS)[0].backward()
    F.cross_entropy(plain(clips), LABELS).backward()
    after = buffers(model)
    assert_same(after, buffers(plain))
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert any(name.startswith("s5.pathway0") for name in changed)


def test_frozen_batchnorm_keeps_its_statistics_through_a_step(build, criterion, clips):
    model = build()
    shake_statistics(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    before = buffers(model)
    criterion(model(clips), LABELS)[0].backward()
    assert_same(buffers(model), before)


# Gradients --------------------------------------------------------------------------------------


def test_lambda_zero_gives_exactly_the_gradient_of_cross_entropy(build, criterion, clips):
    model, plain = build("AC.LAMBDA", 0.0), build("MODEL.LOSS_FUNC", "cross_entropy")
    found = gradients(model, criterion(model(clips), LABELS)[0])
    assert_same(found, gradients(plain, F.cross_entropy(plain(clips), LABELS)))


def test_gradient_is_that_of_cross_entropy_plus_lambda_times_that_of_eq_3(build, criterion, clips):
    model = build("AC.LAMBDA", 0.7)
    found = gradients(model, criterion(model(clips), LABELS)[0])
    base = gradients(model, F.cross_entropy(model(clips), LABELS))
    maps = model(clips).attention
    term = gradients(model, attention_consistency(maps.temporal, maps.spatial))
    for name, gradient in found.items():
        expected = base[name] + 0.7 * term[name] if term[name] is not None else base[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("detached", [True, False])
def test_detached_spatial_map_leaves_the_slow_pathway_to_the_base_loss(build, clips, detached):
    model = build("AC.DETACH_SPATIAL", detached)
    maps = model(clips).attention
    found = gradients(model, consistency_term(maps, LABELS, maps.settings))
    slow = [name for name in found if "pathway0" in name]
    fast = [name for name in found if "pathway1" in name]
    assert slow and fast
    for name in slow:
        reached = found[name] is not None and found[name].abs().sum() > 0
        assert reached != detached, name
    assert all(found[name].abs().sum() > 0 for name in fast)
    of_slow, of_fast = found["head.projection.weight"].split([256, 32], dim=1)
    assert (of_slow.abs().sum() > 0) != detached
    assert of_fast.abs().sum() > 0


def test_without_scam_grad_the_second_scale_is_a_constant(build, criterion, clips):
    model, reference, default = build("SCAM.GRAD", False), build(), build()
    stream = reference.spatial_stream
    reference.spatial_stream = lambda clip: StreamFeatures(*(f.detach() for f in stream(clip)))
    found, expected, full = (
        gradients(m, criterion(m(clips), LABELS)[0]) for m in (model, reference, default)
    )
    assert_same(found, expected)
    assert not torch.equal(
        found["s1.pathway0_stem.conv.weight"], full["s1.pathway0_stem.conv.weight"]
    )


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["SCAM.UPSAMPLE", True],
        ["SCAM.UPSAMPLE", True, "SCAM.GRAD", False],
        ["SCAM.ENABLE", False],
        ["SCAM.SCALES", [1.0, 0.5, 1.5]],
        ["AC.TEMPORAL_CAM", "random", "AC.CLASSES", "label", "AC.NORMALIZE", "minmax"],
        ["AC.DETACH_SPATIAL", True],
        ["AC.LAMBDA", 0.0],
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(build, criterion, clips, opts):
    model = build(*opts)
    found = gradients(model, criterion(model(clips), LABELS)[0])
    assert {name for name, grad in found.items() if grad is None} == set()
    assert {name for name, grad in found.items() if grad.abs().sum() == 0} == set()


@pytest.mark.parametrize("opts", [["AC.LAMBDA", 0.0], ["AC.DETACH_SPATIAL", True]], ids=str)
def test_a_detail_path_that_nothing_trains_is_refused(build, opts):
    with pytest.raises(InputError, match="SCAM.UPSAMPLE: nothing trains its projection"):
        build("SCAM.UPSAMPLE", True, *opts)


def test_a_few_steps_bring_the_maps_together(build, criterion, clips):
    model = build("AC.LAMBDA", 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    terms = []
    for _ in range(6):
        loss, (_, consistency) = criterion(model(clips), LABELS)
        terms.append(consistency)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert terms[-1] < 0.9 * terms[0]


# Refusals ---------------------------------------------------------------------------------------


def test_boxes_are_refused(build, build_model, tiny_cfg, clips):
    with pytest.raises(InputError, match="DETECTION.ENABLE: SlowFastAC is not defined for boxes"):
        build_model(tiny_cfg("DETECTION.ENABLE", True))
    with pytest.raises(InputError, match="SlowFastAC is not defined for boxes"):
        build()(clips, bboxes=torch.zeros(1, 5))


@pytest.mark.checkout
@pytest.mark.parametrize(
    "key, value",
    [
        ("MODEL.DETACH_FINAL_FC", True),
        ("CONTRASTIVE.NUM_MLP_LAYERS", 2),
        ("MASK.ENABLE", True),
    ],
)
def test_options_without_a_meaning_here_are_refused(build_model, tiny_cfg, key, value):
    with pytest.raises(InputError, match=f"^{key}: .*set it to"):
        build_model(tiny_cfg(key, value))


def test_registering_twice_changes_nothing(build, upstream):
    from slowfast.models import losses

    import slowfast_ac

    before = losses._LOSSES.copy()
    model = type(build())
    slowfast_ac.register()
    slowfast_ac.register()
    assert losses._LOSSES.keys() == before.keys()
    assert type(build()) is model
