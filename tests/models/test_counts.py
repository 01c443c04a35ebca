"""Parameters and multiply-adds of a network, against the numbers of its layers."""

import pytest
import torch
from torch import nn

from slowfast_ac.models.counts import count_multiply_adds, count_parameters


class Pathways(nn.Module):
    """A convolution of each pathway; a layer that works in training only."""

    def __init__(self):
        super().__init__()
        self.slow = nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.fast = nn.Conv3d(3, 2, (5, 1, 1), padding=(2, 0, 0))
        self.extra = nn.Conv3d(8, 8, 1)

    def forward(self, pathways):
        slow, fast = self.slow(pathways[0]), self.fast(pathways[1])
        if self.training:
            slow = self.extra(slow)
        return slow.mean() + fast.mean()


@pytest.fixture
def network():
    return Pathways()


def test_parameters_are_those_of_every_layer(network):
    assert count_parameters(network) == 8 * 3 * 9 + (2 * 3 * 5 + 2) + (8 * 8 + 8)


@pytest.mark.parametrize("training", [True, False])
def test_multiply_adds_are_those_of_evaluation_and_the_mode_stays(network, training):
    pathways = [torch.zeros(1, 3, 2, 6, 7), torch.zeros(1, 3, 8, 6, 7)]
    found = count_multiply_adds(network.train(training), pathways)
    assert found == (2 * 6 * 7) * (8 * 3 * 9) + (8 * 6 * 7) * (2 * 3 * 5)
    assert network.training == training


def test_counting_leaves_batchnorms_statistics(plain_network, clip, buffers, assert_same):
    model = plain_network()
    before = buffers(model)
    assert count_multiply_adds(model, clip) > 0
    assert_same(buffers(model), before)
