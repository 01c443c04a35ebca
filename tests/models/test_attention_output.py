"""Training in plain torch: the network returns (logits, attention), the criterion takes it."""

import functools

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.precise_bn import update_bn_stats
from torch import nn

from slowfast_ac import (
    AttentionConsistencyLoss,
    AttentionOutput,
    ConsistencySettings,
    PackPathway,
    SCAMHead,
)
from slowfast_ac.models.two_stream import TwoStream
from slowfast_ac.scam_head import MultiScale, StreamFeatures


@pytest.fixture
def model(plain_network):
    return plain_network()


def test_training_returns_logits_and_maps(model, clip):
    output = model(clip)
    assert isinstance(output, AttentionOutput)
    logits, attention = output
    assert logits.shape == (2, 7)
    assert attention.spatial.shape == attention.temporal.shape == (2, 7, 2, 2)
    assert not hasattr(logits, "attention")


def test_training_mode_without_gradients_returns_logits_and_no_maps(model, clip):
    # Two values in training mode, come what may: two clips of logits would unpack in silence.
    expected = model(clip).logits
    with torch.no_grad():
        logits, attention = model(clip)
    assert torch.equal(logits, expected)
    assert attention is None


@pytest.mark.parametrize("grad", [True, False])
def test_evaluation_returns_logits_alone(model, clip, grad):
    with torch.set_grad_enabled(grad):
        logits = model.eval()(clip)
    assert type(logits) is torch.Tensor
    assert logits.shape == (2, 7)


def test_a_network_without_maps_returns_logits_alone(plain_network, clip):
    assert type(plain_network(scam=None)(clip)) is torch.Tensor


def test_logits_are_those_of_the_network_without_maps(model, plain_network, clip):
    assert torch.equal(model(clip).logits, plain_network(scam=None)(clip))


def test_pooled_maps_of_one_scale_and_bias_are_the_logits(plain_network, clip):
    model = plain_network(scales=(1.0,))
    logits, maps = model(clip)
    pooled = maps.spatial.mean(dim=(2, 3)) + maps.temporal.mean(dim=(2, 3)) / 8
    bias = model.model.blocks[6].proj.bias
    torch.testing.assert_close(pooled + bias, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options, passes",
    [({}, [True, False]), ({"scale_grad": True}, [True, True]), ({"scales": (1.0,)}, [True])],
)
def test_scales_and_their_gradient_are_those_asked_for(plain_network, clip, options, passes):
    model, seen = plain_network(**options), []
    stem = model.model.blocks[0].multipathway_blocks[0]
    stem.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    model(clip)
    assert seen == passes


def test_scales_after_the_first_see_every_nth_frame(plain_network, clip):
    frames = []
    for frame_stride in (1, 2):
        model = plain_network(frame_stride=frame_stride)
        stem = model.model.blocks[0].multipathway_blocks[0]
        stem.register_forward_pre_hook(lambda _, args: frames.append(args[0].shape[2]))
        model(clip)
    assert frames == [2, 2, 2, 1]


def test_the_head_is_the_one_given(plain_network, clip):
    scam = functools.partial(SCAMHead, temporal_reduction="average")
    average, weighted = plain_network(scam=scam)(clip), plain_network()(clip)
    torch.testing.assert_close(average.attention.temporal * 8, weighted.attention.temporal)


def test_the_criterion_trains_every_parameter(model, clip, labels):
    output = model(clip)
    loss = AttentionConsistencyLoss(settings=ConsistencySettings(lambda_=0.5))(output, labels)
    assert loss > F.cross_entropy(output.logits, labels)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_validation_gives_the_base_loss_in_either_mode(model, clip, labels):
    criterion = AttentionConsistencyLoss()
    for mode in (True, False):
        with torch.no_grad():
            output = model.train(mode)(clip)
            logits = output.logits if mode else output
            assert torch.equal(criterion(output, labels), F.cross_entropy(logits, labels))


def test_precise_batchnorm_gets_along_with_the_output(model, plain_network, clip, assert_same):
    plain = plain_network(scam=None)
    for network in (model, plain):
        update_bn_stats(network, [clip] * 2, 2)
    assert_same(model.named_buffers(), plain.named_buffers())


def test_running_statistics_after_a_step_are_those_without_maps(
    model, plain_network, clip, labels, assert_same
):
    plain = plain_network(scam=None)
    AttentionConsistencyLoss()(model(clip), labels).backward()
    F.cross_entropy(plain(clip), labels).backward()
    assert_same(model.named_buffers(), plain.named_buffers())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_are_float32_and_gradients_finite_under_autocast(model, clip, labels, dtype):
    features = []
    model.model.blocks[5].register_forward_pre_hook(lambda _, args: features.extend(args[0]))
    with torch.autocast("cpu", dtype):
        output = model(clip)
        loss = AttentionConsistencyLoss()(output, labels)
    assert {volume.dtype for volume in features} == {dtype}
    assert output.attention.spatial.dtype == output.attention.temporal.dtype == torch.float32
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_output_is_a_tree_of_tensors(model, clip):
    # Which DistributedDataParallel, DataParallel and torch.compile take apart and put together.
    leaves, tree = torch.utils._pytree.tree_flatten(model(clip))
    assert [type(leaf) for leaf in leaves] == [torch.Tensor] * 3 + [type(None)]
    again = torch.utils._pytree.tree_unflatten(leaves, tree)
    assert isinstance(again, AttentionOutput) and again.attention.spatial is leaves[1]


class Streams(nn.Module):
    """A layer of each stream."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, features):
        return [layer(x) for layer, x in zip(self.layers, features, strict=True)]


class Small(TwoStream):
    """Two streams of two convolutions: what torch.compile needs a minute for is not upstream's."""

    def __init__(self):
        super().__init__()
        self.scam, self.multi_scale = SCAMHead(), MultiScale()
        first = [nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4)) for _ in range(2)]
        self.first, self.last = Streams(*first), Streams(nn.Conv3d(4, 6, 1), nn.Conv3d(4, 5, 1))
        self.pool = Streams(nn.AdaptiveAvgPool3d(1), nn.AdaptiveAvgPool3d(1))
        self.classifier = nn.Linear(11, 7)

    def forward(self, pathways):
        return self.attend(self.classify, pathways)

    def classify(self, pathways):
        pooled = self.pool(self.last(self.first(pathways)))
        return self.classifier(torch.cat(pooled, dim=1).flatten(1))

    def attention_layers(self):
        return self.pool, self.last

    def classifier_weight(self):
        return self.classifier.weight

    def spatial_stream(self, clip):
        res4 = self.first.layers[0](clip)
        return StreamFeatures(self.last.layers[0](res4), res4)


@pytest.mark.skipif(torch.__version__.startswith("2.9."), reason="torch 2.9 cannot compile it")
def test_a_compiled_network_takes_the_same_step(clip, labels, assert_same):
    steps = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Small().train()
        call = torch.compile(model, backend="eager") if compiled else model
        loss = AttentionConsistencyLoss()(call(PackPathway(4)(clip)), labels)
        loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        steps.append((loss.item(), gradients, dict(model.named_buffers())))
    (loss, *tensors), (expected, *others) = steps[1], steps[0]
    assert loss == expected
    for found, reference in zip(tensors, others, strict=True):
        assert_same(found, reference)


def test_two_pathways_give_the_same_step_as_their_clip(model, clip):
    logits, maps = model(clip)
    again, others = model(PackPathway(4)(clip))
    assert torch.equal(logits, again)
    assert torch.equal(maps.spatial, others.spatial)
