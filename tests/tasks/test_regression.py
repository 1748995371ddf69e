"""The task of numbers: scale, loss, head, checks, and the share of each row in R2."""

import math

import numpy as np
import pytest
import torch

from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.number_rows import NumberRow
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.regression import Regression

RNG = np.random.default_rng(0)


def row(value, number=0, text=None):
    return NumberRow(text or f"a text of row {number}", f"{value:g}", f"rows.csv:{number + 2}", value=float(value))


def dataset(train, validation=(), test=()):
    parts = [
        [row(value, number + 1000 * place) for number, value in enumerate(part)]
        for place, part in enumerate((train, validation, test))
    ]
    return Dataset(*parts, (), "text", [], "", row_kind="number")


VALUES = [200.0, 220.0, 260.0, 320.0]
TASK = Regression.for_dataset(dataset(VALUES), config=RunConfig())


def test_the_loss_is_that_of_standardised_numbers():
    standardised = (np.array(VALUES) - np.mean(VALUES)) / np.std(VALUES)
    targets = torch.tensor(TASK.targets([row(value) for value in VALUES]))
    mean = torch.full((4, 1), TASK.first_output)
    assert float(TASK.loss(mean, targets)) / TASK.weight(targets) == pytest.approx(np.square(standardised).mean()) == 1.0
    assert TASK.guessing_loss == 1.0


def test_the_scale_moves_into_the_head():
    layer = torch.nn.Linear(3, 1)
    states = torch.randn(4, 3)
    before = layer(states)
    after_task = TASK.move_scale_into_head(layer)
    after = layer(states)
    torch.testing.assert_close(after, before * np.std(VALUES))
    np.testing.assert_allclose(after_task.values(after.detach().numpy()), TASK.values(before.detach().numpy()), rtol=1e-6)
    targets = torch.tensor(TASK.targets([row(value) for value in VALUES]))
    torch.testing.assert_close(after_task.loss(after, targets), TASK.loss(before, targets))
    TASK.divide_head_by_scale(layer)
    torch.testing.assert_close(layer(states), before)


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_first_head_is_a_ridge_regression(has_bias):
    features = RNG.normal(size=(300, 8)).astype(np.float32) * 5 + 2
    targets = (features @ np.arange(8) / 10 + (7 if has_bias else 0) + RNG.normal(size=300) * 0.1).tolist()
    head = TASK.fit_head(features, targets, has_bias=has_bias)
    assert head.weight.shape == (1, 8)
    assert (head.bias is not None) == has_bias
    assert np.abs(head.scores(features)[:, 0] - targets).mean() < 0.1
    with pytest.raises(HeadNotFitted, match="different numbers"):
        TASK.fit_head(features, [1.0] * 300, has_bias=has_bias)


def test_penalties_are_chosen_on_rows_that_are_left_out():
    """Of noise alone the strongest one is: predictions stay near the mean."""
    features = RNG.normal(size=(60, 100)).astype(np.float32)
    targets = RNG.normal(size=60)
    assert np.std(TASK.fit_head(features, targets.tolist(), has_bias=True).scores(features)) < 0.7 * np.std(targets)


def test_shares_of_rows_make_r2():
    true, predicted = RNG.normal(size=50), RNG.normal(size=50)
    lines = [{"label": repr(one), "value": other} for one, other in zip(true.tolist(), predicted.tolist(), strict=True)]
    evaluation = TASK.start_evaluation((true / TASK.scale).tolist())
    evaluation.update(range(50), predicted[:, None] / TASK.scale)
    assert np.mean(Regression.row_scores(lines)) == pytest.approx(evaluation.metrics()["r2"])
    assert Regression.row_scores([{"label": "1", "value": 2.0}] * 3) == [None] * 3
    assert Regression.compared_value(evaluation.metrics()) == evaluation.metrics()["r2"]


def test_predictions_have_intervals_where_errors_are_known():
    outputs = np.array([[2.0], [5.0]]) / TASK.scale
    assert TASK.predictions(["a", "b"], outputs) == [{"text": "a", "value": 2.0}, {"text": "b", "value": 5.0}]
    kept = TASK.describe_errors(np.arange(20.0)[:, None], [0.0] * 20)
    assert kept["errors"] == sorted(kept["errors"])
    assert kept["errors"][1] == pytest.approx(TASK.scale)
    with_intervals = TASK.with_errors({"mean": 0.0, "std": 1.0, "errors": [1.0] * 9 + [3.0] * 11}, level=0.5)
    assert with_intervals.predictions(["a"], outputs[:1]) == [{"text": "a", "value": 2.0, "low": -1.0, "high": 5.0}]
    few = TASK.with_errors({"mean": 0.0, "std": 1.0, "errors": [1.0] * 8}, level=0.9)
    assert few.predictions(["a"], outputs[:1]) == [{"text": "a", "value": 2.0}]


def test_a_lower_error_is_better():
    assert TASK.is_better({"rmse": 1.0, "loss": 1.0}, {"rmse": 2.0, "loss": 0.5})
    assert not TASK.is_better({"rmse": 2.0, "loss": 0.5}, {"rmse": 1.0, "loss": 1.0})


def codes(train, validation=(), test=()):
    return {found.code: found for found in TASK.check_dataset(dataset(train, validation, test))}


SPREAD = [number / 10 for number in range(100)]


def test_a_higher_error_counts_as_worse_from_a_standard_error_on():
    best = {"rmse": 2.0, "rmse_ci95": [1.6, 2.4], "loss": 1.0, "num_rows": 30}
    assert TASK.standard_error(best) == pytest.approx(0.8 / 3.92)
    assert not TASK.is_clearly_worse({**best, "rmse": 2.2}, best)
    assert TASK.is_clearly_worse({**best, "rmse": 2.21}, best)
    assert TASK.is_clearly_worse({**best, "rmse": 2.01}, {**best, "rmse_ci95": None}), "nothing is known of its error"


def test_equal_numbers_are_refused():
    finding = codes([3.5] * 30)["constant_number"]
    assert finding.severity == "error"
    assert "every training row has the number 3.5" in finding.message


def test_numbers_that_float32_cannot_tell_apart_are_refused():
    finding = codes([1e9 + number for number in range(30)])["small_spread"]
    assert finding.severity == "error"
    assert "subtract 1000000014" in finding.fix
    assert "small_spread" not in codes([2000 + number for number in range(30)])


def test_outliers_are_named():
    finding = codes([*SPREAD, 5000.0])["outliers"]
    assert finding.severity == "warning"
    assert "5000" in finding.message
    assert list(finding.rows) == ["rows.csv:102"]
    assert "outliers" not in codes(SPREAD)


def test_skewed_numbers_are_said():
    assert "logarithm" in codes([math.exp(number / 5) for number in range(100)])["skewed_numbers"].fix
    assert "skewed_numbers" not in codes(SPREAD)


def test_few_numbers_are_said():
    assert (
        "5 different numbers in 100 training rows: 1, 2, 3, 4, 5"
        in codes([number % 5 + 1 for number in range(100)])["few_numbers"].message
    )


def test_another_unit_in_the_test_rows_is_said():
    assert "other_range" in codes(SPREAD, test=[400.0, 900.0])
    assert "other_range" not in codes(SPREAD, test=[1.0, 11.0])


def test_one_text_with_two_numbers_is_said():
    rows = [row(1, 0, "same text"), row(2, 1, "Same  text"), *[row(value, 2 + place) for place, value in enumerate(SPREAD)]]
    found = {one.code: one for one in TASK.check_dataset(Dataset(rows, [], [], (), "text", [], "", row_kind="number"))}
    assert list(found["two_numbers"].rows) == ["rows.csv:2", "rows.csv:3"]


def test_answers_have_no_digits_that_float32_does_not_hold():
    assert Regression.row_answers([{"value": 9.315410614013672}, {"value": 5.0}]) == ["9.31541", "5"]
