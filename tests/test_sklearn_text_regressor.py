"""The regressor of scikit-learn."""

import math
import pickle
import random

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from finewright.sklearn import TextRegressor
from support import tiny

FAST = {"max_steps": 40, "learning_rate": 0.003, "training": {"num_threads": 1}, "method": "full"}


@pytest.fixture(scope="module")
def rows():
    draw, words = random.Random(0), tiny.WORDS.split()
    texts = [f"{' '.join(draw.sample(words, 2 + number % 6))} {number}" for number in range(90)]
    return texts, np.array([len(text.split()) + 0.25 for text in texts])


@pytest.fixture(scope="module")
def regressor(tmp_path_factory, rows):
    base = tiny.folder(tmp_path_factory.mktemp("base") / "bert", kind="bert")
    return TextRegressor(model=str(base), **FAST).fit(*rows)


def test_it_predicts_numbers(regressor, rows):
    found = regressor.predict(rows[0])
    assert (found.shape, found.dtype) == ((90,), np.float64)
    assert regressor.score(*rows) > 0.1


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_text_is_refused_with_its_row(regressor, rows, empty):
    for call in (regressor.predict, regressor.predict_interval):
        with pytest.raises(ValueError, match="row 1 of 3, counted from 0, has an empty text"):
            call([rows[0][0], empty, rows[0][1]])
    with pytest.raises(ValueError, match="row 89 of 90"):
        regressor.fit([*rows[0][:-1], empty], rows[1])


def test_a_copy_predicts_alike(regressor, rows):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(regressor)).predict(rows[0][:5]), regressor.predict(rows[0][:5]))


@pytest.mark.slow
def test_it_can_be_cross_validated(regressor, rows):
    assert np.isfinite(cross_val_score(clone(regressor), *rows, cv=2)).all()


def test_intervals_lie_around_the_number(regressor, rows):
    values, ends = regressor.predict(rows[0][:2]), regressor.predict_interval(rows[0][:2], level=0.5)
    np.testing.assert_allclose(ends.mean(axis=1), values, atol=1e-3)
    assert (ends[:, 1] - ends[:, 0] < np.ptp(regressor.predict_interval(rows[0][:2]), axis=1)).all()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([math.nan, 1.0], "must be finite, found nan"),
        ([math.inf, 1.0], "must be finite, found inf"),
        (["a", "b"], "wanted numbers"),
    ],
)
def test_what_is_no_number_is_refused(numbers, words):
    with pytest.raises(ValueError, match=words):
        TextRegressor().fit(["one text", "another"], numbers)
