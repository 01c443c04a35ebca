"""SlowFastAC on PySlowFast: parity, independence, the slow pathway alone, refusals."""

import pytest
import torch
from fvcore.nn.precise_bn import update_bn_stats

from slowfast_ac.errors import InputError
from slowfast_ac.models.surgery import captured_inputs


def res5(model, clips):
    """Both streams' last feature maps, read at the head of a whole pass."""
    with captured_inputs(model.head) as streams:
        model(list(clips))
    return streams


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("option", ["R50", "groups", "nonlocal", "alpha 8", "fusion ratio"])
def test_equals_the_fused_network_whose_laterals_carry_nothing(
    build, pathways, options, training, shake_statistics, copy_without_laterals
):
    fused = build("MODEL.MODEL_NAME", "SlowFast", *options, seed=1).double()
    model = build(*options).double().train(training)
    clips = [clip.double() for clip in pathways]
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


def test_names_are_upstreams_without_the_fusion(build, options):
    fused = build("MODEL.MODEL_NAME", "SlowFast", *options).state_dict()
    kept = {name for name in fused if "_fuse." not in name}
    assert kept < set(fused)
    assert set(build(*options).state_dict()) == kept


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


def test_slow_pathway_alone_gives_what_it_gives_in_the_whole_network(build, pathways, options):
    model = build(*options).eval()
    with torch.no_grad(), captured_inputs(model.s5) as res4:
        slow, _ = res5(model, pathways)
        alone = model.spatial_stream(pathways[0])
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
def test_options_without_a_meaning_here_are_refused(
    build_model, tiny_cfg, key, value, skip_unknown_keys
):
    skip_unknown_keys([key])
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
