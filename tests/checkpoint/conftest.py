"""What tests of checkpoints share: networks of both code bases with numbers of their own."""

import pytest
import torch
from pytorchvideo.models import create_resnet, create_slowfast
from torch import nn

CE = ("MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
# Config keys and values of tiny networks; those of SlowFastAC are tiny_cfg's own.
NETWORKS = {
    "SlowFastAC": (),
    "SlowFast": ("MODEL.MODEL_NAME", "SlowFast", *CE),
    "Slow": SLOW,
    "nonlocal": (*SLOW, "NONLOCAL.LOCATION", [[[]], [[1, 3]], [[0]], [[]]]),
    "SlowAC": (*SLOW, "MODEL.MODEL_NAME", "SlowAC"),
}


def options(*opts):
    """Returns keys and values for the name of a network, if there is one, and what follows it."""
    return (*NETWORKS[opts[0]], *opts[1:]) if opts and opts[0] in NETWORKS else opts


@pytest.fixture
def network_cfg(tiny_cfg):
    """Returns a function: name of a network or config keys and values -> config."""
    return lambda *opts: tiny_cfg(*options(*opts))


@pytest.fixture
def pyslowfast_model(build_model, tiny_cfg):
    """Returns a function: name or keys and values -> PySlowFast's network, random, with logits."""

    def make(*opts, seed=0):
        model = _randomised(build_model(tiny_cfg(*options(*opts))), seed)
        if hasattr(model, "head"):
            model.head.act = nn.Identity()
        return model

    return make


def _ptv_slowfast(depth=50, seed=1, **options):
    return _randomised(
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


def _ptv_branch_independent(seed=1):
    return _ptv_slowfast(
        seed=seed,
        slowfast_conv_channel_fusion_ratio=0,
        fusion_builder=lambda fusion_dim_in, stage_idx: nn.Identity(),
    )


def _ptv_slow(seed=1, **options):
    return _randomised(
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


@torch.no_grad()
def _outputs(model, clips):
    # Both code bases write into the list they are given.
    return model(list(clips) if isinstance(clips, list) else clips)


def _assert_same_outputs(first, second):
    assert first.shape == (2, 7)
    assert first.std() > 0.01, "outputs that do not depend on the clip prove nothing"
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def _assert_equal_states(first, second):
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def _randomised(model, seed):
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


@pytest.fixture
def ptv_slowfast():
    """Returns a function: depth, seed -> PyTorchVideo's SlowFast, random."""
    return _ptv_slowfast


@pytest.fixture
def ptv_branch_independent():
    """Returns a function: seed -> the same without lateral connections."""
    return _ptv_branch_independent


@pytest.fixture
def ptv_slow():
    """Returns a function: seed -> PyTorchVideo's Slow, random."""
    return _ptv_slow


@pytest.fixture
def outputs():
    """Returns a function: network, clips -> its output."""
    return _outputs


@pytest.fixture
def assert_same_outputs():
    """Compares outputs of two networks, which must depend on the clip."""
    return _assert_same_outputs


@pytest.fixture
def assert_equal_states():
    """Compares names, order and bits of two states."""
    return _assert_equal_states
