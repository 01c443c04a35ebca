"""SlowAC: PySlowFast's ResNet that classifies on features of several scales in training."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.precise_bn import update_bn_stats

from slowfast_ac.errors import InputError

ONE = [[1], [2], [2], [2]]


@pytest.fixture
def build(build_model, tiny_cfg):
    """Options -> a seeded one-pathway model in training mode."""

    def make(*opts, name="SlowAC"):
        cfg = tiny_cfg(
            *["MODEL.MODEL_NAME", name, "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"],
            *["DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]],
            *["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]],
            *["RESNET.SPATIAL_STRIDES", ONE, "RESNET.SPATIAL_DILATIONS", [[1]] * 4],
            *["NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4],
            *opts,
        )
        torch.manual_seed(0)
        return build_model(cfg).train()

    return make


@pytest.fixture
def clip(clips):
    return clips[:1]


def half(clip):
    return F.avg_pool3d(clip[0], (1, 2, 2))  # bilinear at exactly one half


def counted(model):
    calls = []
    model.s1.pathway0_stem.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_names_are_those_of_upstreams_network(build):
    assert build().state_dict().keys() == build(name="ResNet").state_dict().keys()


@pytest.mark.parametrize("opts", [["SCAM.SCALES", [1.0]], ["SCAM.ENABLE", False]])
def test_one_scale_is_upstreams_network(build, clip, opts, gradients, assert_same, labels):
    model, plain = build(*opts), build(name="ResNet")
    found, expected = model(clip), plain(list(clip))
    assert torch.equal(found, expected)
    assert_same(model.named_buffers(), plain.named_buffers())
    assert_same(
        gradients(model, F.cross_entropy(found, labels)),
        gradients(plain, F.cross_entropy(expected, labels)),
    )


def test_evaluation_is_upstreams_network_on_one_scale(build, clip):
    model, plain = build().eval(), build(name="ResNet").eval()
    calls = counted(model)
    assert torch.equal(model(clip), plain(list(clip)))
    assert len(calls) == 1


def test_logits_are_the_pooled_map_of_both_scales(build, clip):
    model = build()
    weight = model.head.projection.weight.detach().numpy()
    bias = model.head.projection.bias.data.uniform_(-1, 1).numpy()
    expected = np.zeros((2, 7))
    for image in (clip[0], half(clip)):
        features = model.spatial_stream(image).res5.detach().numpy()
        for number, volume in enumerate(features):
            for frame in range(volume.shape[1]):
                for label in range(7):
                    cam = np.einsum("chw,c->hw", volume[:, frame], weight[label])
                    cam = cv2.resize(cam, (2, 2), interpolation=cv2.INTER_LINEAR)
                    expected[number, label] += cam.mean() / volume.shape[1] / 2
    found = model(clip).detach().numpy()
    np.testing.assert_allclose(found, expected + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arch", ["c2d", "i3d"])
def test_networks_that_pool_frames_work_too(build, clip, arch):
    opts = ["MODEL.ARCH", arch, "SCAM.SCALES", [1.0]]
    model, plain = build(*opts), build("MODEL.ARCH", arch, name="ResNet")
    assert torch.equal(model(clip), plain(list(clip)))


@pytest.mark.parametrize("scales", [[1.0], [1.0, 0.5], [1.0, 0.5, 1.5]])
def test_training_runs_one_pass_a_scale(build, clip, scales):
    model = build("SCAM.SCALES", scales)
    calls = counted(model)
    model(clip)
    assert len(calls) == len(scales)


def test_precise_batchnorm_sees_each_clip_once(build, clip, assert_same):
    model, plain = build(), build(name="ResNet")
    calls = counted(model)
    update_bn_stats(model, [clip] * 2, 2)
    update_bn_stats(plain, [list(clip) for _ in range(2)], 2)
    assert len(calls) == 2
    assert_same(model.named_buffers(), plain.named_buffers())


SUB_BATCHNORM = ["BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("opts", [[], pytest.param(SUB_BATCHNORM, marks=pytest.mark.checkout)])
def test_running_statistics_are_those_of_the_first_scale(
    build, clip, opts, grad, assert_same, labels
):
    model, plain = build("SCAM.GRAD", grad, *opts), build(*opts, name="ResNet")
    F.cross_entropy(model(clip), labels).backward()
    F.cross_entropy(plain(list(clip)), labels).backward()
    assert_same(model.named_buffers(), plain.named_buffers())


def test_without_scam_grad_the_second_scale_is_a_constant(
    build, detached, clip, gradients, assert_same, labels
):
    model, reference, default = build("SCAM.GRAD", False), build(), build()
    stream = reference.spatial_stream

    def constant_when_small(image):
        features = stream(image)
        if image.shape == clip[0].shape:
            return features
        return detached(features)

    reference.spatial_stream = constant_when_small
    found, expected, full = (
        gradients(m, F.cross_entropy(m(clip), labels)) for m in (model, reference, default)
    )
    assert_same(found, expected)
    stem = "s1.pathway0_stem.conv.weight"
    assert not torch.equal(found[stem], full[stem])


def test_every_parameter_gets_a_gradient(build, clip, gradients, labels):
    model = build()
    for name, gradient in gradients(model, F.cross_entropy(model(clip), labels)).items():
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trains_under_autocast(build, clip, dtype, gradients, labels):
    model = build()
    with torch.autocast("cpu", dtype):
        loss = F.cross_entropy(model(clip), labels)
    assert all(gradient.isfinite().all() for gradient in gradients(model, loss).values())


@pytest.mark.parametrize(
    "opts, match",
    [
        (["MODEL.LOSS_FUNC", "attention_consistency"], "MODEL.LOSS_FUNC: SlowAC has one stream"),
        (["SCAM.UPSAMPLE", True], "SCAM.UPSAMPLE: SlowAC"),
        (["SCAM.SCALES", [0.5, 1.0]], "SCAM.SCALES: .* must start with 1.0"),
        (["DETECTION.ENABLE", True], "DETECTION.ENABLE: SlowAC is not defined for boxes"),
    ],
)
def test_options_without_a_meaning_here_are_refused(build, opts, match):
    with pytest.raises(InputError, match=match):
        build(*opts)


def test_boxes_are_refused(build, clip):
    with pytest.raises(InputError, match="not defined for boxes"):
        build()(clip, bboxes=torch.zeros(1, 5))


def test_input_list_is_left_as_it_is(build, clip):
    for model in (build(), build().eval()):
        given = list(clip)
        model(given)
        assert given[0] is clip[0]
