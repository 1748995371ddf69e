"""Texts that are nearly the same."""

import random

import pytest

from finewright.data import near_duplicates
from finewright.data.near_duplicates import find_similar_pairs

TEXTS = [
    "My card payment did not work yesterday",
    "How do I order a new card for my account?",
    "my  card payment did not wokr yesterday",
    "I want my money back for the broken lamp",
    "My card payment did not wokr yesterday!",
]


def test_a_typo_with_another_label_is_found():
    pairs = find_similar_pairs(TEXTS, ["a", "b", "c", "b", "a"])
    assert [(pair.first, pair.second) for pair in pairs] == [(2, 4), (0, 2)]
    assert all(near_duplicates.SIMILAR <= pair.similarity < 1 for pair in pairs)
    assert pairs[0].similarity >= pairs[1].similarity


def test_the_same_label_is_no_contradiction():
    assert find_similar_pairs(TEXTS, ["a"] * 5) == []


def test_case_and_white_space_do_not_count():
    (pair,) = find_similar_pairs(["Where is it?", "where  IS it?"], ["a", "b"])
    assert (pair.first, pair.second) == (0, 1)
    assert pair.similarity == pytest.approx(1)


def test_blocks_find_what_one_block_finds(monkeypatch):
    texts = [f"{text} {number}" for number in range(9) for text in TEXTS]
    labels = [str(number % 4) for number in range(len(texts))]
    whole = find_similar_pairs(texts, labels)
    assert len(whole) > 50
    monkeypatch.setattr(near_duplicates, "_CELLS_AT_ONCE", 2 * len(texts))
    assert [pair[:2] for pair in find_similar_pairs(texts, labels)] == [pair[:2] for pair in whole]


def test_only_the_most_similar_pairs_are_kept(monkeypatch):
    texts, labels = [f"{TEXTS[0]} {'x' * number}" for number in range(12)], list("abcdefghijkl")
    whole = find_similar_pairs(texts, labels)
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 7)
    assert find_similar_pairs(texts, labels) == whole[:7]


def test_texts_too_short_to_compare_have_no_pairs():
    assert find_similar_pairs(["a", "a"], ["x", "y"]) == []


def test_memory_does_not_grow_with_the_square_of_the_texts(monkeypatch):
    import tracemalloc

    dice = random.Random(0)
    words = [f"word{number}" for number in range(300)]
    texts = [" ".join(dice.choices(words, k=6)) for _ in range(2000)]
    labels = [dice.choice("ab") for _ in texts]
    find_similar_pairs(texts[:100], labels[:100])  # imports
    monkeypatch.setattr(near_duplicates, "_CELLS_AT_ONCE", 40_000)
    tracemalloc.start()
    try:
        find_similar_pairs(texts, labels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2000 * 2000 * 4  # of one similarity a pair in float32
