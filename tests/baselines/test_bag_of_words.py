"""A bag of words scores as scikit-learn's pipeline does, before and after it was saved, without scikit-learn and PyTorch."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from finewright import baselines
from finewright.baselines import regression
from finewright.baselines.bag_of_words import BagOfWords
from finewright.baselines.pair_features import find_terms
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset, read_dataset
from finewright.data.splits import Example, split_into_folds
from finewright.tasks import logistic_regression
from finewright.tasks.calibration import compute_probabilities
from support.clean_process import print_from_new_process

WORDS = [
    "card",
    "fee",
    "atm",
    "İstanbul",
    "straße",
    "STRASSE",
    "naïve",
    "東京",
    "привет",
    "don't",
    "a_b",
    "12",
    "é",
    "é",
    "🙂",
    "ﬁne",
    "x",
]


def dataset(train, validation=(), labels=None):
    """Make a data set of (text, label) pairs."""
    splits = [[Example(text, label, f"t.csv:{row}") for row, (text, label) in enumerate(rows)] for rows in (train, validation)]
    return Dataset(*splits, [], tuple(labels or sorted({label for _, label in train})), "text", [], "")


def random_rows(seed, *, labels, count=60):
    rng = random.Random(seed)
    rows = []
    for row in range(count):
        label = labels[row % len(labels)]
        rows.append((" ".join(rng.choices([*WORDS, f"of{label}"], k=rng.randint(1, 12))), label))
    return rows


def fit(rows, *, validation=(), labels=None, **options):
    return BagOfWords(**options).fit(dataset(rows, validation, labels), task="text-classification")


def reference(rows, *, C=1.0, max_ngram=2):
    """Fit scikit-learn's own pipeline."""
    vectorizer = TfidfVectorizer(ngram_range=(1, max_ngram), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=C, max_iter=500))
    return pipeline.fit([text for text, _ in rows], [label for _, label in rows])


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c"), tuple("abcdefg")])
@pytest.mark.parametrize("max_ngram", [1, 2, 3])
def test_it_scores_as_scikit_learn_does(labels, max_ngram):
    rows = random_rows(max_ngram, labels=labels)
    fitted = fit(rows, C=10.0, max_ngram=max_ngram)
    texts = [text for text, _ in random_rows(99, labels=labels, count=200)] + ["", "!!!", "unknown words alone", "CARD card Card"]
    wanted = reference(rows, C=10.0, max_ngram=max_ngram).predict_proba(texts)
    found = compute_probabilities(fitted.model.score(texts))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(fitted.estimate(texts), wanted)
    sure = np.diff(np.sort(wanted, axis=1)[:, -2:], axis=1)[:, 0] > 1e-5  # no tie
    assert (found.argmax(axis=1) == wanted.argmax(axis=1))[sure].all()


TRAINED = random_rows(5, labels=("a", "b", "c"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(list(" card fee İstanbul straße"))), min_size=1)
)
def test_any_text_scores_as_scikit_learn_scores_it(texts):
    if not hasattr(test_any_text_scores_as_scikit_learn_scores_it, "made"):
        test_any_text_scores_as_scikit_learn_scores_it.made = fit(TRAINED, C=1.0).model, reference(TRAINED)
    model, wanted = test_any_text_scores_as_scikit_learn_scores_it.made
    np.testing.assert_allclose(compute_probabilities(model.score(texts)), wanted.predict_proba(texts), atol=1e-6)


@pytest.mark.parametrize("text", ["A b, c!", "don't stop", "東京 is 1 city", "naïve e\u0301 🙂", "a_b-c", ""])
@pytest.mark.parametrize("max_ngram", [1, 2, 4])
def test_terms_are_scikit_learns(text, max_ngram):
    analyze = TfidfVectorizer(ngram_range=(1, max_ngram), token_pattern=r"(?u)\b\w+\b").build_analyzer()
    assert sorted(find_terms(text, max_ngram=max_ngram)) == sorted(analyze(text))


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_label_without_training_rows_has_a_probability_of_0(absent, tmp_path):
    labels = ("a", "b", "c")
    present = [label for label in labels if label != labels[absent]]
    rows = random_rows(3, labels=present)
    fitted = fit(rows, labels=labels, C=1.0)
    fitted.model.save(tmp_path)
    for model in (fitted.model, baselines.load_model(tmp_path)):
        found = compute_probabilities(model.score([text for text, _ in rows]))
        assert (found[:, absent] == 0).all()
        wanted = reference(rows).predict_proba([text for text, _ in rows])
        np.testing.assert_allclose(np.delete(found, absent, axis=1), wanted, atol=1e-6)
    assert (fitted.estimate(["card"])[:, absent] == 0).all()


def test_a_saved_model_scores_the_same(tmp_path):
    fitted = fit(random_rows(1, labels=("a", "b", "c")))
    fitted.model.save(tmp_path)
    again, texts = baselines.load_model(tmp_path), [text for text, _ in random_rows(2, labels=("a", "b"))]
    np.testing.assert_array_equal(again.score(texts), fitted.model.score(texts))
    assert (again.labels, again.task, again.num_parameters) == (
        ("a", "b", "c"),
        "text-classification",
        fitted.model.num_parameters,
    )
    assert again.score([]).shape == (0, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.json", "baseline.safetensors"}


def test_the_number_of_parameters_is_counted_by_hand():
    """The vocabulary: one, two, three and the pairs "one two" and "two three"."""
    assert fit([("one two", "a"), ("two three", "b")], C=1.0).model.num_parameters == 5 + 1
    assert fit([("one two", "a"), ("two three", "b"), ("one", "c")], C=1.0).model.num_parameters == 3 * 5 + 3
    assert fit([("one two", "a"), ("two three", "b")], C=1.0, max_ngram=1).model.num_parameters == 3 + 1


def test_the_regularisation_is_chosen_on_validation_rows_unless_given():
    rows, validation = random_rows(1, labels=("a", "b")), random_rows(2, labels=("a", "b"))
    free, given_c, alone = fit(rows, validation=validation), fit(rows, validation=validation, C=0.5), fit(rows)
    assert free.chosen.startswith("C = ")
    assert free.validation_accuracy is not None
    assert given_c.chosen == "C = 0.5"
    assert alone.chosen in [f"C = {strength:g}" for strength in regression.STRENGTHS]
    assert alone.validation_accuracy is None


def test_the_likeliest_of_those_that_are_hardly_less_accurate_is_chosen():
    def rows(num_right, count=100):
        return np.arange(count) < num_right

    def likelihoods(mean, count=100):
        return mean + np.linspace(-0.1, 0.1, count)

    choose = logistic_regression.choose_best
    assert choose([rows(90), rows(89)], [likelihoods(-1.0), likelihoods(-0.3)]) == 1, "one row is no difference"
    assert choose([rows(90), rows(60)], [likelihoods(-1.0), likelihoods(-0.3)]) == 0, "thirty rows are one"
    assert choose([rows(90), rows(87)], [likelihoods(-1.0), likelihoods(-0.3)]) == 1
    assert choose([rows(87), rows(90)], [likelihoods(-0.3), likelihoods(-0.3)]) == 1, "of equal likelihoods the more accurate"


@pytest.mark.parametrize("num_validation", [0, 21, 126])
def test_confidences_of_few_rows_are_about_as_high_as_the_accuracy(num_validation):
    """With C by accuracy alone, the probabilities of a strong regularisation were far below it."""
    source = read_dataset("tickets", options=DataConfig())
    rows, validation = source.train[:280], source.validation[:num_validation]
    fitted = BagOfWords().fit(replace(source, train=rows, validation=validation), task="text-classification")
    shares = fitted.estimate([row.text for row in source.test])
    right = shares.argmax(axis=1) == np.array([source.labels.index(row.label) for row in source.test])
    assert right.mean() > 0.5
    assert abs(shares.max(axis=1).mean() - right.mean()) < 0.1


def test_rows_are_left_out_in_turn_by_label():
    targets = np.array([0, 1] * 9 + [2])
    folds = split_into_folds(targets, logistic_regression.NUM_FOLDS)
    for label in (0, 1):
        assert np.bincount(folds[targets == label]).tolist() == [3, 3, 3]
    features = np.eye(19)
    found = logistic_regression.cross_validate(features, targets, strength=1.0, num_labels=4)
    assert (found[:, 3] == 0).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(19))
    assert found[18, 2] == 0, "its only row was left out"
    alone = logistic_regression.cross_validate(np.eye(2), np.array([0, 1]), strength=1.0, num_labels=2)
    assert (alone == 0).all(), "one label is left"


def test_texts_without_words_and_a_single_label_are_errors():
    with pytest.raises(UserError, match="no words in the training texts") as raised:
        fit([("!", "a"), ("?", "b")])
    assert raised.value.code == ExitCode.BAD_DATA
    with pytest.raises(UserError, match="every training row has the label 'a'"):
        fit([("one", "a"), ("two", "a")])


def test_loading_and_scoring_need_neither_pytorch_nor_scikit_learn(tmp_path):
    fit(random_rows(1, labels=("a", "b"))).model.save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from finewright import baselines; "
        f"baselines.load_model(Path({str(tmp_path)!r})).score(['card fee']); "
        "print(sorted({'torch', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    assert print_from_new_process(code) == "[]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": ["card"]}, "wanted 1 columns"),
        ({"labels": ["a", "a"]}, "labels and classes"),
        ({"classes": [0, 2]}, "labels and classes"),
        ({"classes": [1, 0]}, "labels and classes"),
        ({"token_pattern": "(a+)+$"}, "token_pattern"),
        ({"kind": "pickle"}, "found 'pickle'"),
        ({"C": -1}, "C: "),
        ({"max_ngram": 99}, "max_ngram"),
        ({"schema_version": 99}, "newer version of finewright"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    fit(random_rows(1, labels=("a", "b"))).model.save(tmp_path)
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as raised:
        baselines.load_model(tmp_path)
    assert raised.value.code == ExitCode.MISMATCH


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": 3}', "[" * 100_000])
def test_a_file_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "baseline.json").write_text(text)
    with pytest.raises(UserError):
        baselines.load_model(tmp_path)


@pytest.mark.parametrize("fault", ["gone", "cut", "missing", "not finite", "integers", "shape"])
def test_damaged_tensors_are_refused(tmp_path, fault):
    from safetensors.numpy import load_file, save_file

    fit(random_rows(1, labels=("a", "b"))).model.save(tmp_path)
    path = tmp_path / "baseline.safetensors"
    tensors = load_file(path)
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        if fault == "missing":
            del tensors["idf"]
        elif fault == "not finite":
            tensors["coefficients"][0, 0] = np.nan
        elif fault == "integers":
            tensors["idf"] = tensors["idf"].astype(np.int64)
        else:
            tensors["coefficients"] = tensors["coefficients"].repeat(2, axis=0)
        save_file(tensors, path)
    with pytest.raises(UserError) as raised:
        baselines.load_model(tmp_path)
    assert raised.value.code == ExitCode.MISMATCH


def test_a_word_that_is_twice_in_the_vocabulary_is_refused(tmp_path):
    fit([("one two", "a"), ("two three", "b")], C=1.0).model.save(tmp_path)
    path = tmp_path / "baseline.json"
    value = json.loads(path.read_text())
    value["vocabulary"][1] = value["vocabulary"][0]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="twice"):
        baselines.load_model(tmp_path)
