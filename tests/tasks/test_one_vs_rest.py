"""One logistic regression for each label, all at once: the result is scikit-learn's."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from finewright.tasks import one_vs_rest
from finewright.tasks.head_weights import HeadNotFitted


def draw(num_rows=200, num_features=20, num_labels=4, *, seed=0):
    dice = np.random.default_rng(seed)
    features = dice.normal(size=(num_rows, num_features))
    odds = features @ dice.normal(size=(num_features, num_labels)) - 1
    return features, (dice.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(float)


@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_it_is_scikit_learn_s_regression_of_each_label(strength, intercept, weighted):
    features, targets = draw()
    weights = np.random.default_rng(1).random(targets.shape) + 0.5 if weighted else None
    found = one_vs_rest.fit(features, targets, strength=strength, weights_NC=weights, intercept=intercept)
    for label in range(targets.shape[1]):
        how = {"sample_weight": None if weights is None else weights[:, label]}
        other = LogisticRegression(C=strength, fit_intercept=intercept, tol=1e-8, max_iter=2000)
        other.fit(features, targets[:, label], **how)
        np.testing.assert_allclose(found.coefficients[label], other.coef_[0], atol=2e-3)
        np.testing.assert_allclose(found.intercept[label], other.intercept_[0] if intercept else 0, atol=2e-3)


def test_sparse_features_give_the_same():
    features, targets = draw()
    features[np.abs(features) < 1] = 0
    dense, sparse = (one_vs_rest.fit(one, targets, strength=1.0) for one in (features, scipy.sparse.csr_matrix(features)))
    np.testing.assert_allclose(dense.coefficients, sparse.coefficients, atol=1e-6)
    np.testing.assert_allclose(dense.decide(features), sparse.decide(scipy.sparse.csr_matrix(features)), atol=1e-6)


def test_a_label_of_all_rows_or_of_none_has_its_odds_alone():
    features, targets = draw()
    targets[:, 0], targets[:, 1] = 0, 1
    found = one_vs_rest.fit(features, targets, strength=1.0)
    assert not found.coefficients[:2].any()
    np.testing.assert_allclose(found.intercept[:2], [np.log(0.5 / 200.5), np.log(200.5 / 0.5)])


def test_folds_have_rows_of_every_label():
    _, targets = draw(300)
    folds = one_vs_rest.deal_into_folds(targets)
    shares = np.array([targets[folds == fold].mean(axis=0) for fold in range(3)])
    assert np.bincount(folds).tolist() == [100, 100, 100]
    assert np.abs(shares - targets.mean(axis=0)).max() < 0.08


def test_a_head_gives_the_regression_s_own_scores_on_unscaled_features():
    features, targets = draw()
    features = (features * np.linspace(0.01, 100, 20) + 3).astype(np.float32)
    head = one_vs_rest.fit_head(features, targets, weights_NC=None, has_bias=True)
    said = head.scores(features) > 0
    assert (said == (targets > 0)).mean() > 0.85
    assert head.weight.shape == (4, 20)
    bare = one_vs_rest.fit_head(features, targets, weights_NC=None, has_bias=False)
    assert bare.bias is None


def test_there_is_no_head_without_labels_or_with_features_that_are_no_numbers():
    features, targets = draw()
    with pytest.raises(HeadNotFitted, match="no training row has a label"):
        one_vs_rest.fit_head(features, targets * 0, weights_NC=None, has_bias=True)
    with pytest.raises(HeadNotFitted, match="not all finite"):
        one_vs_rest.fit_head(features * np.nan, targets, weights_NC=None, has_bias=True)
