"""What the tests of the models share: helpers, and PySlowFast's networks by their options."""

import pytest
import torch

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
    "sub_batchnorm": ["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2],
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.checkout if name == "sub_batchnorm" else [])
        for name in OPTIONS
    ]
)
def option(request):
    """The name of every set of options in turn, unless a test parametrizes it with some."""
    return request.param


@pytest.fixture
def options(option):
    """The options of that name."""
    return OPTIONS[option]


@pytest.fixture
def pathways(clips, options):
    """Clips for a network with those options."""
    return [clips[0][:, :, :2], clips[1]] if "SLOWFAST.ALPHA" in options else clips


@pytest.fixture
def build(build_model, tiny_cfg):
    """Options -> a seeded model in training mode; the same options give the same weights."""

    def make(*opts, seed=0):
        torch.manual_seed(seed)
        return build_model(tiny_cfg(*opts)).train()

    return make


@pytest.fixture
def labels():
    """The classes of ``clips``."""
    return torch.tensor([1, 4])


@pytest.fixture
def criterion(upstream):
    """The criterion as PySlowFast's loop builds it, with its terms."""
    from slowfast.models.losses import get_loss_func

    built = get_loss_func("attention_consistency")(reduction="mean")
    built.takes_terms = True  # before September 2022 the loop took the loss alone
    return built


@pytest.fixture
def gradients():
    """Returns a function: model, loss -> every parameter's gradient by its name."""

    def backward(model, loss):
        model.zero_grad()
        loss.backward()
        return {
            name: None if parameter.grad is None else parameter.grad.clone()
            for name, parameter in model.named_parameters()
        }

    return backward


@pytest.fixture
def buffers():
    """Returns a function: model -> a copy of every buffer by its name."""
    return lambda model: {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.fixture
def assert_same():
    """Returns a function that compares named tensors bit by bit."""

    def compare(first, second):
        first, second = dict(first), dict(second)
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            assert torch.equal(tensor, second[name]), name

    return compare


@pytest.fixture
def shake_statistics():
    """Returns a function that moves BatchNorm's statistics and affine parameters off defaults."""

    def shake(model):
        generator = torch.Generator().manual_seed(5)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                shape = module.running_mean.shape
                module.running_mean.copy_(torch.randn(shape, generator=generator) / 10)
                module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
                module.weight.data.copy_(torch.rand(shape, generator=generator) + 0.5)
                module.bias.data.copy_(torch.randn(shape, generator=generator) / 10)

    return shake


@pytest.fixture
def copy_without_laterals():
    """Returns a function: fused network, model -> gives it the weights, cut to slow channels."""

    def copy(fused, model):
        state = fused.state_dict()
        kept = {
            name: state[name] if state[name].shape == own.shape else state[name][:, : own.shape[1]]
            for name, own in model.state_dict().items()
        }
        model.load_state_dict(kept)

    return copy


@pytest.fixture
def detached():
    """Returns a function: a stream's features -> the same ones without gradient."""
    return lambda features: features._replace(
        res5=features.res5.detach(), res4=features.res4.detach()
    )


class Passes:
    """Counts the passes of the slow and the fast pathway's stem."""

    def __init__(self, model):
        self.slow = self.fast = 0
        model.s1.pathway0_stem.register_forward_hook(lambda *_: self.add("slow"))
        model.s1.pathway1_stem.register_forward_hook(lambda *_: self.add("fast"))

    def add(self, name):
        """Counts one."""
        setattr(self, name, getattr(self, name) + 1)


@pytest.fixture
def count_passes():
    """Returns a function: model -> its ``slow`` and ``fast`` passes from now on."""
    return Passes


@pytest.fixture
def clip():
    """Two random clips for ``plain_network``, (2, 3, 8, 64, 64)."""
    return torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def plain_network():
    """Returns a function: arguments of create_slowfast_ac -> a seeded tiny network of 7 classes."""
    from slowfast_ac import create_slowfast_ac

    tiny = {"model_num_class": 7, "model_depth": 18, "stem_dim_out": 8, "crop_size": 64}

    def make(**options):
        torch.manual_seed(0)
        options = {**tiny, "num_frames": 8, "dropout_rate": 0.0, **options}
        model = create_slowfast_ac(**options)
        # PyTorchVideo's classifier starts so small that every logit is alike.
        torch.nn.init.normal_(model.classifier_weight(), std=0.3)
        return model

    return make
