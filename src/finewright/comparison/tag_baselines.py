"""Measure the baselines for tags of words on every size of the training set."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.baselines import tagging
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison.baseline_sizes import measure_sizes
from finewright.comparison.schema import BaselineFile
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.data.tagged_tokens import TaggedText, describe_spans, find_spans
from finewright.models import hub
from finewright.tasks import entity_metrics

Tagged = tuple[list[list[str]], int, str]
"""Tags of the test rows, number of parameters, what was chosen."""


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Fit the baseline to each of `datasets`, and tag its test rows, see `measure_sizes`. None of them reads a model."""

    def fit(dataset: Dataset, _: FrozenEncoder | None) -> Tagged:
        tagger, num_parameters, chosen = tagging.fit_tagger(name, _tagged(dataset.train))
        return tagger(_tagged(dataset.test)), num_parameters, chosen

    return measure_sizes(name, datasets, source=source, settings=settings, known=known, fit=fit, describe=_describe)


def _describe(fitted: Tagged, dataset: Dataset) -> dict[str, Any]:
    """Return the entities of the test rows, with their scores and metrics."""
    tags, num_parameters, chosen = fitted
    test = _tagged(dataset.test)
    labelled = [list(row.tags) for row in test]
    return {
        "predicted": [_describe_tags(row, some) for row, some in zip(test, tags, strict=True)],
        "rows": [*range(len(test))],
        "scores": entity_metrics.score_texts(labelled, tags, labels=dataset.labels),
        "parameters": num_parameters,
        "chosen": chosen,
        "metrics": entity_metrics.measure_tags(labelled, tags, labels=dataset.labels),
    }


def _tagged(rows: Sequence[Example]) -> list[TaggedText]:
    return [row for row in rows if isinstance(row, TaggedText)]


def _describe_tags(row: TaggedText, tags: Sequence[str]) -> Any:
    spans = find_spans(row.words, tags)
    return describe_spans(row.text, spans) if spans or "O" in tags else " ".join(tags)
