"""Memory format and precision: the same network, opt-in, for any model of PySlowFast."""

import copy

import pytest
import torch

from slowfast_ac.errors import InputError
from slowfast_ac.losses import AttentionMaps
from slowfast_ac.pyslowfast import compute
from slowfast_ac.pyslowfast.compute import apply_compute, install_compute

SLOW = [
    *("MODEL.ARCH", "slow", "MODEL.MODEL_NAME", "ResNet", "DATA.NUM_FRAMES", 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]]),
    *("RESNET.SPATIAL_DILATIONS", [[1], [1], [1], [1]]),
    *("NONLOCAL.LOCATION", [[[]], [[]], [[]], [[]]], "NONLOCAL.GROUP", [[1]] * 4),
    *("DATA.INPUT_CHANNEL_NUM", [3], "MODEL.LOSS_FUNC", "cross_entropy"),
]
MODELS = {
    "SlowFast": ["MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy"],
    "SlowFastAC": [],
    "ResNet": SLOW,
}
CHANNELS_LAST = ["COMPUTE.MEMORY_FORMAT", "channels_last"]
BFLOAT16 = ["COMPUTE.PRECISION", "bfloat16"]


@pytest.fixture
def build(upstream, tiny_cfg):
    """Returns a function: model of MODELS and keys -> upstream's build_model's result."""
    install_compute(upstream)
    from slowfast_ac.pyslowfast.build import build_model

    def make(name, *opts):
        torch.manual_seed(0)
        return build_model(tiny_cfg(*MODELS[name], *opts))

    return make


@pytest.fixture
def pathways(clips):
    """Returns a function: model of MODELS -> a fresh list of its clips."""
    return lambda name: [clips[0].clone()] if name == "ResNet" else [clip.clone() for clip in clips]


def settle(model, clips):
    """Gives BatchNorm the batch's statistics, so that scores in evaluation are not saturated."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm3d)]
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad():
        model.train()(clips)
    return model.eval()


@pytest.fixture
def tf32_flags(monkeypatch):
    """Puts torch's TF32 switches back."""
    monkeypatch.setattr(compute, "_before", None)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    "name", [pytest.param("SlowFast", marks=pytest.mark.slow), "SlowFastAC", "ResNet"]
)
def test_channels_last_gives_the_same_gradients_and_scores(build, pathways, name):
    plain, fast = build(name).double(), build(name, *CHANNELS_LAST).double()
    clips = [clip.double() for clip in pathways(name)]
    for model in (plain, fast):
        preds = model.train()(list(clips))
        loss = preds.logsumexp(1).sum()
        if name == "SlowFastAC":
            loss = loss + (preds.attention.spatial - preds.attention.temporal).square().sum()
        loss.backward()
    for (key, expected), actual in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-6, atol=1e-9, msg=key)
    settle(plain, list(clips)), settle(fast, list(clips))
    torch.testing.assert_close(fast(list(clips)), plain(list(clips)))


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_holds_for_clips_and_weights(build, pathways, name):
    model = build(name, *CHANNELS_LAST).eval()
    seen = []
    model.s1.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    model(pathways(name))
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 5]
    assert seen and weights
    for tensor in seen + weights:
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("opts", [CHANNELS_LAST, BFLOAT16, CHANNELS_LAST + BFLOAT16])
@pytest.mark.parametrize("name", MODELS)
def test_the_state_dict_is_unchanged(build, name, opts):
    plain, fast = build(name).state_dict(), build(name, *opts).state_dict()
    assert list(plain) == list(fast)
    for key, value in plain.items():
        assert fast[key].dtype == value.dtype
        assert torch.equal(fast[key], value), key


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_moves_between_memory_formats(build, pathways, name):
    plain, fast = settle(build(name), pathways(name)), build(name, *CHANNELS_LAST).eval()
    fast.load_state_dict(plain.state_dict())
    torch.testing.assert_close(fast(pathways(name)), plain(pathways(name)), rtol=1e-3, atol=1e-5)
    weights = [parameter for parameter in fast.parameters() if parameter.dim() == 5]
    assert all(w.is_contiguous(memory_format=torch.channels_last_3d) for w in weights)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_inference_is_close_and_its_scores_are_float32(build, pathways, name):
    plain, fast = settle(build(name), pathways(name)), build(name, *BFLOAT16).eval()
    fast.load_state_dict(plain.state_dict())
    with torch.no_grad():
        expected, actual = plain(pathways(name)), fast(pathways(name))
        with torch.autocast("cpu", torch.bfloat16):
            reference = plain(pathways(name))
    assert actual.dtype == torch.float32
    assert torch.equal(actual, reference.float())
    # Scores of 7 classes that a network of 2 to 8 channels gives; bfloat16 has 8 bits.
    assert 0 < (actual - expected).norm() < 0.35 * expected.norm()


def test_bfloat16_training_on_a_cpu_is_refused_by_the_key(build, pathways):
    model = build("SlowFastAC", *BFLOAT16).train()
    with pytest.raises(InputError, match=r"COMPUTE\.PRECISION: bfloat16 .* on a CPU"):
        model(pathways("SlowFastAC"))


def test_precise_bn_passes_run_in_bfloat16_on_a_cpu(build, pathways):
    model = build("SlowFastAC", *BFLOAT16).train()
    with torch.no_grad():
        assert model(pathways("SlowFastAC")).dtype == torch.float32


def test_the_attention_maps_stay_on_predictions_that_are_widened(tiny_cfg, build):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.projection = torch.nn.Linear(3, 2)

        def forward(self, x):
            preds = self.projection(x[0])
            preds.attention = AttentionMaps(torch.zeros(1), torch.zeros(1))
            return preds

    model = apply_compute(Network(), tiny_cfg(*BFLOAT16)).eval()
    preds = model([torch.ones(1, 3)])
    assert preds.dtype == torch.float32
    assert isinstance(preds.attention, AttentionMaps)


def test_the_attention_maps_stay_in_channels_last(build, pathways):
    preds = build("SlowFastAC", *CHANNELS_LAST).train()(pathways("SlowFastAC"))
    assert preds.attention.spatial.shape == (2, 7, 2, 2)


def test_a_copy_computes_with_its_own_weights(build, pathways):
    model = settle(build("SlowFast", *BFLOAT16, *CHANNELS_LAST), pathways("SlowFast"))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    scores = twin(pathways("SlowFast"))
    assert not torch.allclose(scores, scores.mean())


def test_clips_of_the_caller_are_left_in_their_format(build, pathways):
    given = pathways("SlowFast")
    before = list(given)
    build("SlowFast", *CHANNELS_LAST).eval()(given)
    assert all(now is then and now.is_contiguous() for now, then in zip(given, before, strict=True))


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_tf32_is_switched_for_convolutions_and_products(build, tf32_flags, precision, allowed):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not allowed
    build("SlowFast", "COMPUTE.PRECISION", precision)
    assert torch.backends.cudnn.allow_tf32 is allowed
    assert torch.backends.cuda.matmul.allow_tf32 is allowed


@pytest.mark.parametrize("precision", ["default", "bfloat16"])
def test_a_models_precision_does_not_outlast_it(build, tf32_flags, tiny_cfg, precision):
    from slowfast_ac.pyslowfast.build import build_on_cpu

    def flags():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    for other in ("tf32", "float32"):
        build("SlowFast", "COMPUTE.PRECISION", other)
        assert flags() != (True, False)
        build("SlowFast", "COMPUTE.PRECISION", precision)
        assert flags() == (True, False)
    # A network that is built to check the config changes nothing either.
    build_on_cpu(tiny_cfg("COMPUTE.PRECISION", "tf32"))
    assert flags() == (True, False)


def test_by_default_nothing_is_touched(build, tf32_flags):
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    model = build("SlowFast")
    assert "forward" not in vars(model)
    assert not model._forward_pre_hooks
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    assert flags == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["COMPUTE.PRECISION", "float16"], r"COMPUTE\.PRECISION: 'float16' is not one of default"),
        (["COMPUTE.MEMORY_FORMAT", "nhwc"], r"COMPUTE\.MEMORY_FORMAT: 'nhwc' is not one of cont"),
    ],
)
def test_unknown_values_are_refused_by_their_key(build, opts, message):
    with pytest.raises(InputError, match=message):
        build("SlowFast", *opts)


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ([*BFLOAT16, "TRAIN.MIXED_PRECISION", True], "MIXED_PRECISION .* exclude each other"),
        ([*CHANNELS_LAST, "BN.NORM_TYPE", "sub_batchnorm"], "cannot be combined with BN.NORM"),
    ],
)
def test_combinations_that_cannot_work_are_refused(build, opts, message, skip_unknown_keys):
    skip_unknown_keys(opts)
    with pytest.raises(InputError, match=message):
        build("SlowFast", *opts)


def test_installing_twice_applies_once(build, upstream, pathways):
    install_compute(upstream)
    install_compute(upstream)
    assert len(build("SlowFast", *CHANNELS_LAST)._forward_pre_hooks) == 1
