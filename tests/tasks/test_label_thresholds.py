"""Thresholds of labels: the best F1 of the validation rows, drawn towards 0.5 where they are few."""

import numpy as np
import pytest

from finewright.tasks.label_thresholds import PRIOR_ROWS, find_best_threshold, fit_thresholds


def f1(probabilities, has_label, threshold):
    said = probabilities >= threshold
    return 2 * (said & has_label).sum() / (said.sum() + has_label.sum())


def test_no_other_threshold_is_better():
    dice = np.random.default_rng(0)
    for _ in range(30):
        has_label = dice.random(80) < 0.2
        probabilities = np.clip(0.3 * has_label + 0.5 * dice.random(80), 0, 1).round(2)
        best = find_best_threshold(probabilities, has_label)
        grid = [f1(probabilities, has_label, threshold) for threshold in np.linspace(0.001, 0.999, 999)]
        assert f1(probabilities, has_label, best) >= max(grid) - 1e-9


def test_of_equally_good_thresholds_it_is_the_nearest_to_one_half():
    has_label = np.array([True, True, False, False])
    assert find_best_threshold(np.array([0.9, 0.8, 0.2, 0.1]), has_label) == 0.5
    assert find_best_threshold(np.array([0.4, 0.3, 0.2, 0.1]), has_label) == pytest.approx(0.247, abs=0.01)


def test_few_rows_hardly_move_it():
    few = np.array([0.3] + [0.1] * 9)[:, None], np.array([1] + [0] * 9)[:, None]
    many = np.tile(few[0], (100, 1)), np.tile(few[1], (100, 1))
    (one,), (hundred,) = fit_thresholds(*few), fit_thresholds(*many)
    assert hundred < one < 0.5
    best = find_best_threshold(few[0][:, 0], few[1][:, 0] > 0)
    shrunk = np.log(best / (1 - best)) / (1 + PRIOR_ROWS)
    assert one == pytest.approx(1 / (1 + np.exp(-shrunk)), abs=1e-4)


def test_a_label_of_no_row_or_of_all_rows_keeps_one_half():
    probabilities = np.full((5, 2), 0.1)
    assert fit_thresholds(probabilities, np.array([[0, 1]] * 5)) == (0.5, 0.5)
