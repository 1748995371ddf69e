"""Ridge regressions for numbers: equal to scikit-learn's, before and after they were saved."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from finewright import baselines
from finewright.baselines.bag_of_words import BagOfWords
from finewright.baselines.frozen_features import STATES, FrozenEncoder, FrozenFeatures
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import read_dataset
from finewright.data.number_rows import value_of
from finewright.data.text_pairs import input_of
from finewright.models import hub
from finewright.models.head_spec import HeadSpec
from finewright.tasks import ridge_regression
from support import tiny
from support.amounts import write_rows
from support.clean_process import print_from_new_process

TASK = "regression"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("numbers")
    write_rows(root / "rows.csv", count=90)
    write_rows(root / "years.csv", count=90, mean=1950.0)
    return root


def read(path, **options):
    return read_dataset(path, options=DataConfig(label_column="year", **options), row_kind="number")


def numbers(rows):
    return np.array([value_of(row) for row in rows])


def reference(dataset, *, C, max_ngram=2):
    """Fit scikit-learn's own pipeline."""
    reads = {"ngram_range": (1, max_ngram), "token_pattern": r"(?u)\b\w+\b"}
    pipeline = make_pipeline(TfidfVectorizer(sublinear_tf=True, **reads), Ridge(alpha=1 / C, tol=1e-9))
    return pipeline.fit([row.text for row in dataset.train], numbers(dataset.train))


@pytest.mark.parametrize("file", ["rows.csv", "years.csv"])
@pytest.mark.parametrize("max_ngram", [1, 2])
def test_words_give_the_numbers_of_scikit_learn(place, file, max_ngram):
    dataset = read(place / file)
    fitted = BagOfWords(C=5.0, max_ngram=max_ngram).fit(dataset, task=TASK)
    texts = [*(row.text for row in dataset.test), "", "!!!", "unknown words alone"]
    wanted, std = reference(dataset, C=5.0, max_ngram=max_ngram).predict(texts), numbers(dataset.train).std()
    found = fitted.model.score(texts)
    assert (found.shape, found.dtype) == ((len(texts), 1), np.float32)
    np.testing.assert_allclose(found[:, 0], wanted, atol=2e-3 * std)
    np.testing.assert_allclose(fitted.model.estimate(found), fitted.estimate(texts), atol=1e-3)
    np.testing.assert_allclose(found[-3:, 0], found[-1, 0], err_msg="without a known word there is the intercept alone")


def test_a_saved_one_gives_the_same_numbers(place, tmp_path):
    dataset = read(place / "rows.csv")
    fitted = BagOfWords().fit(dataset, task=TASK)
    fitted.model.save(tmp_path)
    again, texts = baselines.load_model(tmp_path), [row.text for row in dataset.test]
    np.testing.assert_array_equal(again.score(texts), fitted.model.score(texts))
    assert (again.labels, again.task, again.num_parameters) == ((), TASK, len(again.settings.vocabulary) + 1)
    assert again.score([]).shape == (0, 1)
    assert json.loads((tmp_path / "baseline.json").read_text())["schema_version"] == 2, "earlier programs cannot read it"


def test_the_penalty_is_chosen_on_training_rows_that_are_left_out(place):
    """The validation rows measure the intervals, so they choose nothing."""
    dataset = read(place / "rows.csv")
    fitted = BagOfWords().fit(dataset, task=TASK)
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    matrix = features.fit_transform([row.text for row in dataset.train])
    alpha = ridge_regression.measure_error(matrix, numbers(dataset.train))[1]
    assert fitted.chosen == f"penalty {alpha:g}"
    assert fitted.choices == {"method.C": 1 / alpha}
    assert BagOfWords().fit(replace(dataset, validation=dataset.test), task=TASK).chosen == fitted.chosen
    given = BagOfWords(C=0.5).fit(dataset, task=TASK)
    assert (given.chosen, given.choices, given.validation_accuracy) == ("penalty 2", {}, None)


def test_loading_and_scoring_need_neither_pytorch_nor_scikit_learn(place, tmp_path):
    BagOfWords(C=1.0).fit(read(place / "rows.csv"), task=TASK).model.save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from finewright.baselines.predictor import BaselinePredictor; "
        f"print(BaselinePredictor.load(Path({str(tmp_path)!r})).predict(['a tent'])[0]['value'] > 0, "
        "sorted({'torch', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    assert print_from_new_process(code) == "True []"


def test_pairs_have_the_features_of_pairs(tmp_path):
    """The number is the share of words that both texts have: the words alone do not tell it."""
    words = tiny.WORDS.split()[:8]
    pairs = [
        (" ".join(words[start : start + 4]), " ".join(words[start + away : start + away + 4]))
        for start in range(8)
        for away in range(4)
    ]
    lines = [
        "first,second,year",
        *(f"{one},{other} {n},{len({*one.split()} & {*other.split()})}.5" for n, (one, other) in enumerate(pairs)),
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    dataset = read(tmp_path / "pairs.csv", text_column=["first", "second"], text_columns_as="pair")
    assert dataset.train[0].pair is not None
    fitted = BagOfWords().fit(dataset, task=TASK)
    fitted.model.save(tmp_path / "model")
    inputs = [input_of(row) for row in dataset.test]
    found = baselines.load_model(tmp_path / "model").score(inputs)[:, 0]
    np.testing.assert_array_equal(found, fitted.model.score(inputs)[:, 0])
    assert np.corrcoef(found, numbers(dataset.test))[0, 1] > 0.7


def encoder(folder):
    head_spec = HeadSpec("AutoModelForSequenceClassification", "SEQ_CLS", "pooled", (), TASK)
    how = {"max_length": None, "usual_length": 512, "keep_end": False, "bfloat16": False}
    return FrozenEncoder.load(hub.resolve_model(str(folder)), head_spec=head_spec, **how)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_features_give_the_numbers_of_scikit_learn(place, tmp_path, kind):
    dataset, reads = read(place / "rows.csv"), encoder(tiny.folder(tmp_path / kind, kind=kind))
    fitted = FrozenFeatures().fit(dataset, task=TASK, encoder=reads)
    texts = [row.text for row in dataset.test]
    errors, predicted = {}, {}
    for state in STATES:
        train, test = (reads.recall(state, some).astype(float) for some in ([row.text for row in dataset.train], texts))
        scaler = StandardScaler().fit(train)
        found = RidgeCV(alphas=ridge_regression.STRENGTHS).fit(scaler.transform(train), numbers(dataset.train))
        errors[state], predicted[state] = -found.best_score_, found.predict(scaler.transform(test))
    best = min(errors, key=errors.get)
    assert fitted.choices["method.state"] == fitted.model.settings.state == best
    np.testing.assert_allclose(fitted.model.score(texts)[:, 0], predicted[best], atol=1e-3 * numbers(dataset.train).std())
    fitted.model.save(tmp_path / "model")
    again = baselines.load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.score(texts), fitted.model.score(texts))
    assert again.num_parameters == 32 + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": 0}, "std: "),
        ({"std": None}, "labels, classes: wanted at least 1"),
        ({"labels": ["a", "b"]}, "a regression of numbers has no labels"),
        ({"one_vs_rest": True}, "a regression of numbers has no labels"),
        ({"schema_version": 3}, "newer version of finewright"),
    ],
)
def test_a_damaged_file_is_refused(place, tmp_path, change, message):
    BagOfWords(C=1.0).fit(read(place / "rows.csv"), task=TASK).model.save(tmp_path)
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as raised:
        baselines.load_model(tmp_path)
    assert raised.value.code == ExitCode.MISMATCH


def test_texts_without_words_are_an_error(tmp_path):
    (tmp_path / "rows.csv").write_text("text,year\n" + "".join(f"{'!?.'[n % 3] * (n + 1)},{n}.5\n" for n in range(40)))
    with pytest.raises(UserError, match="no words in the training texts"):
        BagOfWords().fit(read(tmp_path / "rows.csv"), task=TASK)
