"""A baseline on every size of the training set: fitted, timed, described; a frozen model computes the states of texts once."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from finewright import baselines, tasks
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.comparison.spec import FEATURES
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.text_pairs import input_of
from finewright.models import hub

Fitted = TypeVar("Fitted")


def measure_sizes(  # noqa: PLR0913  what every `measure` gets, and its two functions
    name: str,
    datasets: Mapping[str, Dataset],
    *,
    source: hub.ModelSource,
    settings: RunConfig,
    known: dict[str, list[int]],
    fit: Callable[[Dataset, FrozenEncoder | None], Fitted],
    describe: Callable[[Fitted, Dataset], dict[str, Any]],
) -> BaselineFile:
    """Fit on each of `datasets` and predict its test rows, timed with what is loaded once; `describe` returns the result's rest.

    `known`: token ids by text.
    """
    began = time.monotonic()
    encoder = _load_encoder(name, datasets, source=source, settings=settings, known=known)
    seconds_once = time.monotonic() - began
    found = {}
    for size, dataset in datasets.items():
        began = time.monotonic()
        fitted = fit(dataset, encoder)
        seconds = time.monotonic() - began + seconds_once
        result = {"train_seconds": seconds, "num_train": len(dataset.train), **describe(fitted, dataset)}
        found[size] = BaselineResult.model_validate(result)
    return BaselineFile(sizes=found)


def _load_encoder(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> FrozenEncoder | None:
    """Return the encoder with the states of all texts of the largest of `datasets`; None for a baseline that reads no model.

    `known`: token ids by text.
    """
    if name != FEATURES:
        return None
    assert baselines.get_baseline(name).reads_model
    largest = max(datasets.values(), key=lambda dataset: len(dataset.train))
    task = tasks.get_task(settings.task).for_dataset(largest, config=settings)
    encoder = FrozenEncoder.for_task(source, task=task, settings=settings, known=known)
    encoder.remember([input_of(row) for rows in (largest.train, largest.validation, largest.test) for row in rows])
    return encoder
