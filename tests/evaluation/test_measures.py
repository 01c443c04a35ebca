"""Measures of attention on maps whose answer is known."""

import math

import numpy as np
import pytest
import scipy.stats

from slowfast_ac.evaluation.measures import (
    agreement,
    area_share,
    coverage,
    energy_in_box,
    mean_and_error,
    pointing_game,
)
from slowfast_ac.visualization.placement import place_map

FRAME = (80, 60)  # width, height


@pytest.mark.parametrize(("cell", "inside"), [((1, 2), True), ((0, 0), False), ((2, 3), False)])
def test_pointing_game_is_won_if_the_maximum_is_in_the_box(cell, inside):
    cam = np.zeros((3, 4))
    cam[cell] = 1
    assert pointing_game(cam, (40, 20, 60, 40), FRAME) == inside


def test_equal_maxima_count_a_part_each():
    cam = np.zeros((3, 4))
    cam[0, 0] = cam[2, 3] = 1
    assert pointing_game(cam, (0, 0, 20, 20), FRAME) == 0.5
    assert pointing_game(cam, (0, 0, 80, 60), FRAME) == 1
    assert pointing_game(cam, (30, 20, 50, 40), FRAME) == 0


def test_a_maximum_at_the_border_points_at_its_own_position():
    # Placed over the frame, the last position's value fills everything beyond it.
    placed = place_map(np.array([[0.0, 0.0], [0.0, 1.0]]), (64, 64), (64, 64))
    assert (placed == placed.max()).sum() > 500
    assert pointing_game(placed, (31, 31, 34, 34), (64, 64)) == 1
    assert pointing_game(placed, (40, 40, 64, 64), (64, 64)) == 0


def test_a_constant_map_points_nowhere():
    assert not pointing_game(np.ones((3, 4)), (0, 0, 80, 60), FRAME)


def test_energy_of_a_uniform_map_is_the_boxs_share_of_the_frame():
    box = (13, 7, 41, 33.5)
    expected = (41 - 13) * (33.5 - 7) / (80 * 60)
    assert energy_in_box(np.ones((3, 4)), box, FRAME) == pytest.approx(expected)
    assert area_share(box, FRAME) == pytest.approx(expected)


def test_energy_counts_positive_values_alone():
    cam = np.array([[3.0, -5.0], [1.0, 0.0]])
    assert energy_in_box(cam, (0, 0, 40, 30), FRAME) == pytest.approx(3 / 4)


def test_energy_of_a_map_without_positive_values_is_unknown():
    assert math.isnan(energy_in_box(-np.ones((2, 2)), (0, 0, 40, 30), FRAME))


def test_coverage_is_the_area_of_cell_and_box_counted_pixel_by_pixel():
    box = (10, 5, 47, 51)
    pixels = np.zeros((60, 80))
    pixels[5:51, 10:47] = 1
    expected = pixels.reshape(3, 20, 4, 20).mean(axis=(1, 3))
    np.testing.assert_allclose(coverage(box, FRAME, (3, 4)), expected)


def test_a_box_beyond_the_frame_counts_only_inside_it():
    assert area_share((-40, -30, 40, 30), FRAME) == pytest.approx(1 / 4)


def test_agreement_is_pearsons_correlation():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 4))
    expected = scipy.stats.pearsonr(first.ravel(), second.ravel()).statistic
    assert agreement(first, second) == pytest.approx(expected)
    assert agreement(first, 2 * first + 1) == pytest.approx(1)
    assert math.isnan(agreement(first, np.ones((3, 4))))


def test_mean_and_standard_error_leave_nan_out():
    values = [1.0, 2.0, 4.0]
    mean, error = mean_and_error([*values, math.nan])
    assert mean == pytest.approx(np.mean(values))
    assert error == pytest.approx(scipy.stats.sem(values))
    assert all(math.isnan(value) for value in mean_and_error([math.nan]))
