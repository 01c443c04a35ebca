"""A map is drawn where the network sees what it responds to."""

import numpy as np
import pytest
import torch

from slowfast_ac.visualization.placement import place_map


def centroid(picture):
    picture = picture / picture.sum()
    rows, columns = (np.arange(size) for size in picture.shape)
    return np.array([picture.sum(axis=1) @ rows, picture.sum(axis=0) @ columns])


@pytest.mark.parametrize("pathway", [0, 1])
@pytest.mark.parametrize("position", [(3, 4), pytest.param((4, 5), marks=pytest.mark.slow)])
def test_a_position_lies_where_upstreams_network_sees_most(
    tiny_cfg, build_model, pathway, position
):
    torch.manual_seed(0)
    names = ["MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy"]
    model = build_model(tiny_cfg(*names, "MODEL.ARCH", "slowfast", "DATA.NUM_FRAMES", 8)).eval()
    # With positive weights every path from pixel to response counts.
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.abs_()
    fast = torch.rand(1, 3, 8, 256, 288, dtype=torch.float64)
    clips = [fast[:, :, [0, 7]].clone().requires_grad_(), fast.requires_grad_()]
    features = []
    model.head.register_forward_pre_hook(lambda _, args: features.extend(args[0]))
    model(list(clips))
    height, width = features[pathway].shape[-2:]
    response = features[pathway][0, :, :, position[0], position[1]].sum()
    (gradient,) = torch.autograd.grad(response, clips[pathway])
    seen = centroid(gradient.abs().sum(dim=(0, 1, 2)).numpy())

    cam = np.zeros((height, width))
    cam[position] = 1
    placed = place_map(cam, (256, 288), (256, 288))
    # Stretched over the frame, it would lie 15.5 pixels off.
    assert np.abs(centroid(placed) - seen).max() < 6


@pytest.mark.parametrize("stride", [16, 32])
@pytest.mark.parametrize("size", [(64, 96), (65, 113), (128, 227)])
def test_a_position_lies_where_strided_convolutions_have_their_centre(stride, size):
    layers = [torch.nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(stride.bit_length() - 1)]
    network = torch.nn.Sequential(*layers)
    for layer in layers:
        torch.nn.init.ones_(layer.weight)
    image = torch.zeros(1, 1, *size, requires_grad=True)
    out = network(image)[0, 0]
    row, column = (1, 1)
    (gradient,) = torch.autograd.grad(out[row, column], image)
    cam = np.zeros(out.shape)
    cam[row, column] = 1
    placed = place_map(cam, size, size)
    peak = np.unravel_index(placed.argmax(), placed.shape)
    # The receptive field may be cut at the border of the image.
    inside = np.array(size) > 2 * stride + 2
    assert np.allclose(np.array(peak)[inside], centroid(gradient[0, 0].numpy())[inside], atol=1)


def test_the_frame_may_have_another_size_than_the_network_saw():
    cam = np.random.default_rng(0).normal(size=(4, 6))
    small = place_map(cam, (128, 192), (128, 192))
    large = place_map(cam, (128, 192), (384, 576))
    # Pixel 1 of three is where the small one's pixel is.
    assert np.allclose(large[1::3, 1::3], small, atol=1e-5)


def test_a_constant_map_stays_constant_and_no_value_is_exceeded():
    assert np.allclose(place_map(np.full((3, 4), 2.5), (96, 128), (70, 90)), 2.5)
    cam = np.random.default_rng(0).normal(size=(3, 4))
    placed = place_map(cam, (96, 128), (480, 640))
    assert placed.dtype == np.float32
    assert placed.min() >= cam.min() - 1e-6
    assert placed.max() <= cam.max() + 1e-6


def test_one_position_covers_the_frame():
    assert np.array_equal(place_map(np.array([[3.0]]), (32, 32), (8, 9)), np.full((8, 9), 3.0))
