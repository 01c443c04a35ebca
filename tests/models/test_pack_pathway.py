"""PackPathway takes the frames that PySlowFast takes."""

import pytest
import torch

from slowfast_ac import PackPathway
from slowfast_ac.errors import InputError


@pytest.mark.parametrize("frames, alpha", [(32, 8), (16, 4), (32, 4), (8, 1), (10, 3), (8, 8)])
def test_pathways_are_those_of_pyslowfast(upstream, tiny_cfg, frames, alpha):
    from slowfast.datasets.utils import pack_pathway_output

    clip = torch.randn(3, frames, 4, 5, generator=torch.Generator().manual_seed(0))
    cfg = tiny_cfg("SLOWFAST.ALPHA", alpha, "DATA.NUM_FRAMES", frames)
    expected = pack_pathway_output(cfg, clip)
    packed = PackPathway(alpha)(clip)
    assert len(packed) == len(expected) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(packed, expected, strict=True))
    batch = PackPathway(alpha)(torch.stack([clip, -clip]))
    assert torch.equal(batch[0], torch.stack([expected[0], -expected[0]]))


@pytest.mark.parametrize(
    "alpha, shape, message",
    [
        (4, (3, 2, 4, 4), "2 frames leave the slow pathway none at alpha 4"),
        (4, (8, 4, 4), r"not \[8, 4, 4\]"),
        (0, (3, 8, 4, 4), "alpha 0 is not a positive integer"),
        (2.0, (3, 8, 4, 4), "alpha 2.0 is not a positive integer"),
    ],
)
def test_what_cannot_be_packed_is_refused(alpha, shape, message):
    with pytest.raises(InputError, match=message):
        PackPathway(alpha)(torch.zeros(shape))
