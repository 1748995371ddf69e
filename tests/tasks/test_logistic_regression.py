"""A head that is fitted to features: its scores are the decisions of a regression on scaled features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from finewright.tasks import logistic_regression
from finewright.tasks.calibration import compute_probabilities
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.text_classification import TextClassification

LABELS = ("a", "b", "c")


def made(num_rows=90, *, num_labels=3, width=12, seed=0):
    """Features that tell the label, far from 0 and of very different sizes, and the targets."""
    rng = np.random.default_rng(seed)
    targets = np.arange(num_rows) % num_labels
    centers = rng.normal(size=(num_labels, width))
    features = (centers[targets] + rng.normal(size=(num_rows, width))) * np.logspace(-1, 2, width) + 5
    return features.astype(np.float32), targets


def scaled(features, *, center):
    """The features over their spread, each square of which is shrunk towards the mean of all by N / (N + F)."""
    features = features.astype(np.float64)
    own = len(features) / sum(features.shape)
    variance = own * features.var(axis=0) + (1 - own) * features.var(axis=0).mean()
    return (features - features.mean(axis=0) if center else features) / np.sqrt(variance)


def loss(scores, targets):
    return -np.log(compute_probabilities(scores)[np.arange(len(targets)), targets]).mean()


def test_with_a_bias_the_scores_are_those_of_a_standardised_regression():
    features, targets = made()
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=True)
    assert head.strength in logistic_regression.PROBE_STRENGTHS
    seen = scaled(features, center=True)
    known = LogisticRegression(C=head.strength, max_iter=500).fit(seen, targets)
    assert head.scores(features) == pytest.approx(known.decision_function(seen), abs=5e-3)
    assert (head.weight.dtype, head.weight.shape, head.bias.shape) == (np.float32, (3, 12), (3,))


def test_without_a_bias_features_are_scaled_and_not_centred():
    features, targets = made()
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=False)
    assert head.bias is None
    seen = scaled(features, center=False)
    known = LogisticRegression(C=head.strength, max_iter=500, fit_intercept=False).fit(seen, targets)
    assert head.scores(features) == pytest.approx(known.decision_function(seen), abs=0.02)


@pytest.mark.parametrize("has_bias", [True, False])
def test_two_labels_have_two_outputs_with_the_probabilities_of_one_decision(has_bias):
    features, targets = made(num_labels=2)
    head = TextClassification(("a", "b")).fit_head(features, targets, has_bias=has_bias)
    assert head.weight.shape == (2, 12)
    assert head.weight[0] == pytest.approx(-head.weight[1])
    seen = scaled(features, center=has_bias)
    known = LogisticRegression(C=head.strength, max_iter=500, fit_intercept=has_bias).fit(seen, targets)
    assert compute_probabilities(head.scores(features)) == pytest.approx(known.predict_proba(seen), abs=2e-3)


def test_noise_is_regularised_more_than_what_tells_the_label():
    features, targets = made(width=4, num_rows=300)
    noise = np.random.default_rng(1).normal(size=(300, 40)).astype(np.float32)
    task = TextClassification(LABELS)
    assert task.fit_head(noise, targets, has_bias=True).strength < task.fit_head(features, targets, has_bias=True).strength


def test_class_weights_move_the_head_towards_rare_labels():
    features, _ = made(120)
    targets = np.array([0] * 100 + [1] * 10 + [2] * 10)
    plain = TextClassification(LABELS).fit_head(features, targets, has_bias=True)
    balanced = TextClassification(LABELS, (0.4, 4.0, 4.0)).fit_head(features, targets, has_bias=True)
    found = [compute_probabilities(head.scores(features)).mean(axis=0)[0] for head in (plain, balanced)]
    assert found[1] < 0.5 < found[0]


def test_a_label_with_one_row_is_fitted_too():
    features, targets = made(40, num_labels=2)
    targets[7] = 2
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=True)
    assert loss(head.scores(features), targets) < np.log(3)


@pytest.mark.parametrize("has_bias", [True, False])
def test_constant_features_give_the_shares_of_the_labels(has_bias):
    targets = np.array([0] * 20 + [1] * 10 + [2] * 10)
    features = np.full((40, 5), 3.0, dtype=np.float32)
    features[:, 0] = 0
    head = TextClassification(LABELS).fit_head(features, targets, has_bias=has_bias)
    slack = 0.01 if has_bias else 0.2  # weights are regularised towards equal shares, a bias is not
    assert compute_probabilities(head.scores(features))[0] == pytest.approx([0.5, 0.25, 0.25], abs=slack)


def test_the_lowest_strength_within_one_standard_error_is_taken(monkeypatch):
    """Rows that are left out decide, but a difference that is noise does not raise C."""
    targets = np.zeros(100, dtype=int)
    likelihoods = {
        0.001: np.full(100, -2.0),
        0.003: np.tile([-1.5, -0.7], 50),  # on average 0.1 below the best, the standard error is 0.04
        0.01: np.tile([-1.42, -0.62], 50),  # 0.02 below it
        0.03: np.full(100, -1.0),
    }
    monkeypatch.setattr(logistic_regression, "PROBE_STRENGTHS", tuple(likelihoods))
    monkeypatch.setattr(logistic_regression, "cross_validate", lambda *_, strength, **__: strength)
    monkeypatch.setattr(logistic_regression, "log_likelihoods", lambda strength, _: likelihoods[strength])
    how = {"num_labels": 2, "weights": None, "intercept": True}
    assert logistic_regression._choose_strength(np.zeros((100, 2)), targets, **how) == (0.01, pytest.approx(1.02))


def test_what_cannot_be_fitted_says_why(monkeypatch):
    features, targets = made()
    task = TextClassification(LABELS)
    broken = features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(HeadNotFitted, match="the features are not all finite"):
        task.fit_head(broken, targets, has_bias=True)
    for few in (np.zeros(90, dtype=int), targets % 2):
        with pytest.raises(HeadNotFitted, match="the training rows do not have every label"):
            task.fit_head(features, few, has_bias=True)
    honest = logistic_regression.fit

    def diverged(*given, **how):
        classifier = honest(*given, **how)
        classifier.coef_ = classifier.coef_ * -100
        return classifier

    monkeypatch.setattr(logistic_regression, "fit", diverged)
    with pytest.raises(HeadNotFitted, match=r"the regression did not converge: its loss is \d+\.\d+"):
        task.fit_head(features, targets, has_bias=True)


def test_dead_features_get_small_weights():
    """Some networks have features of size 1e-30: brought to the size of the others they would get weights of 1e30."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    targets = (features[:, 0] > 0).astype(int)
    features[:, 5] *= 1e-30
    head = logistic_regression.fit_head(features, targets, num_labels=2, weights=None, has_bias=True)
    assert np.abs(head.weight).max() < 100
    assert (head.scores(features).argmax(axis=1) == targets).mean() > 0.9
