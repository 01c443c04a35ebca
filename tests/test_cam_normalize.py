"""Normalisation of maps before they are compared, against numpy."""

import numpy as np
import pytest
import torch

from slowfast_ac.cam import normalize_map
from slowfast_ac.errors import InputError

MAPS = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_l2_divides_each_map_by_its_norm():
    norms = np.sqrt((MAPS.numpy() ** 2).sum(axis=(2, 3), keepdims=True))
    np.testing.assert_allclose(normalize_map(MAPS, "l2").numpy(), MAPS.numpy() / norms)


def test_minmax_moves_each_map_to_the_unit_interval():
    cam = MAPS.numpy()
    low, high = cam.min(axis=(2, 3), keepdims=True), cam.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(
        normalize_map(MAPS, "minmax").numpy(), (cam - low) / (high - low), atol=1e-12
    )


def test_no_normalisation_is_the_map_itself():
    cam = MAPS
    assert normalize_map(cam, "none") is cam


@pytest.mark.parametrize("how, constant", [("l2", 0.0), ("minmax", 0.0), ("minmax", 5.0)])
def test_flat_maps_become_zero_with_finite_gradient(how, constant):
    flat = torch.full((1, 2, 3, 3), constant, requires_grad=True)
    normalised = normalize_map(flat, how)
    assert (normalised == 0).all()
    (normalised * torch.arange(9.0).view(3, 3)).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("how", ["l2", "minmax"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_maps_are_normalised_in_float32(how, dtype):
    cam = MAPS.to(dtype)
    normalised = normalize_map(cam, how)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.double(), normalize_map(cam.double(), how))


def test_unknown_normalisation_names_the_known_ones():
    with pytest.raises(InputError, match="^how: 'softmax' is not one of none, l2, minmax"):
        normalize_map(MAPS, "softmax")
