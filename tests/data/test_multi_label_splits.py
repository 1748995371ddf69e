"""Splits that give each part the same share of every label."""

import random
from collections import Counter

import numpy as np
import pytest

from finewright.data.multi_label_rows import make_row
from finewright.data.multi_label_splits import find_rarest_labels, hold_out_iteratively, nested_order_of_sets, split_iteratively


def draw_sets(count, *, seed=0):
    draw = random.Random(seed)
    shares = {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.04, "e": 0.01}
    return [tuple(label for label, share in shares.items() if draw.random() < share) for _ in range(count)]


def count(sets, rows):
    return Counter(label for row in rows for label in sets[row] or ("none",))


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.5])
def test_each_part_has_its_share_of_every_label(fraction):
    sets = draw_sets(1000)
    kept, held = split_iteratively(sets, fraction, seed=1)
    assert sorted([*kept, *held]) == list(range(1000))
    assert len(held) == pytest.approx(1000 * fraction, abs=15)
    everywhere, found = count(sets, range(1000)), count(sets, held)
    for label, number in everywhere.items():
        assert found[label] == pytest.approx(number * fraction, abs=2), label


def test_it_is_closer_than_chance():
    sets = draw_sets(400)
    everywhere = count(sets, range(400))

    def worst(held):
        found = count(sets, held)
        return max(abs(found[label] / len(held) - number / 400) for label, number in everywhere.items())

    by_chance = [worst(random.Random(seed).sample(range(400), 60)) for seed in range(20)]
    assert worst(split_iteratively(sets, 0.15, seed=0)[1]) < min(by_chance)


def test_the_kept_part_has_every_label():
    for seed in range(30):
        sets = draw_sets(60, seed=seed)
        kept, _ = split_iteratively(sets, 0.5, seed=seed)
        assert {*count(sets, kept)} - {"none"} == {*count(sets, range(60))} - {"none"}


def test_the_same_seed_is_the_same_split_and_another_is_not():
    sets = draw_sets(200)
    assert split_iteratively(sets, 0.2, seed=0) == split_iteratively(sets, 0.2, seed=0)
    assert split_iteratively(sets, 0.2, seed=0) != split_iteratively(sets, 0.2, seed=1)
    assert split_iteratively(sets, 0.0, seed=0) == (list(range(200)), [])
    assert split_iteratively([], 0.2, seed=0) == ([], [])


def test_rows_with_a_text_of_the_other_part_go_back():
    rows = [make_row(f"text {number // 2}", own, f"a:{number}") for number, own in enumerate(draw_sets(200))]
    kept, held, note = hold_out_iteratively(rows, 0.2, seed=0, name="test")
    assert not {row.text for row in kept} & {row.text for row in held}
    assert "went back to it" in note


def test_every_prefix_of_the_nested_order_covers_labels_and_keeps_shares():
    sets = draw_sets(1000)
    order = nested_order_of_sets(sets, seed=0)
    assert sorted(order) == list(range(1000))
    assert {label for row in order[:5] for label in sets[row]} == {"a", "b", "c", "d", "e"}
    everywhere, found = count(sets, range(1000)), count(sets, order[:200])
    for label, number in everywhere.items():
        assert found[label] == pytest.approx(number / 5, rel=0.35, abs=3), label


def test_the_rarest_label_of_each_row():
    has = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 0, 1]])
    assert find_rarest_labels(has).tolist() == [1, 0, 3, 2, 2]
