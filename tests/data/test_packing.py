"""Micro-batches and updates."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewright.data import packing

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60)


def passes_of(lengths, *, budget, seed, epoch):
    """The forward passes of one epoch."""
    plan = packing.schedule_updates(lengths, budget=budget, gradient_accumulation_steps=1, seed=seed, epochs=epoch + 1)
    return [step.batches[0] for step in plan if epoch < step.epochs_done <= epoch + 1]


@given(LENGTHS, st.integers(30, 90), st.integers(0, 5), st.integers(0, 3))
def test_every_row_once_within_the_budget(lengths, budget, seed, epoch):
    parts = passes_of(lengths, budget=budget, seed=seed, epoch=epoch)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in part) <= budget for part in parts)


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return passes_of([5] * 50, budget=50, seed=seed, epoch=epoch)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_rows_are_grouped_by_chance_never_by_length():
    lengths = [1] * 100 + [20] * 100
    first = passes_of(lengths, budget=200, seed=0, epoch=0)
    mixed = sum(len({lengths[row] for row in part}) == 2 for part in first)
    assert mixed >= 0.9 * len(first)


def test_a_text_longer_than_the_budget_stands_alone():
    assert packing.evaluation_batches([50, 3, 4], budget=10) == [(1, 2), (0,)]


def test_steps_group_micro_batches_and_count_epochs():
    plan = packing.schedule_updates([10] * 10, budget=20, gradient_accumulation_steps=2, seed=0, epochs=1.5)
    assert [len(step.batches) for step in plan] == [2, 2, 1, 2, 2]
    assert [step.epochs_done for step in plan] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    assert len(packing.schedule_updates([10] * 10, budget=20, gradient_accumulation_steps=1, seed=0, epochs=9, max_steps=7)) == 7


def test_budget_holds_sixteen_mean_texts_or_the_longest():
    assert packing.auto_tokens_per_batch([10, 20]) == (240, "16 texts of 15 tokens on average")
    assert packing.auto_tokens_per_batch([1, 1, 1, 400])[0] == 1612
    budget, why = packing.auto_tokens_per_batch([1] * 99 + [400])
    assert (budget, why) == (400, "the longest text has 400 tokens")


class Words:
    """A tokenizer of words between two special tokens."""

    truncation_side = "right"
    bos_token = cls_token = None

    def __call__(self, texts, *, truncation=False, max_length=None, **_):
        ids = []
        for text in texts:
            words = [len(word) for word in text.split()]
            if truncation:
                words = words[-(max_length - 2) :] if self.truncation_side == "left" else words[: max_length - 2]
            ids.append([101, *words, 102])
        return {"input_ids": ids}


@pytest.mark.parametrize(("keep_end", "kept"), [(False, [101, 1, 2, 102]), (True, [101, 3, 4, 102])])
def test_long_texts_are_cut_at_the_chosen_end_and_keep_their_special_tokens(keep_end, kept):
    tokenizer = Words()
    encoded = packing.encode_texts(tokenizer, ["a bb ccc dddd", "a"], targets=[1, 0], limit=4, keep_end=keep_end)
    assert encoded.ids.tolist() == [kept, [101, 1, 102]]
    assert encoded.lengths_uncut == [6, 3]
    assert tokenizer.truncation_side == "right"


def test_collate_sorts_by_length_and_keeps_targets_with_their_rows():
    encoded = packing.EncodedSplit(ids=[[7, 7, 7], [8], [9, 9]], lengths_uncut=[3, 1, 2], targets=[2, 0, 1])
    batch = packing.collate(encoded, [0, 1, 2])
    assert batch.rows == (1, 2, 0)
    assert batch.ids.tolist() == [8, 9, 9, 7, 7, 7]
    assert batch.targets.tolist() == [0, 1, 2]
    assert batch.num_tokens == 6


def test_padding_share_is_counted_over_positions():
    plan = [packing.Update(1.0, ((0, 1),))]
    assert packing.padding_fraction(plan, [2, 4]) == pytest.approx(0.25)


def test_micro_batches_of_a_size_that_none_of_the_latest_had():
    def steps(*sizes):
        return [packing.Update(float(place), ((size - 1,),)) for place, size in enumerate(sizes)]

    lengths = [1, 2, 3, 4]
    assert packing.count_new_sizes(steps(4, 4, 4), lengths, remembered=1) == 1
    assert packing.count_new_sizes(steps(4, 3, 4, 2), lengths, remembered=2) == 3
    assert packing.count_new_sizes(steps(4, 3, 4, 2), lengths, remembered=1) == 4, "the first was forgotten"


def plain_steps(lengths, *, budget, gradient_accumulation_steps, seed, epochs):
    """As they are meant, one row after the other."""
    plan = []
    for epoch in range(math.ceil(epochs)):
        passes = []
        for row in np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist():
            if not passes or sum(lengths[one] for one in passes[-1]) + lengths[row] > budget:
                passes.append(())
            passes[-1] += (row,)
        groups = [
            tuple(passes[start : start + gradient_accumulation_steps])
            for start in range(0, len(passes), gradient_accumulation_steps)
        ]
        used = groups[: max(1, round(min(1.0, epochs - epoch) * len(groups)))]
        plan += [packing.Update(epoch + (index + 1) / len(groups), group) for index, group in enumerate(used)]
    return plan


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 90), st.integers(1, 4), st.sampled_from([0.2, 1, 2.5]))
def test_steps_are_what_going_through_the_rows_makes(lengths, budget, gradient_accumulation_steps, epochs):
    options = {"budget": budget, "gradient_accumulation_steps": gradient_accumulation_steps, "seed": 3, "epochs": epochs}
    made, wanted = packing.schedule_updates(lengths, **options), plain_steps(lengths, **options)
    assert list(made) == wanted
    assert list(made[1:-1]) == wanted[1:-1]
    assert list(made[:2][-1:]) == wanted[:2][-1:]
    assert list(packing.schedule_updates(lengths, max_steps=3, **options)) == wanted[:3]
    cut = [replace(step, batches=packing.split_micro_batches(step.batches, lengths, times=2)) for step in wanted]
    assert list(made.split_micro_batches(lengths, times=2)) == cut
    with pytest.raises(IndexError):
        made[len(wanted)]
    assert all(type(row) is int for step in made for rows in step.batches for row in rows)


def test_many_epochs_take_few_bytes_a_row():
    lengths = [20] * 20_000
    tracemalloc.start()
    made = packing.schedule_updates(lengths, budget=320, gradient_accumulation_steps=1, seed=0, epochs=10)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(made) == 10 * 20_000 / 16
    assert kept < 10 * 20_000 * 6
