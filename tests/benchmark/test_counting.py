"""The counts of a step's operations and memory equal those worked out by hand."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from slowfast_ac.benchmark import counting

FLOAT = 4


def test_multiply_adds_of_a_convolution_are_its_outputs_times_its_weights():
    clip = torch.randn(2, 3, 4, 8, 8)
    conv = nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1), bias=False)
    forward = 2 * 4 * 8 * 8 * 5 * (3 * 9)
    count = counting.count_step(lambda: conv(clip).sum(), [*conv.parameters(), clip])
    assert count.forward == forward
    # The clip needs no gradient, so backward is the weight's alone, as much again.
    assert count.backward == forward


def test_recomputation_is_counted_in_backward():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    plain = counting.count_step(lambda: (x @ w).sum(), [x, w])
    again = counting.count_step(
        lambda: checkpoint(lambda a: (a @ w).relu(), x, use_reentrant=False).sum(), [x, w]
    )
    assert plain.forward == again.forward == 3 * 4 * 5
    assert plain.backward == 2 * 3 * 4 * 5
    assert again.backward == 3 * 3 * 4 * 5


def test_saved_bytes_are_each_storage_once_and_without_what_was_there():
    x = torch.randn(10, 8)
    first, second = torch.randn(8, 6, requires_grad=True), torch.randn(6, 2, requires_grad=True)
    saved = counting.SavedBytes([x, first, second])
    with saved:
        hidden = F.relu(x @ first)  # saved by relu and by the product that follows
        hidden.view(2, 5, 6).square().sum()  # a view of it
        hidden @ second
    assert saved.bytes == 10 * 6 * FLOAT


def test_saved_bytes_of_a_clip_that_was_not_there_count():
    x, w = torch.randn(10, 8), torch.randn(8, 6, requires_grad=True)
    saved = counting.SavedBytes([w])
    with saved:
        x @ w
    assert saved.bytes == 10 * 8 * FLOAT


def test_nothing_is_saved_without_gradients():
    w = torch.randn(8, 6, requires_grad=True)
    saved = counting.SavedBytes()
    with saved, torch.no_grad():
        torch.randn(10, 8) @ w
    assert saved.bytes == 0


def test_the_peak_is_what_is_alive_at_once():
    x = torch.zeros(100)
    with counting.LiveBytes() as live:
        a = x + 1
        b = a + 1
        del a
        c = b.view(10, 10) + 1
        b.add_(1)
        assert live.live == 2 * 100 * FLOAT
        del b, c
        assert live.live == 0
    assert live.peak == 2 * 100 * FLOAT
