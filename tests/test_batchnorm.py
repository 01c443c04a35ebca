"""Passes that leave BatchNorm's running statistics alone and normalise as any other pass."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from slowfast_ac.batchnorm import frozen_running_stats

LAYERS = [
    (nn.BatchNorm1d, (4, 3, 5)),
    (nn.BatchNorm2d, (4, 3, 5, 6)),
    (nn.BatchNorm3d, (4, 3, 2, 5, 6)),
]
IDS = [layer.__name__ for layer, _ in LAYERS]


def trained(layer):
    """A layer with statistics, weight and bias away from their defaults."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    layer.num_batches_tracked.fill_(7)
    return layer


def batch(shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1)) + 2


def buffers(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same_buffers(module, before):
    after = dict(module.named_buffers())
    assert after.keys() == before.keys()
    for name, buffer in before.items():
        assert torch.equal(after[name], buffer), name


def per_channel(values, ndim):
    return values.reshape(1, -1, *[1] * (ndim - 2))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("layer, shape", LAYERS, ids=IDS)
def test_training_pass_normalises_with_the_batch_and_keeps_the_running_statistics(
    layer, shape, grad
):
    layer, x = trained(layer(3)).train(), batch(shape)
    before = buffers(layer)
    with frozen_running_stats(layer), torch.set_grad_enabled(grad):
        found = layer(x)
    x = x.double().numpy()
    axes = (0, *range(2, x.ndim))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    expected = (x - per_channel(mean, x.ndim)) / np.sqrt(per_channel(variance, x.ndim) + layer.eps)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = expected * per_channel(weight, x.ndim) + per_channel(bias, x.ndim)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    assert_same_buffers(layer, before)


@pytest.mark.parametrize("layer, shape", LAYERS, ids=IDS)
def test_layer_in_evaluation_mode_normalises_with_its_running_statistics(layer, shape):
    # MODEL.FROZEN_BN of PySlowFast: the network trains, its BatchNorm layers are in eval mode.
    layer, x = trained(layer(3)).eval(), batch(shape)
    before = buffers(layer)
    with frozen_running_stats(layer):
        found = layer(x)
    x = x.double().numpy()
    mean, variance = before["running_mean"].numpy(), before["running_var"].numpy()
    expected = (x - per_channel(mean, x.ndim)) / np.sqrt(per_channel(variance, x.ndim) + layer.eps)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = expected * per_channel(weight, x.ndim) + per_channel(bias, x.ndim)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    assert_same_buffers(layer, before)


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_later_passes_update_the_running_statistics_as_if_the_block_had_not_been(momentum):
    layer = trained(nn.BatchNorm3d(3, momentum=momentum)).train()
    untouched = copy.deepcopy(layer)
    shape = (4, 3, 2, 5, 6)
    with frozen_running_stats(layer):
        layer(batch(shape) * 5)
    layer(batch(shape))
    untouched(batch(shape))
    assert_same_buffers(layer, buffers(untouched))
    assert layer.num_batches_tracked == 8


def test_settings_come_back_after_an_error():
    model = nn.Sequential(
        nn.BatchNorm1d(2, momentum=0.3),
        nn.Sequential(nn.BatchNorm1d(2, momentum=None), nn.BatchNorm1d(2, affine=False)),
        nn.BatchNorm1d(2, track_running_stats=False),
    )
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    before = [(layer.track_running_stats, layer.momentum) for layer in layers]
    with pytest.raises(RuntimeError, match="stop"):
        with frozen_running_stats(model):
            raise RuntimeError("stop")
    assert [(layer.track_running_stats, layer.momentum) for layer in layers] == before


def test_gradient_is_that_of_a_training_pass():
    layer = trained(nn.BatchNorm3d(3)).train()
    other = copy.deepcopy(layer)
    x, y = batch((4, 3, 2, 5, 6)).requires_grad_(), batch((4, 3, 2, 5, 6)).requires_grad_()
    with frozen_running_stats(layer):
        found = layer(x)
    found.pow(3).sum().backward()  # after the block, as the criterion does
    other(y).pow(3).sum().backward()
    assert torch.equal(x.grad, y.grad)
    assert torch.equal(layer.weight.grad, other.weight.grad)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.checkout
def test_sub_batchnorm_of_pyslowfast(upstream, training):
    from slowfast.models.batchnorm_helper import SubBatchNorm3d

    layer = SubBatchNorm3d(num_splits=2, num_features=3)
    layer.train(training)
    x = batch((4, 3, 2, 5, 6))
    before, expected = buffers(layer), copy.deepcopy(layer)(x)
    with frozen_running_stats(layer):
        found = layer(x)
    assert torch.equal(found, expected)
    assert_same_buffers(layer, before)
