"""Splits of pairs: those that share a text lie in one part, each part has its share of every label, and no row is lost."""

import random
from collections import Counter

import pytest

from finewright.core.config import DataConfig
from finewright.data import dataset
from finewright.data.pair_splits import hold_out_pairs, split_by_groups
from finewright.data.splits import Example, hold_out
from finewright.data.tables import to_table

LABELS = ("contradiction", "entailment", "neutral")


def rows_of(pairs, labels=LABELS):
    draw = random.Random(0)
    return [
        Example(f"{first}\n{second}", draw.choice(labels), f"a:{place}", pair=(first, second))
        for place, (first, second) in enumerate(pairs)
    ]


def split(rows, fraction=0.15, seed=0):
    return hold_out_pairs(rows, fraction, seed=seed, name="test", by_row=hold_out)


def texts_of(rows, place):
    return {row.pair[place].casefold() for row in rows}


PREMISES = [(f"premise {number // 3}", f"hypothesis {number}") for number in range(600)]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_with_one_premise_stay_together(seed):
    rows = rows_of(PREMISES)
    kept, held, note = split(rows, seed=seed)
    assert sorted(row.where for row in (*kept, *held)) == sorted(row.where for row in rows)
    assert texts_of(kept, 0).isdisjoint(texts_of(held, 0))
    assert len(held) == pytest.approx(90, abs=6)
    everywhere, found = (Counter(row.label for row in some) for some in (rows, held))
    for label in LABELS:
        assert found[label] == pytest.approx(0.15 * everywhere[label], abs=3)
    assert note == (
        f"no test file: {len(held)} of 600 pairs held out, all pairs with a common text in one part, "
        f"stratified by label as far as that allows, seed {seed}"
    )


def test_splits_without_a_text_that_recurs_are_as_of_single_texts():
    rows = rows_of([(f"premise {number}", f"hypothesis {number}") for number in range(200)])
    assert split(rows) == hold_out(rows, 0.15, seed=0, name="test")
    again = [*rows, *rows[:20]]  # a whole pair that recurs is no group: it goes back to training, as any text does
    assert split(again) == hold_out(again, 0.15, seed=0, name="test")
    single = [Example(f"text {number}", "ab"[number % 2], "") for number in range(100)]
    assert split(single) == hold_out(single, 0.15, seed=0, name="test")


def test_texts_that_recur_on_the_other_side_are_one_group():
    """As in collections of questions that are equal, where A with B and B with C are rows."""
    chains = [(f"question {one} {place}", f"question {one} {place + 1}") for one in range(100) for place in range(4)]
    kept, held, _ = split(rows_of(chains))
    of_kept, of_held = (texts_of(part, 0) | texts_of(part, 1) for part in (kept, held))
    assert of_kept.isdisjoint(of_held)
    assert 50 <= len(held) <= 70


def test_where_second_texts_join_all_pairs_the_first_texts_are_kept_apart():
    pairs = [(f"premise {number // 3}", f"it is so, case {number % 7}") for number in range(600)]
    kept, held, note = split(rows_of(pairs))
    assert texts_of(kept, 0).isdisjoint(texts_of(held, 0))
    assert "all pairs with the same first text in one part" in note
    assert f"; {len(held)} of them have their other text in common with a pair that is kept" in note
    swapped = [(second, first) for first, second in pairs]
    kept, held, note = split(rows_of(swapped))
    assert texts_of(kept, 1).isdisjoint(texts_of(held, 1))
    assert "all pairs with the same second text in one part" in note


def test_texts_in_too_many_pairs_are_said_to_be_in_both_parts():
    rows = rows_of([(f"premise {number}", f"case {number % 3}") for number in range(300)])
    kept, held, note = split(rows)
    assert (kept, held) == hold_out(rows, 0.15, seed=0, name="test")[:2]
    assert note.endswith("; 45 of them share a text with a pair that is kept, as too many pairs have one in common")


def test_the_kept_part_has_every_label_and_the_split_depends_on_the_seed_alone():
    draw = random.Random(1)
    groups = [number // 2 for number in range(200)]
    strata = [(draw.choice("abc") if number > 8 else f"rare {number}",) for number in range(200)]
    for seed in range(10):
        kept, held = split_by_groups(groups, strata, 0.4, seed=seed)
        assert {strata[row] for row in kept} == {*strata}
        assert sorted([*kept, *held]) == list(range(200))
        assert split_by_groups(groups, strata, 0.4, seed=seed) == (kept, held)
    assert split_by_groups(groups, strata, 0.4, seed=0) != split_by_groups(groups, strata, 0.4, seed=1)


def test_many_small_labels_are_held_out_too():
    groups = [number // 2 for number in range(400)]
    strata = [(f"label {number % 100}",) for number in range(400)]  # four rows of each, of which 0.15 is none
    assert len(split_by_groups(groups, strata, 0.1, seed=0)[1]) == pytest.approx(40, abs=4)


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("labelled", lambda number: LABELS[number % 3]),
        ("number", lambda number: number * 31 % 97 / 9),
        ("multi-label", lambda number: [one for place, one in enumerate(LABELS) if number >> place & 1]),
    ],
)
def test_every_task_of_pairs_splits_by_groups_and_says_so(kind, label):
    names = ("premise", "hypothesis")
    rows = [dict(zip(names, pair, strict=True)) | {"label": label(number)} for number, pair in enumerate(PREMISES)]
    found = dataset.read_dataset(to_table(rows), options=DataConfig(), row_kind=kind)
    parts = [texts_of(part, 0) for part in (found.train, found.validation, found.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert sum(map(len, (found.train, found.validation, found.test))) == 600
    assert min(map(len, (found.validation, found.test))) >= 45
    assert [note for note in found.notes if "in one part" in note] == list(found.held_out)
    assert len(found.held_out) == 2
