"""The SCAM head on a small stream of convolutions; cv2 resizes, loops project."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.scam_head import (
    MultiScale,
    SCAMHead,
    StreamFeatures,
    check_scales,
    multi_scale_features,
    rescale,
    thin_out,
)

CLIPS, CLASSES, FRAMES, SIDE = 2, 3, 2, 16
C4, C5, C_FAST = 4, 6, 5


class Stream(nn.Module):
    """A spatial stream of total stride 8 that notes what it was given."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, C4, (1, 4, 4), (1, 4, 4)), nn.BatchNorm3d(C4))
        self.last = nn.Conv3d(C4, C5, (1, 2, 2), (1, 2, 2))
        self.sizes, self.with_gradient = [], []

    def forward(self, clip):
        self.sizes.append(tuple(clip.shape[-2:]))
        self.with_gradient.append(torch.is_grad_enabled())
        res4 = self.stem(clip)
        return StreamFeatures(self.last(res4), res4)


@pytest.fixture
def stream():
    torch.manual_seed(0)
    return Stream().train()


def clip(side=SIDE):
    return torch.randn(CLIPS, 3, FRAMES, side, side, generator=torch.Generator().manual_seed(1))


def fast_features(side=2):
    shape = CLIPS, C_FAST, 4 * FRAMES, side, side
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def classifier():
    return torch.randn(CLASSES, C5 + C_FAST, generator=torch.Generator().manual_seed(3))


def scales_of(stream, scales=(1.0,), grad=True, frame_stride=1):
    """The stream's features of the clip at every scale."""
    multi_scale = MultiScale(scales, grad, frame_stride)
    return multi_scale_features(clip(), stream(clip()), multi_scale, stream, backbone=stream)


def attention(stream, temporal_reduction="weighted", **options):
    head = SCAMHead(temporal_reduction=temporal_reduction)
    return head(scales_of(stream, **options), fast_features(), classifier())


def project(volume, weight):
    """(N, C, T, H, W) -> (N, L, H, W): the mean over frames, projected."""
    return np.einsum("nchw,lc->nlhw", volume.detach().numpy().mean(axis=2), weight.numpy())


def resized(maps, height, width):
    """Every image of a (..., h, w) array resized by cv2."""
    flat = maps.reshape(-1, *maps.shape[-2:])
    images = [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in flat]
    return np.stack(images).reshape(*maps.shape[:-2], height, width)


def laid_over(maps, height, width, scale):
    """Every map read bilinearly at ``scale`` times the position, at the last one beyond it."""
    rows = (np.arange(height) * scale).clip(max=maps.shape[-2] - 1)
    columns = (np.arange(width) * scale).clip(max=maps.shape[-1] - 1)
    flat = maps.reshape(-1, *maps.shape[-2:])
    grid = np.meshgrid(rows, columns, indexing="ij")
    read = [scipy.ndimage.map_coordinates(image, grid, order=1) for image in flat]
    return np.stack(read).reshape(*maps.shape[:-2], height, width)


@pytest.mark.parametrize("scales", [[1.0], [1.0, 0.5], [1.0, 0.5, 2.0], [1.0, 0.75, 1.0]])
def test_spatial_map_is_the_average_of_the_scales_maps(stream, scales):
    found = attention(stream, scales=scales)
    weight = classifier()[:, :C5]
    expected = 0
    for scale in scales:
        size = round(SIDE * scale)
        image = torch.from_numpy(resized(clip().numpy(), size, size))
        maps = project(stream(image).res5, weight)
        expected = expected + laid_over(maps, 2, 2, scale) / len(scales)
    np.testing.assert_allclose(found.spatial.detach().numpy(), expected, atol=1e-5)


def test_one_scale_is_the_plain_map_and_runs_no_second_pass(stream):
    found = attention(stream, scales=[1.0])
    expected = project(stream(clip()).res5, classifier()[:, :C5])
    np.testing.assert_allclose(found.spatial.detach().numpy(), expected, atol=1e-6)
    assert len(stream.sizes) == 2  # one for the head, one for the expectation


def test_equal_scales_give_the_map_of_one_without_a_pass(stream):
    one = attention(stream, scales=[1.0]).spatial
    before = len(stream.sizes)
    three = attention(stream, scales=[1.0, 1.0, 1.0]).spatial
    torch.testing.assert_close(three, one)
    assert len(stream.sizes) == before + 1


def test_each_stream_meets_its_own_columns_of_the_classifier(stream):
    found = attention(stream, scales=[1.0])
    fast = fast_features().numpy().sum(axis=2)
    expected = np.einsum("nchw,lc->nlhw", fast, classifier()[:, C5:].numpy())
    np.testing.assert_allclose(found.temporal.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("detached", [True, False])
def test_detached_classifier_makes_the_same_maps_and_gets_no_gradient(stream, detached):
    weight = classifier().requires_grad_()
    head = SCAMHead(detach_classifier=detached)
    fast = fast_features().requires_grad_()
    found = head([stream(clip())], fast, weight)
    expected = attention(stream, scales=[1.0])
    torch.testing.assert_close(found.spatial, expected.spatial)
    torch.testing.assert_close(found.temporal, expected.temporal)
    (found.spatial.square().sum() + found.temporal.square().sum()).backward()
    assert (weight.grad is None) == detached
    assert fast.grad.abs().sum() > 0
    assert stream.last.weight.grad.abs().sum() > 0


def test_temporal_reduction_is_the_one_asked_for(stream):
    maps = {
        reduction: attention(stream, scales=[1.0], temporal_reduction=reduction).temporal
        for reduction in ("weighted", "average", "random")
    }
    frames = fast_features().shape[2]
    torch.testing.assert_close(maps["average"], maps["weighted"] / frames)
    assert not torch.allclose(maps["random"], maps["weighted"])
    assert not torch.allclose(maps["random"], maps["average"])


def test_maps_of_the_head_leave_the_settings_to_the_model(stream):
    assert attention(stream).settings is None


@pytest.mark.parametrize("grad", [True, False])
def test_gradient_flows_into_the_second_scale_only_if_asked(stream, grad):
    attention(stream, scales=[1.0, 0.5], grad=grad)
    assert stream.sizes == [(SIDE, SIDE), (SIDE // 2, SIDE // 2)]
    assert stream.with_gradient == [True, grad]


@pytest.mark.parametrize("stride, seen", [(1, [0, 1]), (2, [0]), (5, [0])])
def test_scales_after_the_first_see_every_nth_frame(stream, stride, seen):
    found = attention(stream, scales=[1.0, 0.5], frame_stride=stride)
    weight = classifier()[:, :C5]
    small = torch.from_numpy(resized(clip().numpy()[:, :, seen], SIDE // 2, SIDE // 2))
    expected = project(stream(clip()).res5, weight)
    expected = (expected + laid_over(project(stream(small).res5, weight), 2, 2, 0.5)) / 2
    np.testing.assert_allclose(found.spatial.detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "frames, stride, seen",
    [
        (4, 1, [0, 1, 2, 3]),
        (4, 2, [0, 2]),
        (4, 3, [1]),
        (4, 4, [1]),
        (4, 99, [1]),
        (8, 3, [1, 4, 7]),
    ],
)
def test_thinned_out_frames_are_evenly_spread(frames, stride, seen):
    numbers = torch.arange(frames).view(1, 1, frames, 1, 1)
    assert thin_out(numbers, stride).flatten().tolist() == seen


@pytest.mark.parametrize("grad", [True, False])
def test_only_the_first_scale_reaches_the_running_statistics(stream, grad):
    features = stream(clip())
    before = [buffer.clone() for buffer in stream.buffers()]
    multi_scale = MultiScale([1.0, 0.5, 2.0], grad)
    multi_scale_features(clip(), features, multi_scale, stream, backbone=stream)
    assert all(map(torch.equal, stream.buffers(), before))
    stream(clip())
    assert not all(map(torch.equal, stream.buffers(), before))


@pytest.mark.parametrize("scales", [[1.0], [1.0, 0.5]])
def test_detail_path_adds_projected_res4_to_res5_at_its_size(stream, scales):
    torch.manual_seed(5)
    head = SCAMHead(upsample=(C4, C5))
    found = head(scales_of(stream, scales), fast_features(), classifier())
    expected = 0
    for scale in scales:
        size = round(SIDE * scale)
        res5, res4, _ = stream(torch.from_numpy(resized(clip().numpy(), size, size)))
        kernel = head.detail.weight.detach().numpy()[:, :, 0, 0, 0]
        detail = np.einsum("ncthw,dc->ndthw", res4.detach().numpy(), kernel)
        volume = laid_over(res5.detach().numpy(), *res4.shape[-2:], 0.5) + detail
        maps = project(torch.from_numpy(volume), classifier()[:, :C5])
        expected = expected + laid_over(maps, 4, 4, scale) / len(scales)
    assert found.spatial.shape == (CLIPS, CLASSES, 4, 4)
    np.testing.assert_allclose(found.spatial.detach().numpy(), expected, atol=1e-5)


def test_temporal_map_is_resized_to_the_finer_spatial_one(stream):
    head = SCAMHead(upsample=(C4, C5))
    found = head([stream(clip())], fast_features(), classifier())
    fast = fast_features().numpy().sum(axis=2)
    coarse = np.einsum("nchw,lc->nlhw", fast, classifier()[:, C5:].numpy())
    np.testing.assert_allclose(found.temporal.numpy(), laid_over(coarse, 4, 4, 0.5), atol=1e-5)


def test_head_has_parameters_only_with_the_detail_path():
    assert not list(SCAMHead().parameters())
    assert [name for name, _ in SCAMHead(upsample=(C4, C5)).named_parameters()] == ["detail.weight"]


@pytest.mark.parametrize(
    "side, scale, expected", [(64, 0.5, 32), (15, 0.5, 8), (10, 1.5, 15), (5, 0.01, 1)]
)
def test_rescaled_clips_are_cv2s_with_rounded_sizes(side, scale, expected):
    found = rescale(clip(side), scale)
    assert found.shape == (CLIPS, 3, FRAMES, expected, expected)
    reference = resized(clip(side).numpy(), expected, expected)
    np.testing.assert_allclose(found.numpy(), reference, atol=1e-5)


@pytest.mark.parametrize("scales", [[], [0.5], [0.5, 1.0], [1.0, 0.0], [1.0, -0.5]])
def test_wrong_scales_are_refused(scales):
    for refuse in (check_scales, MultiScale):
        with pytest.raises(InputError, match=r"^scales: \[.*\] must start with 1.0"):
            refuse(scales)


@pytest.mark.parametrize("stride", [0, -1, 1.5, "2"])
def test_wrong_frame_stride_is_refused(stride):
    with pytest.raises(InputError, match="^frame_stride: .* whole number of 1 or more"):
        MultiScale(frame_stride=stride)


def test_checked_scales_do_not_change_with_the_list_that_gave_them():
    given = [1.0, 0.5]
    multi_scale = MultiScale(given)
    given[1] = -1.0
    assert multi_scale.scales == (1.0, 0.5)


def test_wrong_temporal_reduction_names_the_allowed_ones():
    with pytest.raises(InputError, match="^temporal_reduction: 'max' .* weighted, average, random"):
        SCAMHead(temporal_reduction="max")
