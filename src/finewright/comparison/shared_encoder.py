"""The frozen model whose states a baseline reads, with the states of all texts of a comparison computed once."""

from collections.abc import Mapping

from finewright import baselines, tasks
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison.spec import FEATURES
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.text_pairs import input_of
from finewright.models import hub


def load_encoder(
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
