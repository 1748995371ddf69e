"""Baselines that train no weight of the model: the most frequent label, a bag of words, the features of the frozen model."""

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from finewright import tasks
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.comparison.spec import FEATURES, MAJORITY, WORDS
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.data import packing
from finewright.data.dataset import Dataset
from finewright.data.layout import PackedLayout
from finewright.data.splits import Example
from finewright.inference.scoring import EVALUATION_TOKENS
from finewright.models import forward, hub, loading, prepared
from finewright.models.architectures.base import max_text_length
from finewright.models.prepared import PreparedModel
from finewright.planning import defaults
from finewright.runs.schema import ClassificationMetrics
from finewright.tasks import metrics

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of scikit-learn's C (inverse regularisation) to choose from."""
DEFAULT_STRENGTH = 1.0
"""Value of C without validation rows to choose by."""


@dataclass(frozen=True)
class Fitted:
    """`probabilities`: of every label for every test row, shape (rows, labels)."""

    probabilities: np.ndarray
    num_parameters: int
    chosen: str
    validation_accuracy: float | None


@dataclass(frozen=True)
class Features:
    """Features of one kind: a matrix for each split that has rows."""

    kind: str
    train: Any
    validation: Any
    test: Any


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Train on each of `datasets` and predict its test rows.

    Options are chosen on the validation rows, like the best step of a run. `known`: token ids by text.
    """
    began = time.monotonic()
    largest = max(datasets.values(), key=lambda dataset: len(dataset.train))
    vectors = _frozen_features(largest, source=source, settings=settings, known=known) if name == FEATURES else {}
    seconds_once = time.monotonic() - began
    found = {}
    for size, dataset in datasets.items():
        began = time.monotonic()
        fitted = _fit(name, dataset, vectors=vectors)
        chosen = fitted.probabilities.argmax(axis=1)
        seconds = time.monotonic() - began + seconds_once
        targets = _targets(dataset.test, dataset)
        found[size] = BaselineResult(
            predicted=[dataset.labels[pick] for pick in chosen],
            probability=fitted.probabilities.max(axis=1).tolist(),
            train_seconds=seconds,
            trainable_parameters=fitted.num_parameters,
            chosen=fitted.chosen,
            validation_accuracy=fitted.validation_accuracy,
            num_train=len(dataset.train),
            metrics=ClassificationMetrics.model_validate(
                metrics.classification_metrics(fitted.probabilities, targets, labels=dataset.labels)
            ),
        )
    return BaselineFile(sizes=found)


def _targets(rows: Sequence[Example], dataset: Dataset) -> np.ndarray:
    numbers = {label: index for index, label in enumerate(dataset.labels)}
    return np.array([numbers[row.label] for row in rows], dtype=int)


def _fit(name: str, dataset: Dataset, *, vectors: Mapping[str, Mapping[str, np.ndarray]]) -> Fitted:
    if name == MAJORITY:
        return _fit_majority(dataset)
    if name == WORDS:
        return _fit_best([_word_features(dataset)], dataset)
    return _fit_best([_standardise(kind, one, dataset) for kind, one in vectors.items()], dataset)


def _fit_majority(dataset: Dataset) -> Fitted:
    counts = Counter(row.label for row in dataset.train)
    frequencies = np.array([counts[label] for label in dataset.labels]) / len(dataset.train)
    chosen = dataset.labels[int(frequencies.argmax())]
    right = [row.label == chosen for row in dataset.validation]
    probabilities = np.tile(frequencies, (len(dataset.test), 1))
    return Fitted(probabilities, 0, f"always {chosen}", float(np.mean(right)) if right else None)


def _word_features(dataset: Dataset) -> Features:
    """Compute TF-IDF of words and word pairs in the vocabulary of the training rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    train, validation, test = ([row.text for row in rows] for rows in (dataset.train, dataset.validation, dataset.test))
    try:
        fitted = vectorizer.fit_transform(train)
    except ValueError as error:
        raise UserError(f"no words in the training texts: {error}", fix="this baseline needs letters or digits") from None
    return Features("", fitted, vectorizer.transform(validation) if validation else None, vectorizer.transform(test))


def _standardise(kind: str, vectors: Mapping[str, np.ndarray], dataset: Dataset) -> Features:
    """Scale vectors to mean 0 and standard deviation 1 over the training rows."""
    from sklearn.preprocessing import StandardScaler

    def matrix(rows: Sequence[Example]) -> np.ndarray | None:
        return scaler.transform(np.stack([vectors[row.text] for row in rows])) if rows else None

    scaler = StandardScaler().fit(np.stack([vectors[row.text] for row in dataset.train]))
    return Features(kind, matrix(dataset.train), matrix(dataset.validation), matrix(dataset.test))


def _fit_best(candidates: Sequence[Features], dataset: Dataset) -> Fitted:
    """Fit logistic regressions; keep the kind of features and the regularisation that are best on validation."""
    train, validation = (_targets(rows, dataset) for rows in (dataset.train, dataset.validation))
    num_labels, best, top = len(dataset.labels), None, (-1.0, 0.0)
    for features in candidates if len(validation) else candidates[:1]:
        for strength in STRENGTHS if len(validation) else (DEFAULT_STRENGTH,):
            model, score = _regress(features.train, train, strength=strength), (0.0, 0.0)
            if len(validation):
                score = _score(_predict(model, features.validation, num_labels=num_labels), validation)
            if score > top:
                chosen = f"{features.kind + ', ' if features.kind else ''}C = {strength:g}"
                best, top = (model, features, chosen), score
    assert best is not None, "every accuracy is above -1"
    model, features, chosen = best
    probabilities = _predict(model, features.test, num_labels=num_labels)
    num_parameters = int(model.coef_.size + model.intercept_.size)
    return Fitted(probabilities, num_parameters, chosen, top[0] if len(validation) else None)


def _score(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return (accuracy, log likelihood). The second decides between equal accuracies."""
    likelihood = np.log(probabilities[np.arange(len(targets)), targets].clip(min=1e-12)).mean()
    return float((probabilities.argmax(axis=1) == targets).mean()), float(likelihood)


def _regress(features: Any, targets: np.ndarray, *, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with weak regularisation it may stop early; validation decides
        return LogisticRegression(C=strength, max_iter=500).fit(features, targets)


def _predict(model: Any, features: Any, *, num_labels: int) -> np.ndarray:
    """Return the probability of every label; 0 for those that the training rows lack."""
    probabilities = np.zeros((features.shape[0], num_labels))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return probabilities


def _frozen_features(
    dataset: Dataset, *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> dict[str, dict[str, np.ndarray]]:
    """Return two vectors for each text, by kind: the state that the head reads, and the mean of the states of all tokens."""
    texts = list(dict.fromkeys(row.text for rows in (dataset.train, dataset.validation, dataset.test) for row in rows))
    task = tasks.get_task(settings.task).for_dataset(dataset, config=settings)
    base = loading.load_model(source, head_spec=task.head_spec)
    prepared_model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    if hardware.choose_precision(settings.training.precision, hardware=hardware.detect())[0] == "bfloat16":  # as the methods do
        prepared.use_bfloat16(prepared_model)
    longest = max_text_length(base.network.config, base.architecture)
    limit = defaults.default_max_length(
        settings, usual=task.default_max_length, longest=longest, prompt_tokens=0, choices=defaults.Decisions()
    )
    encoded = packing.encode_texts(
        base.origin.tokenizer, texts, limit=limit, keep_end=settings.data.truncation_side == "left", known=known
    )
    place = "the last token's state" if base.architecture.pooling == "last" else "the first token's state"
    vectors: dict[str, dict[str, np.ndarray]] = {place: {}, "the mean of all tokens' states": {}}
    with torch.inference_mode(), _HiddenStates(prepared_model) as states:
        for rows in packing.evaluation_batches(encoded.lengths, budget=EVALUATION_TOKENS):
            batch = packing.collate(encoded, rows)
            forward.compute_logits(prepared_model, batch.ids, batch.layout)
            pooled = _pooled(states.pop(), batch.layout, last=base.architecture.pooling == "last")
            for kind, values in zip(vectors.values(), pooled, strict=True):
                kind.update(zip((texts[row] for row in batch.rows), values.numpy(), strict=True))
    return vectors


class _HiddenStates:
    """Collects the output of the body of a network within a `with` block, one tensor per micro-batch."""

    def __init__(self, prepared_model: PreparedModel) -> None:
        self._body = prepared_model.network.get_submodule(prepared_model.architecture.body)

    def __enter__(self) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        self._hook = self._body.register_forward_hook(lambda module, args, out: found.append(out.last_hidden_state.float()))
        return found

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def _pooled(states: torch.Tensor, layout: PackedLayout, *, last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (state that the head reads, mean state), both of shape (texts, width). `states`: packed, or one row per text."""
    if states.shape[0] == 1:
        texts = list(states[0].split(list(layout.lengths)))
    else:
        texts = [row[:length] for row, length in zip(states, layout.lengths, strict=True)]
    assert [len(text) for text in texts] == list(layout.lengths), "the body returns the state of every token"
    return torch.stack([text[-1 if last else 0] for text in texts]), torch.stack([text.mean(dim=0) for text in texts])
