"""Eq. 1-3 against explicit loops over numpy arrays; cv2 is the reference of bilinear resizing."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slowfast_ac.cam import (
    DISTANCES,
    NORMALIZATIONS,
    TEMPORAL_REDUCTIONS,
    attention_consistency_loss,
    average_scales,
    normalize_map,
    resample,
    resize,
    spatial_cam,
    temporal_cam,
)
from slowfast_ac.errors import InputError

CLIPS, CLASSES, CHANNELS, FRAMES, HEIGHT, WIDTH = 2, 3, 5, 4, 6, 7
CV2 = 1e-6  # cv2 interpolates float64 images with float32 coefficients


def random(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def features(height=HEIGHT, width=WIDTH, seed=0):
    return random(CLIPS, CHANNELS, FRAMES, height, width, seed=seed)


def weights(seed=9):
    return random(CLASSES, CHANNELS, seed=seed)


def frame_cam(features, weight, clip, label, frame):
    """sum_c W(l, c) F(c) of one frame, a loop over the channels."""
    cam = np.zeros(features.shape[-2:])
    for channel in range(features.shape[1]):
        cam += weight[label, channel].item() * features[clip, channel, frame].numpy()
    return cam


def resized(image, height, width):
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def laid_over(image, height, width, scale):
    """R of Eq. 1 by loops: position j is position scale * j of ``image``, read bilinearly."""
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = min(row * scale, image.shape[0] - 1)
            x = min(column * scale, image.shape[1] - 1)
            for i in {math.floor(y), math.ceil(y)}:
                for j in {math.floor(x), math.ceil(x)}:
                    result[row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * image[i, j]
    return result


# Eq. 1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        {1.0: (HEIGHT, WIDTH)},
        {1.0: (HEIGHT, WIDTH), 0.5: (3, 4)},
        {1.0: (HEIGHT, WIDTH), 0.5: (3, 4), 1.5: (9, 11)},
        {1.0: (HEIGHT, WIDTH), 0.7: (5, 5)},
        {1.0: (HEIGHT, WIDTH), 0.1: (1, 1)},
    ],
)
def test_spatial_map_projects_each_frame_of_each_scale_then_resizes_then_averages(sizes):
    # The reference takes the paper's order of operations; ours reduces first.
    volumes = [features(*size, seed=number) for number, size in enumerate(sizes.values())]
    weight = weights()
    expected = np.zeros((CLIPS, CLASSES, HEIGHT, WIDTH))
    for clip in range(CLIPS):
        for label in range(CLASSES):
            for scale, volume in zip(sizes, volumes, strict=True):
                for frame in range(FRAMES):
                    cam = frame_cam(volume, weight, clip, label, frame)
                    expected[clip, label] += laid_over(cam, HEIGHT, WIDTH, scale)
    expected /= len(sizes) * FRAMES
    found = spatial_cam(volumes, weight, list(sizes))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("full, half", [(7, 4), (3, 2), (9, 5)])
def test_half_of_an_odd_number_of_positions_is_resized_with_aligned_corners(full, half):
    volume = features(half, half)
    expected = F.interpolate(
        volume.flatten(1, 2), (full, full), mode="bilinear", align_corners=True
    )
    found = resample(volume, (full, full), 0.5).flatten(1, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side, scale", [(224, 0.5), (224, 0.7), (256, 0.5), (96, 0.5), (96, 1.5)])
def test_a_scales_map_is_laid_where_strided_convolutions_look(side, scale):
    # A map that tells where it looks tells the same after it was laid over the clip's own.
    def looks_at(pixels, relative):
        cells = math.ceil(pixels / 32)
        return torch.arange(cells, dtype=torch.float64).mul(32 / relative).repeat(1, cells, 1)

    whole, resized_clip = looks_at(side, 1), looks_at(round(side * scale), scale)
    found = resample(resized_clip, whole.shape[-2:], scale)
    # Beyond its last position a smaller map has nothing to tell.
    reached = whole <= resized_clip.max()
    torch.testing.assert_close(found[reached], whole[reached])
    assert reached.double().mean() > 0.6


def test_scales_may_differ_in_their_number_of_frames():
    long, short = features(), features()[:, :, :2]
    both = (spatial_cam([long], weights()) + spatial_cam([short], weights())) / 2
    torch.testing.assert_close(spatial_cam([long, short], weights(), [1.0, 1.0]), both)


@pytest.mark.parametrize("scales", [2, 3, 5])
def test_equal_scales_give_the_map_of_one(scales):
    one = spatial_cam([features()], weights())
    found = spatial_cam([features()] * scales, weights(), [1.0] * scales)
    torch.testing.assert_close(found, one)


def test_no_scale_is_an_error():
    with pytest.raises(InputError, match="^features: .*at least one scale"):
        spatial_cam([], weights())


# Eq. 2 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction, divisor", [("weighted", 1), ("average", FRAMES)])
def test_temporal_map_sums_or_averages_the_maps_of_the_frames(reduction, divisor):
    weight = weights()
    expected = np.zeros((CLIPS, CLASSES, HEIGHT, WIDTH))
    for clip in range(CLIPS):
        for label in range(CLASSES):
            for frame in range(FRAMES):
                expected[clip, label] += frame_cam(features(), weight, clip, label, frame)
    maps = temporal_cam(features(), weight, reduction)
    np.testing.assert_allclose(maps.numpy(), expected / divisor, atol=1e-12)


def test_default_temporal_map_is_the_weighted_one_of_the_paper():
    default = temporal_cam(features(), weights())
    assert torch.equal(default, temporal_cam(features(), weights(), "weighted"))


def test_random_map_is_one_frame_of_its_own_clip_drawn_for_each_clip_and_call():
    weight, drawn = weights(), []
    torch.manual_seed(0)
    for _ in range(60):
        maps = temporal_cam(features(), weight, "random").numpy()
        for clip in range(CLIPS):
            frames = [
                frame
                for frame in range(FRAMES)
                if all(
                    np.allclose(
                        maps[clip, label], frame_cam(features(), weight, clip, label, frame)
                    )
                    for label in range(CLASSES)
                )
            ]
            assert len(frames) == 1
            drawn += frames
    drawn = np.reshape(drawn, (-1, CLIPS))
    for clip in range(CLIPS):
        assert set(drawn[:, clip]) == set(range(FRAMES))
    assert (drawn[:, 0] != drawn[:, 1]).any()


def test_random_map_leaves_the_other_frames_without_gradient():
    volume = features().requires_grad_()
    temporal_cam(volume, weights(), "random").sum().backward()
    frames_with_gradient = volume.grad.abs().sum(dim=(1, 3, 4)).count_nonzero(dim=1)
    assert frames_with_gradient.tolist() == [1] * CLIPS


def test_unknown_reduction_names_the_known_ones():
    with pytest.raises(
        InputError, match="^reduction: 'sum' is not one of weighted, average, random"
    ):
        temporal_cam(features(), weights(), "sum")


# Eq. 3 ------------------------------------------------------------------------------------------


def loop_consistency(temporal, spatial, class_weight):
    total = 0.0
    for clip in range(CLIPS):
        for label in range(CLASSES):
            squares = 0.0
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    squares += (temporal[clip, label, y, x] - spatial[clip, label, y, x]) ** 2
            total += class_weight[clip, label] * np.sqrt(squares)
    return total / (CLIPS * HEIGHT * WIDTH)


def maps(seed):
    return random(CLIPS, CLASSES, HEIGHT, WIDTH, seed=seed)


@pytest.mark.parametrize(
    "class_weight",
    [None, random(CLIPS, CLASSES, seed=3).abs(), random(CLASSES, seed=4).abs()],
    ids=["all", "per clip", "per class"],
)
def test_consistency_is_the_unsquared_norm_of_each_map_summed_over_classes(class_weight):
    loss = attention_consistency_loss(maps(1), maps(2), class_weight)
    factors = np.ones((CLIPS, CLASSES)) if class_weight is None else class_weight.numpy()
    factors = np.broadcast_to(factors, (CLIPS, CLASSES))
    assert loss.shape == ()
    np.testing.assert_allclose(
        loss.item(), loop_consistency(maps(1).numpy(), maps(2).numpy(), factors)
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_consistency_is_symmetric_and_zero_for_equal_maps(distance):
    there = attention_consistency_loss(maps(1), maps(2), distance=distance)
    assert there == attention_consistency_loss(maps(2), maps(1), distance=distance) > 0
    assert attention_consistency_loss(maps(1), maps(1), distance=distance) == 0


def test_mean_squared_error_is_torchs():
    found = attention_consistency_loss(maps(1), maps(2), distance="mse")
    torch.testing.assert_close(found, F.mse_loss(maps(1), maps(2)))


def test_unknown_distance_names_the_known_ones():
    with pytest.raises(InputError, match="^distance: 'l1' is not one of norm, mse"):
        attention_consistency_loss(maps(1), maps(1), distance="l1")


def test_maps_of_different_shapes_are_refused_rather_than_broadcast():
    with pytest.raises(InputError, match=r"^temporal: .*\(2, 3, 6, 7\) .* \(2, 1, 6, 7\)"):
        attention_consistency_loss(maps(1), maps(2)[:, :1])


@pytest.mark.parametrize("agreeing", [[0], [0, 2], [0, 1, 2]])
def test_gradient_is_zero_where_maps_agree_and_finite_everywhere(agreeing):
    spatial = maps(1).requires_grad_()
    temporal = maps(2)
    temporal[:, agreeing] = spatial.detach()[:, agreeing]
    temporal.requires_grad_()
    attention_consistency_loss(temporal, spatial).backward()
    others = [label for label in range(CLASSES) if label not in agreeing]
    for tensor in (temporal, spatial):
        assert (tensor.grad[:, agreeing] == 0).all()
        assert tensor.grad.isfinite().all()
        assert (tensor.grad[:, others].abs().sum(dim=(2, 3)) > 0).all()


def test_zero_clips_give_a_zero_that_still_reaches_the_classifier():
    weight = weights().requires_grad_()
    temporal = temporal_cam(features()[:0], weight)
    spatial = spatial_cam([features()[:0], features(3, 4)[:0]], weight, [1.0, 0.5])
    loss = attention_consistency_loss(temporal, spatial)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


# Derivatives ------------------------------------------------------------------------------------


def small(*shape, seed=0):
    return random(*shape, seed=seed).requires_grad_()


def test_derivatives_of_the_spatial_map():
    inputs = small(1, 2, 2, 3, 4), small(1, 2, 2, 2, 2, seed=1), small(2, 2, seed=2)
    assert torch.autograd.gradcheck(lambda a, b, w: spatial_cam([a, b], w, [1.0, 0.5]), inputs)


@pytest.mark.parametrize("reduction", ["weighted", "average"])
def test_derivatives_of_the_temporal_map(reduction):
    inputs = small(1, 2, 3, 2, 3), small(2, 2, seed=2)
    assert torch.autograd.gradcheck(lambda a, w: temporal_cam(a, w, reduction), inputs)


@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_derivatives_of_the_consistency_of_normalised_maps(how):
    def loss(temporal, spatial):
        return attention_consistency_loss(normalize_map(temporal, how), normalize_map(spatial, how))

    inputs = small(2, 2, 2, 3, seed=1), small(2, 2, 2, 3, seed=2)
    assert torch.autograd.gradcheck(loss, inputs)


# Mixed precision --------------------------------------------------------------------------------

HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("reduction", TEMPORAL_REDUCTIONS)
def test_autocast_changes_nothing_of_the_maps_and_the_loss(dtype, reduction):
    def compute():
        torch.manual_seed(0)
        volume, weight = features().float(), weights().float()
        spatial = spatial_cam([volume, features(3, 4, seed=1).float()], weight, [1.0, 0.5])
        temporal = temporal_cam(volume, weight, reduction)
        return spatial, temporal, attention_consistency_loss(temporal, spatial)

    expected = compute()
    with torch.autocast("cpu", dtype):
        found = compute()
    for ours, reference in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("dtype", HALF)
def test_half_features_give_float32_maps_of_the_same_numbers(dtype):
    volume, small_volume = features().to(dtype), features(3, 4, seed=1).to(dtype)
    with torch.autocast("cpu", dtype):
        spatial = spatial_cam([volume, small_volume], weights().float(), [1.0, 0.5])
        temporal = temporal_cam(volume, weights().float())
    assert spatial.dtype == temporal.dtype == torch.float32
    exact = weights().float().double()
    expected = spatial_cam([volume.double(), small_volume.double()], exact, [1.0, 0.5])
    torch.testing.assert_close(spatial.double(), expected, rtol=0, atol=1e-5)
    expected = temporal_cam(volume.double(), exact)
    torch.testing.assert_close(temporal.double(), expected, rtol=0, atol=1e-5)


def test_squares_beyond_the_range_of_half_precision_do_not_overflow():
    temporal, spatial = (300 * maps(1)).half(), (300 * maps(2)).half()
    with torch.autocast("cpu", torch.float16):
        loss = attention_consistency_loss(temporal, spatial)
    expected = attention_consistency_loss(temporal.double(), spatial.double())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", HALF)
def test_gradient_is_zero_where_maps_agree_under_autocast(dtype):
    # One frame seen alike by both streams: the maps of a class agree when its weights do.
    volume = features()[:, :, :1].to(dtype).requires_grad_()
    spatial_weight, temporal_weight = weights(1).float(), weights(2).float()
    temporal_weight[0] = spatial_weight[0]
    spatial_weight.requires_grad_()
    temporal_weight.requires_grad_()
    with torch.autocast("cpu", dtype):
        spatial = spatial_cam([volume], spatial_weight)
        attention_consistency_loss(temporal_cam(volume, temporal_weight), spatial).backward()
    for gradient in (spatial_weight.grad, temporal_weight.grad):
        assert (gradient[0] == 0).all()
        assert (gradient[1:] != 0).all()
        assert gradient.isfinite().all()
    assert volume.grad.isfinite().all()
    assert volume.grad.abs().sum() > 0


# Resizing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 4), (12, 14), (1, 1), (5, 20), (HEIGHT, WIDTH)])
def test_resizing_is_bilinear_frame_by_frame(size):
    volume = features()
    found = resize(volume, size).numpy()
    assert found.shape == (CLIPS, CHANNELS, FRAMES, *size)
    for clip in range(CLIPS):
        for channel in range(CHANNELS):
            for frame in range(FRAMES):
                image = volume[clip, channel, frame].numpy()
                np.testing.assert_allclose(
                    found[clip, channel, frame], resized(image, *size), atol=CV2
                )


def test_average_of_scales_has_the_size_of_the_first():
    first, second = features(), features(3, 4, seed=1)
    found = average_scales([first, second], [1.0, 0.5])
    for frame in range(FRAMES):
        other = laid_over(second[0, 1, frame].numpy(), HEIGHT, WIDTH, 0.5)
        np.testing.assert_allclose(
            found[0, 1, frame].numpy(), (first[0, 1, frame].numpy() + other) / 2, atol=CV2
        )
    assert average_scales([second, first], [1.0, 2.0]).shape == second.shape


def test_each_volume_needs_its_scale():
    with pytest.raises(InputError, match="^scales: 1 for the features of 2"):
        spatial_cam([features(), features(3, 4)], weights())
