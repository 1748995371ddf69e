"""What models of a task are compared by: the metric, its value, and the score of each test row."""

import pytest

from finewright.tasks import answer_metrics, get_task
from finewright.tasks.measures import Metric

CLASSES, LANGUAGE = get_task("text-classification"), get_task("text-generation")
ANSWERS = {"metric": "json_fields", "num_rows": 2, "json_fields": 0.75, "json_fields_ci95": [0.5, 1.0]}


def test_labels_are_right_or_wrong_unless_a_line_has_a_score():
    lines = [{"label": "a", "predicted": "a"}, {"label": "a", "predicted": "b"}, {"label": "a", "predicted": "b", "score": 0.5}]
    assert CLASSES.row_scores(lines) == [1.0, 0.0, 0.5]
    assert CLASSES.compared_metric({}).title == "accuracy"
    assert CLASSES.compared_value({"accuracy": 0.9}) == 0.9
    assert CLASSES.compared_value({}) is None


def test_answers_have_their_own_metric_and_rows_without_an_answer_have_no_score():
    metric = LANGUAGE.compared_metric({"loss": 1.0, "token_accuracy": 0.5, "answers": ANSWERS})
    assert metric == Metric("json_fields", is_share=True, words="right JSON fields")
    assert LANGUAGE.compared_value({"token_accuracy": 0.5, "answers": ANSWERS}) == 0.75
    assert LANGUAGE.row_scores([{"score": 0.5, "token_accuracy": 1.0}, {"token_accuracy": 1.0}]) == [0.5, None]


@pytest.mark.parametrize("answers", [{}, {"answers": None}])
def test_without_answers_right_tokens_count(answers):
    assert LANGUAGE.compared_metric(answers).title == "token accuracy"
    assert LANGUAGE.compared_value({"token_accuracy": 0.5, **answers}) == 0.5
    assert LANGUAGE.row_scores([{"token_accuracy": 1.0}, {"token_accuracy": 0.25}]) == [1.0, 0.25]


def test_choices_decide_if_all_rows_have_some():
    found = {"metric": "choice_accuracy", "num_rows": 2, "choice_accuracy": 0.5, "num_without_choices": 0}
    measured = {"token_accuracy": 0.1, "answers": ANSWERS, "choices": found}
    assert LANGUAGE.compared_metric(measured) == Metric("choice_accuracy", is_share=True, words="choice accuracy")
    assert LANGUAGE.compared_value(measured) == 0.5
    assert LANGUAGE.compared_metric(measured | {"choices": found | {"num_without_choices": 1}}).name == "json_fields"
    line = {"predicted": "x", "score": 0.5, "choice": "B", "choice_right": 1.0}
    assert LANGUAGE.row_scores([line, line]) == [1.0, 1.0]
    assert LANGUAGE.row_answers([line, line]) == ["B", "B"]
    assert LANGUAGE.row_scores([line, {"score": 0.25}]) == [0.5, 0.25]
    assert LANGUAGE.row_answers([line, {"predicted": "y"}]) == ["x", "y"]


def test_every_metric_of_answers_has_words():
    assert answer_metrics.WORDS.keys() == answer_metrics.METRICS.keys()
