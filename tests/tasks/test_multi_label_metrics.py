"""Metrics of sets of labels are scikit-learn's; the interval of micro F1 holds the truth as often as it says."""

import numpy as np
import pytest
from sklearn import metrics

from finewright.tasks import multi_label_metrics

LABELS = ("a", "b", "c", "d")


def draw(num_rows=120, *, seed=0):
    dice = np.random.default_rng(seed)
    targets = (dice.random((num_rows, 4)) < (0.5, 0.3, 0.1, 0.0)).astype(np.uint8)
    scores = (targets * 2.0 - 1 + dice.normal(size=targets.shape) * 1.2).astype(np.float32)
    return scores, targets


def test_they_are_scikit_learn_s():
    scores, targets = draw()
    thresholds = np.array([0.5, 0.3, 0.6, 0.5])
    found = multi_label_metrics.measure(scores, targets, labels=LABELS, thresholds=thresholds.tolist())
    said = (multi_label_metrics.sigmoid(scores) >= thresholds).astype(int)
    for name in ("micro", "samples"):
        assert found[f"{name}_f1"] == pytest.approx(metrics.f1_score(targets, said, average=name, zero_division=1.0))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(targets, said, average=None, zero_division=np.nan).mean())
    assert found["subset_accuracy"] == pytest.approx(metrics.accuracy_score(targets, said))
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(targets, said))
    own = metrics.average_precision_score(targets[:, :3], scores[:, :3], average="macro")
    assert found["average_precision"] == pytest.approx(own)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(targets, said, zero_division=0)
    for index, label in enumerate(LABELS):
        one = found["per_label"][label]
        assert (one["precision"], one["recall"], one["f1"]) == pytest.approx((precision[index], recall[index], f1[index]))
        assert (one["num_rows"], one["threshold"]) == (support[index], thresholds[index])
    assert found["per_label"]["d"]["average_precision"] is None
    losses = [
        metrics.log_loss(targets[:, label], multi_label_metrics.sigmoid(scores)[:, label], labels=[0, 1]) for label in range(4)
    ]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_text_without_a_label_that_gets_none_is_right():
    none = np.zeros((3, 2), dtype=np.uint8)
    found = multi_label_metrics.measure(np.full((3, 2), -5.0), none, labels=("a", "b"), thresholds=(0.5, 0.5))
    assert (found["micro_f1"], found["samples_f1"], found["macro_f1"], found["subset_accuracy"]) == (1, 1, 1, 1)
    assert found["micro_f1_ci95"][0] < 1
    with pytest.raises(ValueError, match="no rows"):
        multi_label_metrics.measure(none[:0] * 1.0, none[:0], labels=("a", "b"), thresholds=(0.5, 0.5))


def test_the_interval_of_micro_f1_holds_the_truth_about_as_often_as_it_says():
    scores, targets = draw(20_000, seed=9)
    has, said = targets > 0, scores > 0
    truth = 2 * (has & said).sum() / (has.sum() + said.sum())
    dice, held = np.random.default_rng(0), 0
    for _ in range(400):
        rows = dice.integers(0, len(has), 100)
        low, high = multi_label_metrics.micro_f1_interval(has[rows], said[rows])
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.98
