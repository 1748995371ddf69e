"""Measure the baselines for tags of words on every size of the training set."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from finewright.baselines import tagging
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.data.tagged_tokens import TaggedText, describe_spans, find_spans
from finewright.models import hub
from finewright.tasks import entity_metrics


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Fit the baseline to each of `datasets`, and tag its test rows. No model is read: `source` and `known` are not used."""
    found = {}
    for size, dataset in datasets.items():
        began = time.monotonic()
        tagger, num_parameters, chosen = tagging.fit_tagger(name, _tagged(dataset.train))
        test = _tagged(dataset.test)
        tags = tagger(test)
        seconds = time.monotonic() - began
        labelled = [list(row.tags) for row in test]
        found[size] = BaselineResult.model_validate(
            {
                "predicted": [_describe(row, some) for row, some in zip(test, tags, strict=True)],
                "rows": [*range(len(test))],
                "scores": entity_metrics.score_texts(labelled, tags, labels=dataset.labels),
                "train_seconds": seconds,
                "parameters": num_parameters,
                "chosen": chosen,
                "num_train": len(dataset.train),
                "metrics": entity_metrics.measure_tags(labelled, tags, labels=dataset.labels),
            }
        )
    return BaselineFile(sizes=found)


def _tagged(rows: Sequence[Example]) -> list[TaggedText]:
    return [row for row in rows if isinstance(row, TaggedText)]


def _describe(row: TaggedText, tags: Sequence[str]) -> Any:
    spans = find_spans(row.words, tags)
    return describe_spans(row.text, spans) if spans or "O" in tags else " ".join(tags)
