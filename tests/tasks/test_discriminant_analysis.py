"""A head by linear discriminant analysis: what it predicts, without a bias too, and when there is none."""

import numpy as np
import pytest

from finewright.tasks import discriminant_analysis, logistic_regression, text_classification
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.text_classification import TextClassification


def clusters(num_labels=40, per_label=12, num_features=24, *, noise=1.0, seed=0):
    """Features around a mean of each label, seen through one matrix, far from 0; and the labels. Even rows are for training."""
    dice = np.random.default_rng(seed)
    targets_N = np.repeat(np.arange(num_labels), per_label)
    means_CF = dice.normal(size=(num_labels, num_features))
    found_NF = means_CF[targets_N] + noise * dice.normal(size=(len(targets_N), num_features))
    found_NF = found_NF @ dice.normal(size=(num_features, num_features)) + 5 * dice.normal(size=num_features)
    return found_NF.astype(np.float32), targets_N


def accuracy(head, features_NF, targets_N):
    return float((head.scores(features_NF).argmax(axis=1) == targets_N).mean())


@pytest.mark.parametrize("has_bias", [True, False])
def test_it_is_as_good_as_a_regression_on_rows_it_has_not_seen(has_bias):
    features_NF, targets_N = clusters()
    train, test = slice(0, None, 2), slice(1, None, 2)
    how = {"num_labels": 40, "weights": None, "has_bias": has_bias}
    head = discriminant_analysis.fit_head(features_NF[train], targets_N[train], **how)
    other = logistic_regression.fit_head(features_NF[train], targets_N[train], **how)
    assert accuracy(head, features_NF[test], targets_N[test]) >= accuracy(other, features_NF[test], targets_N[test]) - 0.02 > 0.5
    assert (head.bias is not None) == has_bias
    assert head.weight.shape == (40, 24)
    assert head.weight.dtype == np.float32


def test_its_scores_are_log_probabilities_that_agree_with_how_often_they_are_right():
    features_NF, targets_N = clusters(num_labels=10, per_label=200, num_features=8, noise=1.5)
    head = discriminant_analysis.fit_head(features_NF[::2], targets_N[::2], num_labels=10, weights=None, has_bias=True)
    scores_NC = head.scores(features_NF[1::2])
    shares_NC = np.exp(scores_NC - scores_NC.max(axis=1, keepdims=True))
    shares_NC /= shares_NC.sum(axis=1, keepdims=True)
    right = float((shares_NC.argmax(axis=1) == targets_N[1::2]).mean())
    assert float(shares_NC.max(axis=1).mean()) == pytest.approx(right, abs=0.04)


def test_two_labels_and_weights_of_rows():
    features_NF, targets_N = clusters(num_labels=2, per_label=60, num_features=4, noise=1.0)
    weights_N = np.where(targets_N == 0, 9.0, 1.0)
    equal, weighted = (
        discriminant_analysis.fit_head(features_NF, targets_N, num_labels=2, weights=one, has_bias=True)
        for one in (None, weights_N)
    )
    first = [int((head.scores(features_NF).argmax(axis=1) == 0).sum()) for head in (equal, weighted)]
    assert first[1] > first[0]
    assert accuracy(equal, features_NF, targets_N) > 0.7


def test_few_rows_of_each_label_are_enough_and_one_is_not():
    features_NF, targets_N = clusters(num_labels=30, per_label=2, noise=0.3)
    head = discriminant_analysis.fit_head(features_NF, targets_N, num_labels=30, weights=None, has_bias=False)
    assert accuracy(head, features_NF, targets_N) > 0.9
    with pytest.raises(HeadNotFitted, match="more than one row"):
        discriminant_analysis.fit_head(features_NF[::2], targets_N[::2], num_labels=30, weights=None, has_bias=False)


def test_there_is_none_for_features_that_are_not_finite_or_a_label_without_a_row():
    features_NF, targets_N = clusters(num_labels=5)
    with pytest.raises(HeadNotFitted, match="not all finite"):
        discriminant_analysis.fit_head(features_NF * np.nan, targets_N, num_labels=5, weights=None, has_bias=True)
    with pytest.raises(HeadNotFitted, match="every label"):
        discriminant_analysis.fit_head(features_NF, targets_N, num_labels=6, weights=None, has_bias=True)


def test_very_many_labels_take_it_in_place_of_a_regression(monkeypatch):
    features_NF, targets_N = clusters(num_labels=3)
    task = TextClassification(("a", "b", "c"))
    regression = task.fit_head(features_NF, targets_N.tolist(), has_bias=True)
    monkeypatch.setattr(text_classification, "MOST_REGRESSION_WORK", 0)
    analysis = task.fit_head(features_NF, targets_N.tolist(), has_bias=True)
    assert not np.allclose(regression.weight, analysis.weight)
    assert accuracy(analysis, features_NF, targets_N) > 0.9


def test_the_loss_of_rows_left_out_has_the_class_weights_as_that_of_the_training_rows(monkeypatch):
    features_NF, targets_N = clusters(num_labels=10, per_label=40)
    features_NF[targets_N == 0] = features_NF[::10][:40]  # rows of all labels: the first one cannot be told
    seen = []
    monkeypatch.setattr(discriminant_analysis, "find_softness", lambda _, *, held_out_loss: seen.append(held_out_loss) or 1.0)
    for weight in (1.0, 20.0):
        weights_N = np.where(targets_N == 0, weight, 1.0)
        discriminant_analysis.fit_head(features_NF, targets_N, num_labels=10, weights=weights_N, has_bias=True)
    assert seen[1] > 1.3 * seen[0]


def test_softness_does_not_depend_on_the_order_of_many_rows(monkeypatch):
    """A file may be in order of its labels, and some of its rows stand for all."""
    monkeypatch.setattr(discriminant_analysis, "MOST_HELD_OUT", 60)
    features_NF, targets_N = clusters(num_labels=6, per_label=50, noise=0.3)
    dice = np.random.default_rng(1)
    features_NF[targets_N > 0] += 2 * dice.normal(size=(250, 24)).astype(np.float32)  # the rows of the first label are easy
    mixed = dice.permutation(len(targets_N))
    found = [
        discriminant_analysis.fit_head(features_NF[rows], targets_N[rows], num_labels=6, weights=None, has_bias=True).softness
        for rows in (np.arange(len(targets_N)), mixed)
    ]
    assert found[0] == pytest.approx(found[1], rel=0.05)


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_are_those_of_scikit_learn(weighted):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    random = np.random.default_rng(0)
    targets = random.integers(0, 7, 300)
    features = random.normal(size=(300, 20)) + 2 * np.eye(20)[targets]
    weights = random.random(7)[targets] if weighted else None
    priors = np.bincount(targets, weights=weights)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=priors / priors.sum()).fit(features, targets)
    weight_CF, bias_C = discriminant_analysis._Spread.measure(features, targets, weights=weights).solve(0.3)
    np.testing.assert_allclose(weight_CF, analysis.coef_, atol=1e-10)
    np.testing.assert_allclose(bias_C, analysis.intercept_, atol=1e-10)
