"""The scikit-learn classifier, used as scikit-learn uses classifiers."""

import gc
import pickle
import tempfile

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils import estimator_checks

from finewright.core.errors import UserError
from finewright.sklearn import MultiLabelTextClassifier, TextClassifier
from support import tiny

TEXTS = [f"{('where is my parcel', 'charged twice')[n % 2]} {n}" for n in range(48)]
LABELS = np.array([n % 2 for n in range(48)])
QUICK = {"num_threads": 1, "tokens_per_micro_batch": 120}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.folder(tmp_path_factory.mktemp("sklearn") / "gpt2"))


def classifier(model, **extra):
    return TextClassifier(model=model, method="full", max_steps=6, learning_rate=3e-3, training=QUICK, **extra)


def test_labels_come_back_as_they_were_given(model):
    made = classifier(model).fit(TEXTS, LABELS)
    assert made.classes_.tolist() == [0, 1]
    assert made.predict(TEXTS[:4]).dtype == LABELS.dtype
    shares = made.predict_proba(TEXTS[:4])
    assert shares.shape == (4, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert made.score(TEXTS, LABELS) > 0.9
    assert made.run_.result.num_test == 0


@pytest.mark.parametrize(
    "names",
    [["a|b", "a", "b", "b|a"], ["Portland, Oregon", "Portland, Maine"], ["1.5", "2.5"], [number * 7 for number in range(24)]],
)
def test_a_classifier_learns_classes_whatever_their_names_look_like(model, names):
    """Files with such labels may be for several labels per text, or for numbers."""
    labels = np.array([names[n % len(names)] for n in range(48)])
    made = classifier(model).fit(TEXTS, labels)
    assert made.run_.config.task == "text-classification"
    assert set(made.predict(TEXTS).tolist()) <= set(names)


@pytest.mark.parametrize(
    "kind",
    [
        np.array([7, -3], dtype=np.int8),
        np.array([1.0, 2.0]),
        np.array(["1.0", "2.0"]),
        np.array([True, False]),
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
    ],
)
def test_labels_keep_their_type(model, kind):
    labels = kind[LABELS]
    made = classifier(model).fit(TEXTS, labels)
    plain = LogisticRegression().fit(LABELS[:, None], labels)
    assert made.classes_.dtype == plain.classes_.dtype
    assert made.classes_.tolist() == plain.classes_.tolist()
    found = made.predict(TEXTS)
    assert found.dtype == plain.predict(LABELS[:, None]).dtype
    assert (found == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, "1"] * 24, "labels must be of one type, found 1 and '1'"),
        (np.array([1, "1"] * 24, dtype=object), "labels must be of one type, found 1 and '1'"),
        ([True, "True"] * 24, "labels must be of one type, found True and 'True'"),
        ([True, 1] * 24, "labels must be of one type, found True and 1"),
        (["a", None] * 24, "labels must be of one type, found 'a' and None"),
        (["1", "1.0"] * 24, "the labels '1' and '1.0' cannot be kept apart: 1.0 is 1"),
        (["a", "a "] * 24, "the labels 'a' and 'a ' cannot be kept apart"),
        ([0.5, 1.5] * 24, "Unknown label type"),
        ([0.0, float("nan")] * 24, "NaN"),
        ([[0, 1]] * 48, "y should be a 1d array"),
    ],
)
def test_labels_that_cannot_be_kept_apart_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        classifier("mini").fit(TEXTS, labels)


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="wanted texts, found None"):
        classifier("mini").fit([*TEXTS[:-1], None], LABELS)


@pytest.mark.parametrize("estimator", [TextClassifier, MultiLabelTextClassifier])
def test_empty_texts_and_options_that_cannot_be_are_value_errors(model, estimator):
    y = LABELS if estimator is TextClassifier else [[str(label)] for label in LABELS]
    fitted = estimator(model=model, method="freeze", max_steps=1).fit(TEXTS, y)
    for call in (fitted.predict, fitted.predict_proba):
        with pytest.raises(ValueError, match="row 1 of 2, counted from 0, has an empty text"):
            call([TEXTS[0], " "])
        with pytest.raises(ValueError, match="single texts"):
            call([("one", "two")])
    with pytest.raises(ValueError, match="unknown method 'lorra'") as caught:
        estimator(model=model, method="lorra").fit(TEXTS, y)
    assert isinstance(caught.value, UserError)
    assert caught.value.fix


def test_a_table_of_several_columns_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="wanted several texts, found a DataFrame with the columns a, b"):
        classifier("mini").fit(pandas.DataFrame({"a": TEXTS, "b": TEXTS}), LABELS)


def test_nothing_is_left_of_a_fit_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match="no such model folder"):
        classifier(str(tmp_path / "none")).fit(TEXTS, LABELS)
    assert not list(tmp_path.iterdir())


def test_the_same_seed_is_the_same_classifier(model):
    one, other = (classifier(model, random_state=3).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2))
    assert np.array_equal(one, other)


def test_a_pickled_classifier_predicts_without_the_first_one(model):
    fitted = TextClassifier(model=model, method="lora", max_steps=3).fit(TEXTS, LABELS)
    path, expected = fitted.run_.path, fitted.predict_proba(TEXTS[:3])
    packed = pickle.dumps(fitted)
    del fitted
    gc.collect()
    assert not path.exists()
    again = pickle.loads(packed)
    assert np.array_equal(again.predict_proba(TEXTS[:3]), expected)
    assert not (again.run_.path / "checkpoints").exists()


def test_it_works_in_a_pipeline_with_cross_validation(model):
    made = make_pipeline(FunctionTransformer(lambda texts: [text.strip() for text in texts]), classifier(model))
    scores = cross_val_score(made, TEXTS, LABELS, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.5


def test_a_grid_searches_over_its_parameters(model):
    search = GridSearchCV(classifier(model), {"learning_rate": [1e-7, 3e-3]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_ == {"learning_rate": 3e-3}


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_s_own_checks_that_want_no_numbers(check):
    """The others fit on matrices of numbers; this classifier reads texts."""
    check("TextClassifier", TextClassifier())


def test_it_says_when_it_is_not_fitted(model):
    made = classifier(model)
    with pytest.raises(NotFittedError):
        made.predict(TEXTS)
    assert clone(made).get_params() == made.get_params()
    with pytest.raises(ValueError, match="wanted several texts, found one string"):
        made.fit("one text", [0])


@pytest.mark.parametrize("method", ["bag-of-words", "frozen-features"])
def test_a_baseline_is_a_classifier_too(model, method):
    made = TextClassifier(model=model, method=method).fit(TEXTS, LABELS)
    assert made.score(TEXTS, LABELS) > 0.9
    np.testing.assert_allclose(made.predict_proba(TEXTS[:4]).sum(axis=1), 1)
    with pytest.raises(UserError, match="does not use training.epochs"):
        TextClassifier(method=method, epochs=3).fit(TEXTS, LABELS)


TOPICS = [[["parcel"], ["charged", "urgent"], []][n % 3] for n in range(60)]
TOPIC_TEXTS = [f"{('where is my parcel', 'charged twice please send it', 'hello')[n % 3]} {n}" for n in range(60)]


def multi_label(model, **extra):
    return MultiLabelTextClassifier(model=model, method="full", max_steps=4, learning_rate=1e-3, training=QUICK, **extra)


@pytest.fixture(scope="module")
def fitted(model):
    return multi_label(model).fit(TOPIC_TEXTS, TOPICS)


def test_sets_of_labels_come_back_as_a_matrix_in_the_order_of_classes(fitted):
    assert fitted.classes_.tolist() == ["charged", "parcel", "urgent"]
    found, shares = fitted.predict(TOPIC_TEXTS), fitted.predict_proba(TOPIC_TEXTS)
    assert found.tolist()[:3] == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert fitted.predict_labels(TOPIC_TEXTS[:3]) == [["parcel"], ["charged", "urgent"], []]
    assert shares.shape == (60, 3)
    assert ((shares > 0) & (shares < 1)).all()
    truth = MultiLabelBinarizer().fit_transform(TOPICS)
    exactly_right = (found == truth).all(axis=1).mean()
    assert fitted.score(TOPIC_TEXTS, truth) == exactly_right > 0.8, "as scikit-learn's classifiers say it"


def test_a_matrix_gives_the_same_as_lists(fitted, model):
    truth = MultiLabelBinarizer().fit_transform(TOPICS)
    matrix = np.column_stack([truth, np.zeros(60, dtype=int)])
    made = multi_label(model).fit(TOPIC_TEXTS, matrix)
    assert made.classes_.tolist() == [0, 1, 2, 3]
    found = made.predict(TOPIC_TEXTS)
    assert not found[:, 3].any(), "no training text has this label"
    np.testing.assert_array_equal(found[:, :3], fitted.predict(TOPIC_TEXTS))
    assert made.predict_labels(TOPIC_TEXTS[:2]) == [[1], [0, 2]]


def test_a_pickled_classifier_of_sets_predicts_the_same(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(TOPIC_TEXTS[:3]), fitted.predict(TOPIC_TEXTS[:3]))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["parcel"] * 60, "wanted a list of labels for each text, or a matrix of 0 and 1, found 'parcel'"),
        (np.full((60, 2), 2), "wanted a matrix of 0 and 1"),
        ([[]] * 60, "no text has a label"),
        ([["a"]] * 59, "60 texts, but labels of 59"),
        ([["a", 1]] * 60, "labels must be of one type"),
        ([["a", "a "]] * 60, "cannot be kept apart"),
    ],
)
def test_what_are_no_sets_of_labels_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelTextClassifier().fit(TOPIC_TEXTS, y)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_s_own_checks_hold_for_sets_of_labels(check):
    check("MultiLabelTextClassifier", MultiLabelTextClassifier())
