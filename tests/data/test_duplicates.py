"""Texts that are equal, found by hashes and confirmed by the texts themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finewright.data import splits
from finewright.data.splits import normalise_text

TEXTS = st.lists(st.sampled_from(["a", "A ", "b  c", "B c", "d", "ß", "SS", "e"]), max_size=8)


@given(TEXTS, TEXTS)
def test_the_same_as_by_the_texts_alone(texts, others):
    known = {normalise_text(other) for other in others}
    assert splits.find_shared(texts, others) == [place for place, text in enumerate(texts) if normalise_text(text) in known]
    every = [normalise_text(text) for text in [*texts, *others]]
    wanted = [[place for place, text in enumerate(some) if every.count(normalise_text(text)) > 1] for some in (texts, others)]
    assert splits.find_possible_duplicates([texts, others]) == wanted


def test_two_texts_of_one_number_are_not_taken_for_the_same(monkeypatch):
    monkeypatch.setattr(splits, "_hashes", lambda texts: np.zeros(len(list(texts)), dtype=np.int64))
    assert splits.find_shared(["a", "b", "C"], ["c", "d"]) == [2]
    assert splits.find_possible_duplicates([["a"], ["b"]]) == [[0], [0]], "the texts are still to be compared"
