"""A regression on words tags as scikit-learn does, before and after it was saved, without scikit-learn and PyTorch."""

import json

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from finewright import baselines
from finewright.baselines import word_window
from finewright.baselines.bag_of_words import BagOfWords
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import read_dataset
from finewright.data.tagged_tokens import TextWithWords, make_tagged_text, split_words
from finewright.tasks.calibration import compute_probabilities
from support.clean_process import print_from_new_process

TASK = "token-classification"
TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")
ROWS = [
    ("send the tent", ["O", "O", "B-X"]),
    ("the tent is new", ["O", "B-X", "O", "O"]),
    ("pay 12 euros", ["O", "B-Y", "I-Y"]),
    ("pay 250 euros please", ["O", "B-Y", "I-Y", "O"]),
    ("Istanbul, please!", ["O", "O", "O", "O"]),
]
TEXTS = ["pay 77 euros", "the TENT", "", "naïve straße 東京 🙂", "tent"]


def rows():
    return [make_tagged_text(text, split_words(text), tags, where="") for text, tags in ROWS] * 4


def fit(**options):
    return word_window.fit(rows(), labels=TAGS, task=TASK, **options)


def test_it_tags_as_scikit_learn_does():
    fitted = fit()
    features = [one for row in rows() for one in word_window.word_features(row.tokens)]
    pipeline = make_pipeline(DictVectorizer(), LogisticRegression(C=1.0, max_iter=500))
    pipeline.fit(features, [tag for row in rows() for tag in row.tags])
    scores, estimates = fitted.model.score(TEXTS), fitted.estimate(TEXTS)
    assert (scores.shape, scores.dtype) == ((5, 5, 5), np.float32)
    for text, scores_WC, estimates_WC in zip(TEXTS, scores, estimates, strict=True):
        words = [text[start:end] for start, end in split_words(text)]
        if words:
            wanted = pipeline.predict_proba(word_window.word_features(words))
            order = [TAGS.index(tag) for tag in pipeline.classes_]
            found = compute_probabilities(scores_WC[: len(words)])
            np.testing.assert_allclose(found[:, order], wanted, atol=1e-3)
            np.testing.assert_allclose(estimates_WC[: len(words)], found, atol=1e-5)
            assert found[:, TAGS.index("I-X")].max() == 0, "no training word has this tag"
    np.testing.assert_allclose(fitted.model.estimate(scores), estimates, atol=1e-5)


def test_the_number_of_parameters_is_counted_by_hand():
    made = [make_tagged_text("a b", split_words("a b"), ["O", "B-X"], where="")]
    fitted = word_window.fit(made, labels=("O", "B-X", "I-X"), task=TASK)
    # word, shape, 3 beginnings that are the same, 3 ends, word and shape of 4 neighbours: the second word differs in its own
    # word, beginning and end, and in where the neighbour is
    names = {name for one in word_window.word_features(["a", "b"]) for name in one}
    assert fitted.model.num_parameters == len(names) + 1
    assert {"word=a", "word=b", "shape=x1", "starts=a", "ends=b", "1:word=b", "-1:word=a", "2:word=", "-2:shape=0"} <= names


def test_a_saved_one_tags_the_same(tmp_path):
    fitted = fit(C=3.0)
    fitted.model.save(tmp_path)
    again = baselines.load_model(tmp_path)
    np.testing.assert_array_equal(again.score(TEXTS), fitted.model.score(TEXTS))
    assert (again.labels, again.task, again.settings.C) == (TAGS, TASK, 3.0)
    assert again.tag([make_tagged_text("pay 77 euros", split_words("pay 77 euros"), [], where="")]) == [["O", "B-Y", "I-Y"]]
    assert again.score([]).shape == (0, 0, 5)
    assert json.loads((tmp_path / "baseline.json").read_text())["schema_version"] == 2, "earlier programs cannot read it"


def test_words_that_are_given_are_the_words():
    model = fit().model
    text = TextWithWords("pay250 euros", [(0, 3), (3, 6), (7, 12)])
    as_json = model.read_input({"text": str(text), "words": [[0, 3], [3, 6], [7, 12]]})
    np.testing.assert_array_equal(model.score([text]), model.score([as_json]))
    assert model.score([text]).shape[1] == 3
    assert model.tag([word_window.as_tagged_text(text)]) == [["O", "B-Y", "I-Y"]]


def test_of_many_words_some_texts_are_read_and_it_is_said(monkeypatch):
    assert fit().notes == ()
    monkeypatch.setattr(word_window, "MOST_WORDS", 40)
    fitted = fit()
    (note,) = fitted.notes
    assert note.startswith("fitted to ")
    assert "of 72 training words" in note
    assert int(note.split()[2]) <= 40


def test_words_of_one_tag_are_an_error():
    made = [make_tagged_text("a b", split_words("a b"), ["O", "O"], where="")]
    with pytest.raises(UserError, match="every training word has the tag 'O'") as raised:
        word_window.fit(made, labels=("O", "B-X"), task=TASK)
    assert raised.value.code == ExitCode.BAD_DATA


def test_it_is_what_a_bag_of_words_is_for_tags(tmp_path):
    lines = [json.dumps({"tokens": list(row.tokens), "tags": list(row.tags)}) for row in rows()]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    dataset = read_dataset(tmp_path / "rows.jsonl", options=DataConfig(), row_kind="tagged-tokens")
    fitted = BagOfWords(C=2.0).fit(dataset, task=TASK)
    assert (fitted.model.labels, fitted.choices) == (TAGS, {})
    assert fitted.chosen.startswith("C = 2, ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": ["card"]}, "wanted 1 columns"),
        ({"around": 3}, "around: "),
        ({"longest_affix": 30}, "longest_affix: "),
        ({"labels": ["a", "a"]}, "labels and classes"),
        ({"classes": []}, "labels, classes: wanted at least 1"),
        ({"of_words": False}, "max_ngram: "),
        ({"schema_version": 3}, "newer version of finewright"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    fit().model.save(tmp_path)
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as raised:
        baselines.load_model(tmp_path)
    assert raised.value.code == ExitCode.MISMATCH


def test_a_feature_with_two_columns_is_refused(tmp_path):
    fit().model.save(tmp_path)
    path = tmp_path / "baseline.json"
    value = json.loads(path.read_text())
    value["vocabulary"][1] = value["vocabulary"][0]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="twice"):
        baselines.load_model(tmp_path)


def test_loading_and_tagging_need_neither_pytorch_nor_scikit_learn(tmp_path):
    fit().model.save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from finewright.baselines.predictor import BaselinePredictor; "
        f"print(BaselinePredictor.load(Path({str(tmp_path)!r})).predict(['pay 77 euros'])[0]['entities'][0]['text'], "
        "sorted({'torch', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    assert print_from_new_process(code) == "77 euros []"
