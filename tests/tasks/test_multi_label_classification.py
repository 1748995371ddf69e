"""Several labels per text: the loss of transformers, weights that keep the first loss, predictions, methods that are refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finewright import methods
from finewright.core.config import RunConfig, build_options
from finewright.core.errors import UserError
from finewright.data.dataset import Dataset
from finewright.data.multi_label_rows import make_row
from finewright.planning.candidates import methods_for_task
from finewright.tasks.multi_label_classification import MultiLabelClassification

LABELS = ("a", "b", "c")
ROWS = [make_row(f"text {number}", own, f"x:{number}") for number, own in enumerate([("a",), ("a", "b"), (), ("c",)] * 5)]


def build(**training):
    dataset = Dataset(ROWS, [], [], LABELS, "text", [], "", row_kind="multi-label")
    return MultiLabelClassification.for_dataset(dataset, config=build_options(RunConfig, {"training": training}))


def test_targets_are_one_for_each_label_of_the_row():
    targets = build().targets(ROWS[:4])
    assert targets == [(1, 0, 0), (1, 1, 0), (0, 0, 0), (0, 0, 1)]
    every = build().targets(ROWS)
    assert every[0] is every[4], "equal rows share their target, so that many labels take little memory"


def test_the_mean_loss_is_that_of_transformers():
    task, dice = build(), torch.Generator().manual_seed(0)
    scores, targets = torch.randn(4, 3, generator=dice), torch.tensor(task.targets(ROWS[:4]))
    own = task.loss(scores, targets) / task.weight(targets)
    torch.testing.assert_close(own, torch.nn.BCEWithLogitsLoss()(scores, targets))
    assert float(task.loss(torch.zeros(4, 3), targets)) / task.weight(targets) == pytest.approx(math.log(2))
    assert task.expected_first_loss == pytest.approx(math.log(2))


def test_balanced_weights_make_both_sides_of_each_label_count_alike_and_keep_the_first_loss():
    task = build(class_weights="balanced")
    assert task.class_weights == ((20 / 20, 20 / 20), (20 / 30, 20 / 10), (20 / 30, 20 / 10))
    targets = torch.tensor(task.targets(ROWS))
    assert task.weight(targets) == pytest.approx(20)
    assert float(task.loss(torch.zeros(20, 3), targets)) / task.weight(targets) == pytest.approx(math.log(2))
    scores = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, targets, weight=torch.where(targets > 0, *(torch.tensor(task.class_weights).T.flip(0)))
    )
    torch.testing.assert_close(task.loss(scores, targets) / task.weight(targets), expected)


def test_predictions_are_the_labels_at_or_above_their_threshold_the_most_probable_first():
    task = build().with_thresholds((0.5, 0.2, 0.9))
    (one, none) = task.predictions(["x", "y"], np.array([[0.1, 3.0, 2.0], [-1.0, -9.0, -1.0]], dtype=np.float32))
    assert one["labels"] == ["b", "a"]
    assert one["probabilities"]["c"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert none["labels"] == []
    assert task.empty_prediction("") == {"text": "", "labels": None, "probabilities": {}}


def test_lines_of_predictions_give_the_rows_again():
    task = build()
    evaluation = task.start_evaluation(task.targets(ROWS[:4]))
    evaluation.update(range(4), np.array([[3, -3, -3], [3, -3, -3], [-3, -3, -3], [3, -3, -3]], dtype=np.float32))
    lines = evaluation.prediction_lines(ROWS[:4])
    assert [line["score"] for line in lines] == pytest.approx([1, 2 / 3, 1, 0])
    assert [line["right"] for line in lines] == [True, False, True, False]
    assert [(line["label"], line["predicted"]) for line in lines][1] == ("a|b", "a")
    assert [task.example_from_line(line) for line in lines] == ROWS[:4]
    assert task.row_scores(lines) == [line["score"] for line in lines]
    assert [line["text"] for line in evaluation.worst_mistakes(ROWS[:4])] == ["text 3", "text 1"]


def test_a_method_that_draws_texts_of_one_label_together_is_refused():
    kinds = [kind() for kind in methods.methods_by_preference()]
    left = [method.name() for method in methods_for_task(kinds, MultiLabelClassification)]
    assert "contrastive" not in left
    assert {"full", "lora", "freeze", "prompt", "scratch"} <= {*left}
    (contrastive,) = (method for method in kinds if method.objective == "pairs")
    with pytest.raises(
        UserError, match="draws texts of one label together, and multi-label-classification has no one label for each text"
    ):
        methods_for_task([contrastive], MultiLabelClassification)


def test_a_saved_config_gives_the_labels_in_order():
    task = MultiLabelClassification.for_saved_model(SimpleNamespace(id2label={1: "b", 0: "a"}))
    assert (task.labels, task.thresholds) == (("a", "b"), (0.5, 0.5))
