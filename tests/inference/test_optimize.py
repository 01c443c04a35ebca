"""The fast path gives the scores of the network that it is made from, to a stated tolerance."""

import copy

import pytest
import torch
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.inference import optimize
from slowfast_ac.inference.optimize import check_compiler, compile_network, optimize_network

CPU = torch.device("cpu")
FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
NETWORKS = {"SlowFastAC": (), "SlowFast": FUSED, "Slow": SLOW}
# Largest difference of a score.
TOLERANCE = {"float32": 5e-6, "bfloat16": 2e-2}


@pytest.fixture
def trained(build_model, tiny_cfg, clips):
    """Returns a function: name of a network -> network and clips; scores that tell classes apart.

    BatchNorm has the statistics of these clips, and the logits spread by 1.
    """

    def make(kind):
        torch.manual_seed(0)
        model = build_model(tiny_cfg(*NETWORKS[kind]))
        inputs = clips[:1] if kind == "Slow" else clips
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = None
                # Branches that add little to their shortcut, as training leaves them; at random a
                # deep network blows up the smallest rounding.
                nn.init.uniform_(
                    module.weight, *(0.1, 0.3) if name.endswith("c_bn") else (0.5, 1.5)
                )
                nn.init.normal_(module.bias, std=0.1)
        (linear,) = (module for module in model.modules() if isinstance(module, nn.Linear))
        logits = []
        handle = linear.register_forward_hook(lambda *call: logits.append(call[2]))
        with torch.no_grad():
            model.train()(list(inputs))
            model.eval()(list(inputs))
            handle.remove()
            linear.weight /= logits[-1].std()
            linear.bias /= logits[-1].std()
        return model, inputs

    return make


@torch.no_grad()
def scores(model, inputs):
    return model(list(inputs))


@pytest.mark.parametrize("channels_last", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(
    "name", ["SlowFastAC", pytest.param("SlowFast", marks=pytest.mark.slow), "Slow"]
)
def test_scores_are_those_of_the_plain_network(trained, name, precision, channels_last):
    model, inputs = trained(name)
    before = copy.deepcopy(model.state_dict())
    fast = optimize_network(model, precision, channels_last=channels_last)
    expected, found = scores(model, inputs), scores(fast, inputs)
    assert found.dtype == torch.float32
    difference = (found - expected).abs().max()
    assert difference < TOLERANCE[precision]
    assert expected.std(dim=1).min() > 0.08, "scores too alike to prove anything"
    # That it really is another arithmetic.
    assert (difference > 1e-4) == (precision == "bfloat16")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("precision", TOLERANCE)
def test_convolutions_and_only_they_have_the_precision_and_the_layout(trained, precision):
    model, inputs = trained("SlowFast")
    fast = optimize_network(model, precision, channels_last=True)
    seen = []
    convolutions = [module for module in fast.modules() if isinstance(module, nn.Conv3d)]
    for module in convolutions:
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    scores(fast, inputs)
    assert len(seen) == len(convolutions)
    # After some convolutions torch leaves the layout, depending on the processor.
    for tensor in (*seen[:2], *(module.weight for module in convolutions)):
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)
    for tensor in (*seen, *(module.weight for module in convolutions)):
        assert tensor.dtype == getattr(torch, precision)
    assert fast.head.projection.weight.dtype == torch.float32


def test_what_only_training_needs_is_left_out(trained):
    model, _ = trained("SlowFastAC")
    assert model.scam is not None
    assert optimize_network(model).scam is None
    assert model.scam is not None


def test_an_unknown_precision_is_named():
    with pytest.raises(InputError, match="precision: 'float16' is not one of float32, bfloat16"):
        optimize_network(nn.Conv3d(1, 1, 1), "float16")


class Tiny(nn.Module):
    """The smallest network of this kind: a convolution, its BatchNorm, pooling and scores."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)
        self.pool, self.projection = nn.AdaptiveAvgPool3d(1), nn.Linear(8, 5)

    def forward(self, pathways):
        features = self.pool(self.bn(self.conv(pathways[0])).relu())
        return self.projection(features.flatten(1)).softmax(dim=1)


@pytest.mark.slow
def test_compiled_scores_are_those_of_the_plain_network():
    try:
        check_compiler(CPU)
    except InputError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    model = Tiny().eval()
    clip = torch.randn(3, 3, 4, 8, 8)
    compiled = compile_network(optimize_network(model, channels_last=True), CPU)
    with torch.inference_mode():
        torch.testing.assert_close(compiled([clip]), model([clip]), rtol=1e-5, atol=1e-6)


def test_without_a_compiler_one_line_says_so(monkeypatch):
    def compile(function, **options):
        raise RuntimeError("No working C++ compiler found\nand a long story")

    monkeypatch.setattr(optimize.torch, "compile", compile)
    message = r"install a C\+\+ compiler .* \(No working C\+\+ compiler found\)$"
    with pytest.raises(InputError, match=message):
        compile_network(Tiny(), CPU)
