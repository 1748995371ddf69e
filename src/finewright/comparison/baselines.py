"""What is reached without training a weight of the model: the most frequent label, words alone, the frozen model's features."""

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from finewright.comparison.spec import BASELINES, FEATURES, MAJORITY, WORDS
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
from finewright.tasks import metrics

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation (scikit-learn's C) to choose from."""
UNCHOSEN = 1.0
"""What is taken where there are no validation rows to choose by."""


@dataclass(frozen=True)
class Fitted:
    """`shares`: probability of every label for every test row, shape (rows, labels)."""

    shares: np.ndarray
    num_parameters: int
    chosen: str
    validation_accuracy: float | None


@dataclass(frozen=True)
class Space:
    """Features of one kind, a matrix for each split that has rows."""

    kind: str
    train: Any
    validation: Any
    test: Any


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> dict[str, Any]:
    """Predictions for the test rows after training on each of `datasets`, by their names; JSON-ready.

    What has to be chosen is chosen on the validation rows, as the best step of a run is. `known`: token ids.
    """
    began = time.monotonic()
    largest = max(datasets.values(), key=lambda dataset: len(dataset.train))
    features = _frozen(largest, source=source, settings=settings, known=known) if name == FEATURES else {}
    seconds_once = time.monotonic() - began
    found = {}
    for size, dataset in datasets.items():
        began = time.monotonic()
        fitted = _fit(name, dataset, features=features)
        chosen = fitted.shares.argmax(axis=1)
        found[size] = {
            "predicted": [dataset.labels[pick] for pick in chosen],
            "probability": fitted.shares.max(axis=1).tolist(),
            "train_seconds": time.monotonic() - began + seconds_once,
            "parameters": fitted.num_parameters,
            "chosen": fitted.chosen,
            "validation_accuracy": fitted.validation_accuracy,
            "num_train": len(dataset.train),
        }
        found[size]["metrics"] = metrics.classification_metrics(
            fitted.shares, _targets(dataset.test, dataset), labels=dataset.labels
        )
    return {"baseline": name, "summary": BASELINES[name], "sizes": found}


def _targets(rows: Sequence[Example], dataset: Dataset) -> np.ndarray:
    numbers = {label: index for index, label in enumerate(dataset.labels)}
    return np.array([numbers[row.label] for row in rows], dtype=int)


def _fit(name: str, dataset: Dataset, *, features: Mapping[str, Mapping[str, np.ndarray]]) -> Fitted:
    if name == MAJORITY:
        return _majority(dataset)
    if name == WORDS:
        return _best([_words(dataset)], dataset)
    return _best([_standardised(kind, vectors, dataset) for kind, vectors in features.items()], dataset)


def _majority(dataset: Dataset) -> Fitted:
    counts = Counter(row.label for row in dataset.train)
    shares = np.array([counts[label] for label in dataset.labels]) / len(dataset.train)
    chosen = dataset.labels[int(shares.argmax())]
    validation = [row.label == chosen for row in dataset.validation]
    return Fitted(
        np.tile(shares, (len(dataset.test), 1)), 0, f"always {chosen}", float(np.mean(validation)) if validation else None
    )


def _words(dataset: Dataset) -> Space:
    """TF-IDF of words and of pairs of neighbours, of the training rows' vocabulary."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    train, validation, test = ([row.text for row in rows] for rows in (dataset.train, dataset.validation, dataset.test))
    try:
        seen = weigh.fit_transform(train)
    except ValueError as error:
        raise UserError(f"no words in the training texts: {error}", fix="this baseline wants letters or digits") from None
    return Space("", seen, weigh.transform(validation) if validation else None, weigh.transform(test))


def _standardised(kind: str, vectors: Mapping[str, np.ndarray], dataset: Dataset) -> Space:
    """Vectors of the texts with mean 0 and deviation 1 over the training rows."""
    from sklearn.preprocessing import StandardScaler

    def matrix(rows: Sequence[Example]) -> np.ndarray | None:
        return scale.transform(np.stack([vectors[row.text] for row in rows])) if rows else None

    scale = StandardScaler().fit(np.stack([vectors[row.text] for row in dataset.train]))
    return Space(kind, matrix(dataset.train), matrix(dataset.validation), matrix(dataset.test))


def _best(spaces: Sequence[Space], dataset: Dataset) -> Fitted:
    """The regression that does best on validation, over kinds of features and strengths of regularisation."""
    train, validation = (_targets(rows, dataset) for rows in (dataset.train, dataset.validation))
    num_labels, best, top = len(dataset.labels), None, (-1.0, 0.0)
    for space in spaces if len(validation) else spaces[:1]:
        for strength in STRENGTHS if len(validation) else (UNCHOSEN,):
            model = _regress(space.train, train, strength=strength)
            score = _score(_all_labels(model, space.validation, num_labels=num_labels), validation) if len(validation) else (0, 0)
            if score > top:
                told = f"{space.kind + ', ' if space.kind else ''}C = {strength:g}"
                best, top = (model, space, told), score
    assert best is not None, "a share that is right is above -1"
    model, space, told = best
    shares = _all_labels(model, space.test, num_labels=num_labels)
    num_parameters = int(model.coef_.size + model.intercept_.size)
    return Fitted(shares, num_parameters, told, top[0] if len(validation) else None)


def _score(shares: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """(share that is right, log likelihood): the second decides between equals."""
    likelihood = np.log(shares[np.arange(len(targets)), targets].clip(min=1e-12)).mean()
    return float((shares.argmax(axis=1) == targets).mean()), float(likelihood)


def _regress(features: Any, targets: np.ndarray, *, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weakly regularised one may stop short; validation judges it
        return LogisticRegression(C=strength, max_iter=500).fit(features, targets)


def _all_labels(model: Any, features: Any, *, num_labels: int) -> np.ndarray:
    shares = np.zeros((features.shape[0], num_labels))
    shares[:, model.classes_] = model.predict_proba(features)
    return shares


def _frozen(
    dataset: Dataset, *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> dict[str, dict[str, np.ndarray]]:
    """Two vectors of every text, by kind: the state that a head reads, and the mean of the states of all tokens."""
    texts = list(dict.fromkeys(row.text for rows in (dataset.train, dataset.validation, dataset.test) for row in rows))
    base = loading.load_model(source, labels=dataset.labels)
    prepared_model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    if hardware.choose_precision(settings.training.precision, hardware=hardware.detect())[0] == "bfloat16":  # as the ways do
        prepared.use_bfloat16(prepared_model)
    longest = max_text_length(base.network.config, base.architecture)
    limit = defaults.default_max_length(settings, longest=longest, prompt_tokens=0, choices=defaults.Decisions())
    encoded = packing.encode_texts(
        base.origin.tokenizer, texts, limit=limit, keep_end=settings.data.truncation_side == "left", known=known
    )
    place = "the last token's state" if base.architecture.pool == "last" else "the first token's state"
    vectors: dict[str, dict[str, np.ndarray]] = {place: {}, "the mean of all tokens' states": {}}
    with torch.inference_mode(), _states(prepared_model) as states:
        for rows in packing.evaluation_batches(encoded.lengths, budget=EVALUATION_TOKENS):
            batch = packing.collate(encoded, rows)
            forward.compute_logits(prepared_model, batch.ids, batch.layout)
            pooled = _pooled(states.pop(), batch.layout, last=base.architecture.pool == "last")
            for kind, values in zip(vectors.values(), pooled, strict=True):
                kind.update(zip((texts[row] for row in batch.rows), values.numpy(), strict=True))
    return vectors


class _states:
    """Collects what the body of a network hands to its head, one tensor a pass."""

    def __init__(self, prepared_model: PreparedModel) -> None:
        self._body = prepared_model.network.get_submodule(prepared_model.architecture.body)

    def __enter__(self) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        self._hook = self._body.register_forward_hook(lambda module, args, out: found.append(out.last_hidden_state.float()))
        return found

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def _pooled(states: torch.Tensor, layout: PackedLayout, *, last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(state at the head's place, mean state), both of shape (texts, width); `states`: packed, or one row a text."""
    if states.shape[0] == 1:
        texts = list(states[0].split(list(layout.lengths)))
    else:
        texts = [row[:length] for row, length in zip(states, layout.lengths, strict=True)]
    assert [len(text) for text in texts] == list(layout.lengths), "the body hands on the state of every token"
    return torch.stack([text[-1 if last else 0] for text in texts]), torch.stack([text.mean(dim=0) for text in texts])
