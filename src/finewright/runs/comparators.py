"""Baselines that the result of a run is compared with, measured on its own test rows."""

from typing import Any, Literal

import numpy as np

from finewright import baselines
from finewright.baselines import majority, tagging
from finewright.baselines.predictor import BaselinePredictor
from finewright.core.errors import UserError
from finewright.data.dataset import Dataset
from finewright.data.tagged_tokens import TaggedText
from finewright.data.text_pairs import input_of
from finewright.tasks import entity_metrics
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation

QUICK = "bag-of-words"
"""The baseline that is fitted beside every run, if that is quick."""
MOST_TAGGED = 60_000
"""Training words times tags up to which the regression on words in a window is fitted. At 36,000 it took 1.5 s of a core."""
MOST_WORK = 1_000_000
"""Characters of the training texts times labels up to which it is fitted. At this size 2.5 s of one core were measured."""


def measure_comparators(dataset: Dataset, task: Task, *, wanted: Literal["auto", "off"]) -> dict[str, dict[str, Any]]:
    """Return the metrics of each baseline on the test rows, by name; empty without test rows or labels.

    With `off` there is the most frequent label alone. Whether the other one is fitted depends on the size of the data, not on
    the machine. No random number is drawn.
    """
    if not task.labels or not dataset.test:
        return {}
    if not task.labels_texts:
        return _measure_taggers(dataset, task, wanted=wanted)
    found = {majority.NAME: measure_majority(dataset, task).metrics()}
    if wanted == "auto" and is_quick(dataset):
        found[QUICK] = _measure_quick(dataset, task)
    return {name: metrics for name, metrics in found.items() if metrics}


def measure_majority(dataset: Dataset, task: Task) -> Evaluation:
    """Return the evaluation of the test rows if each gets the most frequent label, or exactly the most frequent labels."""
    frequencies = majority.label_frequencies(dataset)
    if task.predicts_one_label:
        outputs = np.log(frequencies.clip(min=1e-30)).astype(np.float32)
    else:
        outputs = np.log(frequencies.clip(1e-6, 1 - 1e-6) / (1 - frequencies.clip(1e-6, 1 - 1e-6))).astype(np.float32)
        always = majority.most_frequent_set(dataset)
        task = task.with_thresholds([0.0 if label in always else 1.0 for label in task.labels])
    targets = task.targets(dataset.test)
    evaluation = task.start_evaluation(targets)
    evaluation.update(range(len(targets)), np.tile(outputs, (len(targets), 1)))
    return evaluation


def is_quick(dataset: Dataset) -> bool:
    """Whether the bag of words is fitted quickly enough to do it beside every run."""
    return sum(len(row.text) for row in dataset.train) * len(dataset.labels) <= MOST_WORK


def _measure_quick(dataset: Dataset, task: Task) -> dict[str, Any]:
    """Return its metrics on the test rows; empty if there is no word in the training texts."""
    try:
        fitted = baselines.build_baseline(QUICK, {}).fit(dataset, task=task.name)
    except UserError:  # texts without a word: a language model may read them
        return {}
    predictor = BaselinePredictor(fitted.model, task=task)
    if task.fits_thresholds and dataset.validation:
        outputs = predictor.score([input_of(row) for row in dataset.validation])
        predictor = BaselinePredictor(fitted.model, task=task.fit_thresholds(outputs, task.targets(dataset.validation)))
    return predictor.evaluate(dataset.test).evaluation.metrics()


def _measure_taggers(dataset: Dataset, task: Task, *, wanted: Literal["auto", "off"]) -> dict[str, dict[str, Any]]:
    """Return the decisive metric of each baseline for tags of words, with its interval."""
    train, test = ([row for row in rows if isinstance(row, TaggedText)] for rows in (dataset.train, dataset.test))
    num_words = sum(len(row.words) for row in train)
    is_quick_too = wanted == "auto" and num_words * len(task.labels) <= MOST_TAGGED
    found = {}
    for name in (tagging.WORD_TAGS, *([tagging.WINDOW] if is_quick_too else [])):
        predicted = tagging.fit_tagger(name, train)[0](test)
        measured = entity_metrics.measure_tags([row.tags for row in test], predicted, labels=task.labels)
        metric = task.decisive_metric(measured).name
        found[name] = {"metric": metric, "value": measured[metric], "ci95": measured[f"{metric}_ci95"]}
    return found
