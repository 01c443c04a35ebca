"""The maps of a two-stream network, SlowFastAC: what they are and when they are made."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.flop_count import flop_count
from fvcore.nn.precise_bn import update_bn_stats

from slowfast_ac.models.surgery import captured_inputs


def res5(model, clips):
    """Both streams' last feature maps, read at the head of a whole pass."""
    with captured_inputs(model.head) as streams:
        model(list(clips))
    return streams


def cam(features, weight):
    """(N, C, T, H, W), (L, C) -> (N, L, T, H, W), a map per frame, in numpy."""
    features, weight = features.detach().double().numpy(), weight.detach().double().numpy()
    return np.einsum("ncthw,lc->nlthw", features, weight)


@pytest.mark.parametrize("option", ["R50", "alpha 8", "wide fast pathway", "nonlocal"])
def test_pooled_maps_add_up_to_the_logits(build, pathways, options):
    model = build("SCAM.SCALES", [1.0], *options)
    model.head.projection.bias.data.uniform_(-1, 1)
    preds = model(pathways)
    spatial, temporal = preds.attention.spatial, preds.attention.temporal
    pooled = spatial.mean(dim=(2, 3)) + temporal.mean(dim=(2, 3)) / pathways[1].shape[2]
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


def test_second_scale_is_a_pass_of_the_half_sized_clip(build, clips, shake_statistics):
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


def test_maps_and_step_with_upstreams_options(
    build, criterion, pathways, options, gradients, labels
):
    model = build(*options)
    preds = model(pathways)
    assert preds.attention.spatial.shape == preds.attention.temporal.shape == (2, 7, 2, 2)
    found = gradients(model, criterion(preds, labels)[0])
    assert all(grad is not None and grad.isfinite().all() for grad in found.values())


@pytest.mark.checkout
def test_maps_at_the_crops_of_multigrids_short_cycle(build, criterion, clips, labels):
    model = build("MULTIGRID.SHORT_CYCLE", True)
    smaller = [clip[..., :48, :48] for clip in clips]
    for inputs, side in ((clips, 2), (smaller, 2), ([clip[..., :32, :32] for clip in clips], 1)):
        preds = model(inputs)
        assert preds.attention.spatial.shape == (2, 7, side, side)
        assert criterion(preds, labels)[0].isfinite()


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
def test_maps_are_float32_and_gradients_finite_under_autocast(
    build, criterion, clips, dtype, gradients, labels
):
    model = build()
    with torch.autocast("cpu", dtype):
        preds = model(clips)
        loss, _ = criterion(preds, labels)
    assert preds.dtype == dtype
    assert preds.attention.spatial.dtype == preds.attention.temporal.dtype == torch.float32
    assert all(grad.isfinite().all() for grad in gradients(model, loss).values())


# When they are made -----------------------------------------------------------------------------


def test_training_step_runs_the_slow_pathway_once_a_scale_and_the_fast_one_once(
    build, clips, count_passes
):
    for opts, passes in (
        ([], 2),
        (["SCAM.SCALES", [1.0, 0.5, 0.75]], 3),
        (["SCAM.ENABLE", False], 1),
        (["MODEL.LOSS_FUNC", "cross_entropy"], 1),
    ):
        model = build(*opts)
        calls = count_passes(model)
        preds = model(clips)
        assert (calls.slow, calls.fast) == (passes, 1)
        assert hasattr(preds, "attention") == ("MODEL.LOSS_FUNC" not in opts)


@pytest.mark.parametrize("training, grad", [(True, False), (False, True), (False, False)])
def test_neither_maps_nor_second_scale_outside_training_steps(
    build, clips, training, grad, count_passes
):
    model = build().train(training)
    calls = count_passes(model)
    with torch.set_grad_enabled(grad):
        preds = model(clips)
    assert not hasattr(preds, "attention")
    assert (calls.slow, calls.fast) == (1, 1)


def test_precise_batchnorm_sees_each_clip_once(build, clips, assert_same, buffers, count_passes):
    model, plain = build(), build("MODEL.LOSS_FUNC", "cross_entropy")
    calls = count_passes(model)
    update_bn_stats(model, [clips] * 3, 3)
    update_bn_stats(plain, [clips] * 3, 3)
    assert (calls.slow, calls.fast) == (3, 3)
    assert_same(buffers(model), buffers(plain))


def test_flops_are_those_without_the_criterion(build, clips, count_passes):
    model, plain = build().eval(), build("MODEL.LOSS_FUNC", "cross_entropy").eval()
    calls = count_passes(model)
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
