"""Texts that are the same, found by numbers and told by the texts themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finewright import duplicates
from finewright.duplicates import normalised

TEXTS = st.lists(st.sampled_from(["a", "A ", "b  c", "B c", "d", "ß", "SS", "e"]), max_size=8)


@given(TEXTS, TEXTS)
def test_the_same_as_by_the_texts_alone(texts, others):
    known = {normalised(other) for other in others}
    assert duplicates.also_in(texts, others) == [place for place, text in enumerate(texts) if normalised(text) in known]
    every = [normalised(text) for text in [*texts, *others]]
    wanted = [[place for place, text in enumerate(some) if every.count(normalised(text)) > 1] for some in (texts, others)]
    assert duplicates.perhaps_again([texts, others]) == wanted


def test_two_texts_of_one_number_are_not_taken_for_the_same(monkeypatch):
    monkeypatch.setattr(duplicates, "_numbers", lambda texts: np.zeros(len(list(texts)), dtype=np.int64))
    assert duplicates.also_in(["a", "b", "C"], ["c", "d"]) == [2]
    assert duplicates.perhaps_again([["a"], ["b"]]) == [[0], [0]], "the texts are still to be compared"
