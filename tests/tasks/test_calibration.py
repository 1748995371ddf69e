"""Temperature scaling: what is fitted on which rows, and that it changes confidences alone."""

import math

import numpy as np
import pytest

from finewright.tasks import calibration, metrics
from finewright.tasks.calibration import compute_probabilities
from finewright.tasks.text_classification import TextClassification

LABELS = ("a", "b", "c", "d")


def draw(num_rows, *, temperature=1.0, seed=0):
    """Scores whose probabilities are right after a division by `temperature`, and labels drawn by these."""
    rng = np.random.default_rng(seed)
    scores_NC = rng.normal(size=(num_rows, len(LABELS))) * 3
    targets_N = (compute_probabilities(scores_NC).cumsum(axis=1) < rng.random((num_rows, 1))).sum(axis=1)
    return (scores_NC * temperature).astype(np.float32), targets_N


def log_loss(scores_NC, targets_N, temperature):
    chosen = compute_probabilities(scores_NC, temperature=temperature)[np.arange(len(targets_N)), targets_N]
    return -np.log(chosen.clip(min=1e-300)).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_scores_is_found(temperature):
    scores_NC, targets_N = draw(20_000, temperature=temperature)
    assert calibration.fit_temperature(scores_NC, targets_N) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("num_rows", [5, 60, 1000])
def test_it_is_the_minimum_of_likelihood_and_prior(num_rows):
    scores_NC, targets_N = draw(num_rows, temperature=3.0, seed=num_rows)
    found = calibration.fit_temperature(scores_NC, targets_N)
    temperatures = np.geomspace(calibration.LOWEST, calibration.HIGHEST, 4001)
    costs = [
        num_rows * log_loss(scores_NC, targets_N, one) + (math.log(one) / calibration.PRIOR_SPREAD) ** 2 / 2
        for one in temperatures
    ]
    assert found > 1, "below, it would be checked with a row more"
    assert found == pytest.approx(temperatures[int(np.argmin(costs))], rel=2e-3)


def calibration_error(probabilities_NC, targets_N):
    return metrics.calibration_error(probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == targets_N)


def test_other_rows_of_an_overconfident_model_become_calibrated():
    scores_NC, targets_N = draw(calibration.LEAST_ROWS, temperature=2.5, seed=1)
    temperature = calibration.fit_temperature(scores_NC, targets_N)
    new_NC, new_N = draw(5000, temperature=2.5, seed=2)
    before = calibration_error(compute_probabilities(new_NC), new_N)
    after = calibration_error(compute_probabilities(new_NC, temperature=temperature), new_N)
    assert before > 0.1
    assert after < before / 2
    assert log_loss(new_NC, new_N, temperature) < log_loss(new_NC, new_N, 1.0)


@pytest.mark.parametrize("num_rows", [10, 50, 500, 5000])
@pytest.mark.parametrize("margin", [0.5, 3.0, 10.0, 40.0])
def test_rows_that_are_all_right_give_no_absurd_confidence(num_rows, margin):
    """The likelihood alone would drive the temperature to its bound, where every confidence is 1."""
    scores_NC = np.zeros((num_rows, 3), dtype=np.float32)
    scores_NC[:, 1] = margin
    temperature = calibration.fit_temperature(scores_NC, np.ones(num_rows, dtype=int))
    before = compute_probabilities(scores_NC[:1]).max()
    after = compute_probabilities(scores_NC[:1], temperature=temperature).max()
    assert calibration.LOWEST < temperature <= 1
    assert before <= after <= max(before, (num_rows + 1) / (num_rows + 2)), "the rule of succession"


def test_rows_that_are_all_wrong_stay_inside_the_bounds():
    scores_NC = np.tile(np.array([[9.0, 0.0]], dtype=np.float32), (500, 1))
    temperature = calibration.fit_temperature(scores_NC, np.ones(500, dtype=int))
    assert 1 < temperature <= calibration.HIGHEST


def test_few_rows_move_the_temperature_less_than_many():
    temperatures = []
    for num_rows in (5, 5000):
        scores_NC, targets_N = draw(num_rows, temperature=4.0, seed=3)
        temperatures.append(calibration.fit_temperature(scores_NC, targets_N))
    few, many = temperatures
    assert abs(math.log(few)) < abs(math.log(many))
    assert calibration.fit_temperature(np.zeros((0, 4), dtype=np.float32), []) == 1


def test_scores_without_information_leave_the_temperature_at_one():
    assert calibration.fit_temperature(np.zeros((100, 4), dtype=np.float32), [0] * 100) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("temperature", [calibration.LOWEST, 0.5, 3.0, calibration.HIGHEST])
def test_the_predicted_label_is_that_of_the_scores(temperature):
    scores_NC, targets_N = draw(300, seed=4)
    plain = TextClassification(LABELS)
    scaled = plain.with_temperature(temperature)
    texts = [str(row) for row in range(len(scores_NC))]
    before, after = plain.predictions(texts, scores_NC), scaled.predictions(texts, scores_NC)
    assert [one["label"] for one in before] == [one["label"] for one in after]
    assert scaled.compare_outputs(scores_NC, scores_NC).num_changed == 0
    evaluation = scaled.start_evaluation(targets_N)
    evaluation.update(range(len(texts)), scores_NC)
    measured = evaluation.metrics()
    assert measured["accuracy"] == (scores_NC.argmax(axis=1) == targets_N).mean()
    assert measured["loss"] == pytest.approx(log_loss(scores_NC, targets_N, temperature))
    assert measured["calibration_error"] == evaluation.calibration_error()
    assert evaluation.calibration_error(calibrated=False) == calibration_error(compute_probabilities(scores_NC), targets_N)
    sure_N, right_N = evaluation.row_confidences()
    assert sure_N.tolist() == [one["probability"] for one in after]
    assert right_N.mean() == measured["accuracy"]


def test_a_temperature_of_one_gives_the_same_bits():
    scores_NC, _ = draw(50)
    shifted = np.exp(scores_NC.astype(np.float64) - scores_NC.max(axis=1, keepdims=True))
    assert (compute_probabilities(scores_NC, temperature=1.0) == shifted / shifted.sum(axis=1, keepdims=True)).all()
