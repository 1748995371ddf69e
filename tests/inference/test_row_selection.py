"""Uncertain rows that differ from each other."""

import numpy as np
import pytest

from finewright.inference import row_selection


def test_the_margin_is_between_the_two_most_probable_labels():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    assert row_selection.compute_margins(probabilities) == pytest.approx([0.2, 0.85])


def test_the_pool_is_of_the_least_certain_rows(monkeypatch):
    margins = np.array([0.9, 0.1, 0.5, 0.3, 0.2, 0.8])
    assert row_selection.choose_pool(margins, 1).tolist() == [1, 4, 3, 2, 5, 0]  # twenty for each that is wanted
    monkeypatch.setattr(row_selection, "POOL_FACTOR", 3)
    assert row_selection.choose_pool(margins, 1).tolist() == [1, 4, 3]
    monkeypatch.setattr(row_selection, "MOST_POOL", 2)
    assert row_selection.choose_pool(margins, 4).tolist() == [1, 4, 3, 2]


def test_rows_of_one_direction_are_chosen_once():
    directions = np.repeat(np.eye(4), 5, axis=0) * np.random.default_rng(0).uniform(1, 9, (20, 1))
    margins = np.tile([0.1, 0.2, 0.3, 0.4, 0.5], 4)
    chosen = row_selection.choose_rows(margins, directions, 4)
    assert sorted(row // 5 for row in chosen) == [0, 1, 2, 3]
    assert [margins[row] for row in chosen] == sorted(margins[row] for row in chosen)


def test_texts_that_are_all_alike_are_chosen_by_margin():
    margins = np.array([0.4, 0.1, 0.3, 0.2])
    assert row_selection.choose_rows(margins, np.ones((4, 3)), 3) == [1, 3, 2]
    assert row_selection.choose_rows(margins, np.ones((4, 3)), 9) == [1, 3, 2, 0]
    assert row_selection.choose_rows(margins, np.zeros((4, 0)), 2) == [1, 3]
