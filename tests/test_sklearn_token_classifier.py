"""The scikit-learn estimator of tags."""

import pytest
from sklearn.base import clone

from finewright.sklearn import TokenClassifier
from support import tiny


def test_it_fits_predicts_and_scores(tmp_path):
    model = str(tiny.folder(tmp_path / "bert", kind="bert"))
    training = {"num_threads": 1, "learning_rate": 0.003}
    tagger = TokenClassifier(model=model, method="full", max_steps=20, training=training)
    texts = [["where", "is", "my", "parcel"], ["send", "tent"], ["refund", "jacket", "please"], ["pay", "it"]] * 6
    tags = [["O", "O", "O", "U-X"], ["O", "U-X"], ["B-Y", "L-Y", "O"], ["O", "O"]] * 6
    fitted = clone(tagger).fit(texts, tags)
    assert fitted.classes_ == ["O", "B-X", "I-X", "B-Y", "I-Y"]
    found = fitted.predict(texts[:4])
    assert [len(one) for one in found] == [4, 2, 3, 2]
    assert {tag for one in found for tag in one} <= set(fitted.classes_)
    assert 0 <= fitted.score(texts[:4], tags[:4]) <= 1
    with pytest.raises(ValueError, match="sample 1: 2 words, but 1 tags"):
        tagger.fit([["a"], ["b", "c"]], [["O"], ["O"]])
    with pytest.raises(ValueError, match="wanted a list of words, found 'a text'"):
        tagger.fit(["a text"], [["O"]])
    with pytest.raises(ValueError, match="sample 1, counted from 0, has no words"):
        fitted.predict([["a"], []])
    with pytest.raises(ValueError, match="sample 0, counted from 0, has an empty word"):
        fitted.predict([["a", " "]])
