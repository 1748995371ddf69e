"""First weights of a head, and how certain it is of the rows that it was fitted to."""

import numpy as np
import pytest

from finewright.tasks.head_weights import HeadWeights, find_softness
from finewright.tasks.multi_label_classification import MultiLabelClassification
from finewright.tasks.text_classification import TextClassification

LABELS = ("a", "b", "c")


def made(num_rows, *, seed=0, num_features=60, shift=2.5):
    """Features of noise; in the one of its label a row has `shift` more."""
    dice = np.random.default_rng(seed)
    targets = np.arange(num_rows) % len(LABELS)
    features = dice.normal(size=(num_rows, num_features))
    features[np.arange(num_rows), targets] += shift
    return features.astype(np.float32), targets


def loss(scores, targets):
    scores = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(targets)), targets]).mean())


def test_a_softened_head_has_the_loss_of_other_rows_and_decides_as_before():
    features, targets = made(45)
    others, other_targets = made(3000, seed=1)
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=True)
    soft = head.soften()
    known, softer, unseen = (
        loss(head.scores(features), targets),
        loss(soft.scores(features), targets),
        loss(head.scores(others), other_targets),
    )
    assert known < 0.2 * softer, "45 rows of 60 features: it knows them all"
    assert softer == pytest.approx(unseen, rel=0.4)
    assert (soft.scores(others).argmax(axis=1) == head.scores(others).argmax(axis=1)).all()
    assert soft.softness == 1.0, "it is soft already"


def test_with_many_rows_little_is_left_to_soften():
    features, targets = made(3000)
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=False)
    assert loss(head.soften().scores(features), targets) < loss(head.scores(features), targets) + 0.1
    several = np.eye(len(LABELS))[targets].tolist()
    task = MultiLabelClassification(LABELS)
    assert task.fit_head(features[:45], several[:45], has_bias=True).softness < 0.5
    assert task.fit_head(features, several, has_bias=True).softness > 0.6


@pytest.mark.parametrize("weights", [None, (1.0, 1.0, 1.0, 25.0)])
def test_the_only_row_of_a_label_does_not_soften_the_head_of_all_others(weights):
    """Left out, nothing knows its label: that is no uncertainty of the features."""
    features, targets = made(90, shift=4.0)
    plain = TextClassification(LABELS).fit_head(features, targets, has_bias=True).softness
    targets[40] = 3
    assert TextClassification((*LABELS, "d"), weights).fit_head(features, targets, has_bias=True).softness > 0.9 * plain


def test_of_two_labels_one_with_a_single_row_leaves_the_head_certain():
    features, _ = made(90, shift=0.0)
    targets = np.arange(90) // 89
    features[:, 0] += 20.0 * targets
    assert TextClassification(("a", "b")).fit_head(features, targets, has_bias=True).softness > 0.9


def test_the_factor_lies_where_the_losses_meet():
    assert find_softness(lambda factor: 1.0 - 0.8 * factor, held_out_loss=0.6) == pytest.approx(0.5)
    assert find_softness(lambda factor: 1.0 - 0.8 * factor, held_out_loss=0.1) == 1.0, "never harder"
    assert find_softness(lambda factor: 1.0 - 0.8 * factor, held_out_loss=30.0) == pytest.approx(0.125), "of guessing 0.9"


def test_a_head_without_a_bias_is_softened_too():
    head = HeadWeights(np.ones((2, 3), np.float32), None, 1.0, softness=0.5)
    assert (head.soften().weight == 0.5).all()
    assert head.soften().bias is None
