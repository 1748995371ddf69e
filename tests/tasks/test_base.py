"""All other code is independent of the task: another task runs through the same loop, without what only some tasks allow."""

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import finewright
from finewright import tasks
from finewright.core import events
from finewright.core.errors import UserError
from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.inference import scoring
from finewright.models import acceleration, forward
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.measures import Metric
from finewright.tasks.text_classification import TextClassification
from finewright.training import loop
from support import tiny

SOURCE = Path(finewright.__file__).parent


class MeanError(Evaluation):
    """Stores two numbers for a split of any size."""

    def __init__(self, targets):
        self.targets, self.total, self.count, self.largest = np.asarray(targets), 0.0, 0, 0

    def update(self, rows, outputs):
        self.largest = max(self.largest, len(rows))
        self.total += float(np.abs(outputs[:, 0] - self.targets[list(rows)]).sum())
        self.count += len(rows)

    def metrics(self):
        error = self.total / self.count
        return {"error": error, "loss": error}

    def worst_mistakes(self, examples):
        return []

    def prediction_lines(self, examples):
        return []


@dataclass(frozen=True)
class Amount(Task):
    """A number for each text: no classes, no accuracy, no known first loss, lower is better."""

    name: ClassVar[str] = "amount"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    reads: ClassVar[str] = "pooled"
    columns: ClassVar[tuple[str, ...]] = ("text", "amount")
    metric: ClassVar[Metric] = Metric("error", higher_is_better=False)
    logged_metrics: ClassVar[tuple[str, ...]] = ("error", "loss")

    @classmethod
    def for_dataset(cls, dataset, *, config):
        return cls(())

    @classmethod
    def for_saved_model(cls, config):
        return cls(())

    @classmethod
    def assumed(cls, *, num_labels):
        return cls(())

    def targets(self, examples):
        return [int(example.label) for example in examples]

    def loss(self, output, targets):
        return ((output[:, 0] - targets) ** 2).sum()

    def weight(self, targets):
        return float(len(targets))

    @property
    def expected_first_loss(self):
        return None

    def start_evaluation(self, targets: Sequence[int]):
        return MeanError(targets)

    def predictions(self, texts, outputs):
        return [{"text": text, "value": float(value)} for text, value in zip(texts, outputs[:, 0], strict=True)]


TASK = Amount(())


def trained(*, num_steps=24):
    prepared_model, ids = tiny.prepared_model("gpt2", num_labels=1), tiny.texts([4, 6, 5, 7, 3, 8, 4, 5])
    prepared_model.trainable_module.requires_grad_(True)
    encoded = packing.EncodedSplit(ids, [len(one) for one in ids], [3, 1, 2, 0, 3, 1, 2, 0])
    updates = packing.schedule_updates(encoded.lengths, budget=24, gradient_accumulation_steps=1, seed=0, epochs=num_steps)
    schedule = loop.TrainingSchedule(
        steps=updates[:num_steps],
        lr=1e-3,
        warmup_ratio=0.0,
        lr_scheduler="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        evaluate_every=8,
        early_stopping_patience=0,
    )

    def evaluate():
        return scoring.evaluate_split(prepared_model, encoded, task=TASK).metrics()

    run_events = loop.train(
        prepared_model, encoded, task=TASK, schedule=schedule, evaluate=evaluate, places=[f"row {n}" for n in range(8)]
    )
    return list(run_events)


def test_a_task_without_classes_trains_in_the_same_loop():
    run_events = trained()
    losses = [event.result.loss for event in run_events if isinstance(event, events.StepCompleted)]
    assert losses[-1] < losses[0] / 2


def test_the_task_decides_which_evaluation_is_best():
    run_events = [event for event in trained() if isinstance(event, events.EvaluationCompleted)]
    assert len(run_events) >= 3
    best = math.inf
    for event in run_events:
        assert event.best == (event.metrics["error"] < best)
        best = min(best, event.metrics["error"])


def test_equal_evaluations_differ_by_a_clear_fall_of_the_loss():
    labels = TextClassification(("a", "b", "c", "d"))  # a fresh head has a loss of ln 4, and 1% of it is 0.0139
    best = {"accuracy": 1.0, "loss": 0.02}
    assert labels.is_better(best | {"loss": 0.006}, best)
    for loss in (0.007, 0.02, 0.03):
        assert not labels.is_better(best | {"loss": loss}, best)
    assert labels.is_better({"accuracy": 0.51, "loss": 2.0}, {"accuracy": 0.5, "loss": 1.0}), "the metric comes first"
    assert not labels.is_better({"accuracy": 0.49, "loss": 0.1}, {"accuracy": 0.5, "loss": 1.0})


def test_without_an_expected_first_loss_a_fall_is_a_share_of_the_best_loss():
    assert TASK.expected_first_loss is None
    best = {"error": 1.0, "loss": 100.0}
    assert TASK.is_better(best | {"loss": 99.0}, best)
    assert not TASK.is_better(best | {"loss": 99.1}, best)
    assert not TASK.is_better({"error": 1.0, "loss": 0.0}, {"error": 1.0, "loss": 0.0})


def test_ties_are_broken_by_the_loss():
    assert TASK.is_better({"error": 1.0, "loss": 2.0}, {"error": 1.0, "loss": 3.0})
    assert not TASK.is_better({"error": 1.0, "loss": 3.0}, {"error": 1.0, "loss": 3.0})
    assert TASK.is_better({"error": 0.5, "loss": 9.0}, {"error": 1.0, "loss": 3.0})


def test_an_evaluation_is_fed_batch_by_batch(monkeypatch):
    """So a task can store two numbers instead of all outputs."""
    monkeypatch.setattr(scoring, "EVALUATION_TOKENS", 12)
    prepared_model, ids = tiny.prepared_model("gpt2", num_labels=1), tiny.texts([6] * 8)
    evaluation = scoring.evaluate_split(prepared_model, packing.EncodedSplit(ids, [6] * 8, [0] * 8), task=TASK)
    assert (evaluation.count, evaluation.largest) == (8, 2)


def test_the_weight_of_an_update_needs_no_forward_pass_and_no_classes():
    assert TASK.weight(torch.tensor([1, 0, 2])) == 3.0


def test_a_task_that_reads_every_token_gets_the_whole_last_layer():
    """With one token per text computed, the task would read placeholders for the others without an error."""
    whole, plain = tiny.prepared_model("gpt2"), tiny.prepared_model("gpt2")
    whole.runtime.reads = "every-token"
    acceleration.accelerate(whole)
    assert whole.runtime.pooled_last_layer is None
    ids, layout = torch.arange(7), PackedLayout((3, 4))
    with torch.no_grad():
        every_TC = forward.compute_logits(whole, ids, layout)
        pooled_NC = forward.compute_logits(plain, ids, layout)
    assert every_TC.shape == (7, 3)
    torch.testing.assert_close(every_TC[[2, 6]], pooled_NC, atol=1e-5, rtol=0)


def test_the_folder_is_the_registry():
    assert tasks.task_names() == [
        "multi-label-classification",
        "preference",
        "regression",
        "text-classification",
        "text-generation",
        "token-classification",
    ]
    assert tasks.get_task("text-classification").name == "text-classification"
    with pytest.raises(UserError, match=r"unknown task 'text-clasification'\n.*did you mean 'text-classification'\?"):
        tasks.get_task("text-clasification")


@pytest.mark.parametrize("name", tasks.task_names())
def test_a_task_has_a_name_a_metric_and_the_states_it_reads(name):
    task = tasks.get_task(name)
    assert task.name == name
    assert {task.metric.name, "loss"} <= set(task.logged_metrics)
    assert task.reads in ("pooled", "every-token", "next-token")


@pytest.mark.parametrize("package", ["training", "runs", "planning", "inference"])
def test_other_packages_import_no_single_task(package):
    for path in (SOURCE / package).rglob("*.py"):
        names = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        single = r"finewright\.tasks\.(?!base|card_words|evaluation|head_weights|measures)\w+"
        assert not [name for name in names if name and re.fullmatch(single, name)], path.name


def test_each_task_says_what_its_metrics_are_about():
    measures = {name: tasks.get_task(name).measures for name in tasks.task_names()}
    assert measures["text-classification"] == "labels"
    assert measures["multi-label-classification"] == "label-sets"
    assert measures["regression"] == "numbers"
    assert measures["token-classification"] == "tags"
    assert {measures["text-generation"], measures["preference"]} == {"values"}
    assert [name for name in tasks.task_names() if tasks.get_task(name).predicts_numbers] == ["regression"]
