"""AC.LATERAL: the fused network of upstream, with maps of its own streams in training."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slowfast_ac.models.surgery import captured_inputs

LABELS = torch.tensor([1, 4])
NAMES = ["SlowFastAC", pytest.param("PTVSlowFastAC", marks=pytest.mark.checkout)]


@pytest.fixture
def build(tiny_cfg, build_model):
    def make(name, *opts, seed=0):
        torch.manual_seed(seed)
        model = build_model(tiny_cfg("MODEL.MODEL_NAME", name, *opts))
        for module in model.modules():
            # PyTorchVideo starts each block's last BatchNorm at zero.
            if isinstance(module, torch.nn.BatchNorm3d):
                module.weight.data.fill_(1)
        return model

    return make


def upstreams(build, name):
    fused = name.removesuffix("AC")
    return build(fused, "MODEL.LOSS_FUNC", "cross_entropy")


def streams(model, clips):
    """Both streams' res5 in a whole pass of ``model``."""
    with captured_inputs(model.attention_layers()[0]) as found:
        model(list(clips))
    return [stream.detach().numpy() for stream in found]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_and_weights_are_those_of_the_fused_network(build, clips, name, training):
    fused, model = upstreams(build, name), build(name, "AC.LATERAL", True)
    model.load_state_dict(fused.state_dict())
    fused.train(training), model.train(training)
    torch.testing.assert_close(model(list(clips)), fused(list(clips)))


@pytest.mark.parametrize("name", NAMES)
def test_without_the_key_the_streams_are_apart(build, clips, name):
    for lateral in (True, False):
        model = build(name, "AC.LATERAL", lateral).eval()
        clips[1].requires_grad_()
        with captured_inputs(model.attention_layers()[0]) as found:
            model(list(clips))
        gradient = torch.autograd.grad(found[0].sum(), clips[1], allow_unused=True)[0]
        assert (gradient is not None) == lateral


@pytest.mark.parametrize("name", NAMES)
def test_one_scale_gives_the_maps_of_the_fused_streams(build, clips, name):
    model = build(name, "AC.LATERAL", True, "SCAM.ENABLE", False)
    slow, fast = streams(copy.deepcopy(model), clips)
    attention = model(list(clips)).attention
    weight = model.classifier_weight().detach().numpy()
    spatial = np.einsum("nchw,lc->nlhw", slow.mean(2), weight[:, : slow.shape[1]])
    temporal = np.einsum("nchw,lc->nlhw", fast.sum(2), weight[:, slow.shape[1] :])
    np.testing.assert_allclose(attention.spatial.detach(), spatial, atol=1e-4)
    np.testing.assert_allclose(attention.temporal.detach(), temporal, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_second_scale_runs_both_pathways_on_all_frames(build, clips, name, stride):
    model = build(name, "AC.LATERAL", True, "SCAM.FRAME_STRIDE", stride)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    half = [F.avg_pool3d(clip, (1, 2, 2)) for clip in clips]  # bilinear at exactly one half
    attention = model(list(clips)).attention
    with torch.no_grad():
        whole, _ = streams(model, clips)
        small = model.both_pathways(half).res5.numpy()
    assert small.shape[2:] == (4, 1, 1)
    weight = model.classifier_weight().detach().numpy()[:, : whole.shape[1]]
    expected = np.einsum("nchw,lc->nlhw", (whole.mean(2) + small.mean(2)) / 2, weight)
    np.testing.assert_allclose(attention.spatial.detach(), expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_of_both_pathways_ends_in_the_networks_own_features(build, clips, name):
    model = build(name, "AC.LATERAL", True).eval()
    _, last_stage = model.attention_layers()
    with torch.no_grad(), captured_inputs(last_stage) as res4:
        res5, _ = streams(model, clips)
        found = model.both_pathways(list(clips))
    np.testing.assert_allclose(found.res5, res5, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.res4, res4[0])


@pytest.mark.parametrize("grad", [True, False])
def test_running_statistics_after_a_step_are_those_without_the_second_scale(build, clips, grad):
    after = []
    for scales in ([1.0], [1.0, 0.5]):
        model = build("SlowFastAC", "AC.LATERAL", True, "SCAM.SCALES", scales, "SCAM.GRAD", grad)
        model(list(clips))
        after.append(dict(model.named_buffers()))
    for name, buffer in after[0].items():
        assert torch.equal(buffer, after[1][name]), name


@pytest.mark.parametrize("opts", [[], ["SCAM.UPSAMPLE", True]], ids=str)
def test_a_step_gives_every_parameter_a_gradient(build, criterion, clips, opts):
    model = build("SlowFastAC", "AC.LATERAL", True, *opts)
    criterion(model(list(clips)), LABELS)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
