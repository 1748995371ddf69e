"""Features of pairs of texts."""

import numpy as np
import pytest

from finewright.baselines import pair_features
from finewright.data.text_pairs import TextPair


def test_terms_say_whose_word_each_is():
    found = list(pair_features.find_input_terms(TextPair("My parcel", "parcel"), max_ngram=2))
    assert found == ["1:my", "1:parcel", "1:my parcel", "2:parcel"]
    assert list(pair_features.find_input_terms("My parcel", max_ngram=1)) == ["my", "parcel"]


def test_shared_words_are_shares():
    found = pair_features.shared_words(TextPair("where is my parcel", "Parcel, parcel is lost"))
    assert found.tolist() == pytest.approx([2 / 3, 2 / 4, 2 / 5, 1.0])
    assert pair_features.shared_words(TextPair("?", "!")).tolist() == [0, 0, 0, 0]


def test_vectors_are_compared_by_direction():
    found = pair_features.compare_vectors(np.array([[3.0, 4.0]]), np.array([[0.0, 2.0]]))
    assert found.tolist()[0] == pytest.approx([0.6, 0.2, 0.0, 0.8])
    assert np.isfinite(pair_features.compare_vectors(np.zeros((1, 2)), np.ones((1, 2)))).all()
