"""A training step of a two-stream network, SlowFastAC: statistics and gradients."""

import pytest
import torch
import torch.nn.functional as F

from slowfast_ac.cam import attention_consistency_loss
from slowfast_ac.errors import InputError
from slowfast_ac.losses import consistency_term

SUB_BATCHNORM = ["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2]


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
    build, criterion, clips, opts, grad, assert_same, buffers, labels
):
    model = build(*opts, "SCAM.GRAD", grad)
    norm = [o for o in opts if opts is SUB_BATCHNORM]
    plain = build(*norm, "MODEL.LOSS_FUNC", "cross_entropy")
    plain.load_state_dict(model.state_dict(), strict=False)
    before = buffers(model)
    criterion(model(clips), labels)[0].backward()
    F.cross_entropy(plain(clips), labels).backward()
    after = buffers(model)
    assert_same(after, buffers(plain))
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert any(name.startswith("s5.pathway0") for name in changed)


def test_frozen_batchnorm_keeps_its_statistics_through_a_step(
    build, criterion, clips, assert_same, buffers, shake_statistics, labels
):
    model = build()
    shake_statistics(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    before = buffers(model)
    criterion(model(clips), labels)[0].backward()
    assert_same(buffers(model), before)


# Gradients --------------------------------------------------------------------------------------


def test_lambda_zero_gives_exactly_the_gradient_of_cross_entropy(
    build, criterion, clips, gradients, assert_same, labels
):
    model, plain = build("AC.LAMBDA", 0.0), build("MODEL.LOSS_FUNC", "cross_entropy")
    found = gradients(model, criterion(model(clips), labels)[0])
    assert_same(found, gradients(plain, F.cross_entropy(plain(clips), labels)))


def test_gradient_is_that_of_cross_entropy_plus_lambda_times_that_of_eq_3(
    build, criterion, clips, gradients, labels
):
    model, clips = build("AC.LAMBDA", 0.7).double(), [clip.double() for clip in clips]
    found = gradients(model, criterion(model(clips), labels)[0])
    base = gradients(model, F.cross_entropy(model(clips), labels))
    maps = model(clips).attention
    term = gradients(model, attention_consistency_loss(maps.temporal, maps.spatial))
    for name, gradient in found.items():
        expected = base[name] + 0.7 * term[name] if term[name] is not None else base[name]
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("detached", [True, False])
def test_detached_spatial_map_leaves_the_slow_pathway_to_the_base_loss(
    build, clips, detached, gradients, labels
):
    model = build("AC.DETACH_SPATIAL", detached)
    maps = model(clips).attention
    found = gradients(model, consistency_term(maps, labels, maps.settings))
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


def test_without_scam_grad_the_second_scale_is_a_constant(
    build, detached, criterion, clips, gradients, assert_same, labels
):
    model, reference, default = build("SCAM.GRAD", False), build(), build()
    stream = reference.spatial_stream
    reference.spatial_stream = lambda clip: detached(stream(clip))
    found, expected, full = (
        gradients(m, criterion(m(clips), labels)[0]) for m in (model, reference, default)
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
def test_every_parameter_gets_a_gradient(build, criterion, clips, opts, gradients, labels):
    model = build(*opts)
    zero = []
    # A single channel can miss one pair of clips, rectified or cancelled by rounding.
    for batch in (clips, [torch.randn_like(clip) for clip in clips]):
        found = gradients(model, criterion(model(batch), labels)[0])
        assert {name for name, grad in found.items() if grad is None} == set()
        zero.append({name for name, grad in found.items() if grad.abs().sum() == 0})
    assert set.intersection(*zero) == set()


@pytest.mark.parametrize("opts", [["AC.LAMBDA", 0.0], ["AC.DETACH_SPATIAL", True]], ids=str)
def test_a_detail_path_that_nothing_trains_is_refused(build, opts):
    with pytest.raises(InputError, match="SCAM.UPSAMPLE: nothing trains its projection"):
        build("SCAM.UPSAMPLE", True, *opts)


def test_a_few_steps_bring_the_maps_together(build, criterion, clips, labels):
    model = build("AC.LAMBDA", 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    terms = []
    for _ in range(6):
        loss, (_, consistency) = criterion(model(clips), labels)
        terms.append(consistency)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert terms[-1] < 0.9 * terms[0]
