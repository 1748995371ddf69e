"""Metrics of generated answers against values worked out by hand, and against the files they are meant for."""

import importlib
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewright.core.errors import UserError
from finewright.tasks import answer_metrics, metrics, task_names

GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"


def test_it_is_no_task():
    assert "answer-metrics" not in task_names()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("an answer, a word", "answer word"),
        ("«Paris»", "paris"),
        ("A", "a"),
        ("+", "+"),
        ("theatre", "theatre"),
        ("Stra\u00dfe", "strasse"),
        ("cafe\u0301", "caf\u00e9"),
        ("", ""),
    ],
)
def test_normalised_text(text, expected):
    assert answer_metrics.normalise(text) == expected


def test_exact_match_forgives_case_articles_and_punctuation_alone():
    answers = ["the Paris.", "London", "A", "the", ""]
    references = ["paris", "paris", "a", "A", "paris"]
    assert answer_metrics.exact_match(answers, references).tolist() == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She has 3 and 4, so 7 apples.", "7"),
        ("#### 1,234", "1234"),
        ("5 #### 72\n", "72"),
        ("It costs $1,250.50.", "1250.50"),
        ("-5", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("\u22123.5 degrees", "-3.5"),
        ("10-5", "5"),
        ("5,6", "6"),
        ("1,2345", "2345"),
        (".5", "0.5"),
        ("3.", "3"),
        ("20%", "20"),
        ("\\boxed{42}", "42"),
        ("72.00", "72"),
        ("1.5e3", "1500"),
        ("€ 99", "99"),
        ("2024-01-31", "31"),
        ("v2", None),
        ("none", None),
        ("", None),
        ("####", None),
    ],
)
def test_the_number_that_a_text_ends_in(text, expected):
    found = answer_metrics.read_number(text)
    assert found == (None if expected is None else Decimal(expected))


def test_numbers_are_compared_by_value():
    answers = ["so it is 72.0 dollars", "#### 71", "I do not know", "1,000"]
    references = ["work\n#### 72", "#### 72", "#### 0", "1000"]
    assert answer_metrics.numeric_match(answers, references).tolist() == [1, 0, 0, 1]
    assert answer_metrics.numeric_match(["none"], ["none"]).tolist() == [0]


def test_every_reference_of_gsm8k_has_its_number():
    if not GSM8K.is_file():
        pytest.skip("GSM8K is not beside the project")
    references = [json.loads(line)["answer"] for line in GSM8K.read_text().splitlines()]
    assert answer_metrics.choose_metrics(references) == ("numeric_match",)
    assert answer_metrics.numeric_match(references, references).all()
    finals = [one.rpartition("####")[2].strip() for one in references]
    assert [answer_metrics.read_number(one) for one in references] == [Decimal(one.replace(",", "")) for one in finals]
    assert answer_metrics.choose_metrics(finals) == ("numeric_match",)


def slow_common_subsequence(one, other):
    row = [0] * (len(other) + 1)
    for a in one:
        before = 0
        for place, b in enumerate(other, start=1):
            before, row[place] = row[place], before + 1 if a == b else max(row[place], row[place - 1])
    return row[-1]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_the_common_subsequence_is_that_of_the_table(one, other):
    assert answer_metrics.common_subsequence(one, other) == slow_common_subsequence(one, other)


def test_rouge_l_by_hand():
    answers = ["police killed the gunman", "the gunman kill police", "", "x", "Police, killed: the GUNMAN!", "\u4f60\u597d\u554a"]
    references = ["police kill the gunman"] * 2 + ["", "y", "police killed the gunman", "\u4f60\u597d"]
    assert answer_metrics.rouge_l(answers, references) == pytest.approx([0.75, 0.5, 1, 0, 1, 0.8])


def test_json_answers_by_field():
    wanted = '{"name": "Ann", "age": 30, "home": {"city": "Rome", "zip": "001"}, "tags": ["a", "b"]}'
    answers = [
        wanted,
        'Here it is:\n```json\n{"name": "Ann ", "age": 30.0, "home": {"city": "Rome", "zip": 1}, "tags": ["a", "b"]}\n```',
        '{"name": "Bob"',
        '{"name": "Ann", "age": true, "extra": 1}',
        "[1]",
    ]
    found = answer_metrics.json_scores(answers, [wanted] * 5)
    assert found.valid.tolist() == [1, 1, 0, 1, 0]
    assert found.whole.tolist() == [1, 0, 0, 0, 0]
    assert found.fields.tolist() == [1, 0.8, 0, 0.2, 0]
    assert found.by_field == {"name": (3, 5), "age": (2, 5), "home.city": (2, 5), "home.zip": (1, 5), "tags": (2, 5)}
    assert found.micro == 10 / 25


def test_json_that_is_the_reference_with_one_field_more_is_not_the_same():
    found = answer_metrics.json_scores(['{"a": 1, "b": 2}', "{}", "{}"], ['{"a": 1}', "{}", '{"a": null}'])
    assert (found.whole.tolist(), found.fields.tolist()) == ([0, 1, 0], [1, 1, 0])


@pytest.mark.parametrize("text", ['{"a": NaN}', "[" * 100_000, '{"a": 1} and more', "```\n{}\n```\n```\n{}\n```", "1", ""])
def test_what_is_no_json_object(text):
    assert answer_metrics.read_object(text) is None


def test_a_reference_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="the reference is no JSON object: 'no'"):
        answer_metrics.json_scores(["{}"], ["no"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", 1),
        ("b", 1),
        ("(C)", 2),
        ("B. London", 1),
        ("C) because it is", 2),
        ("rome", 0),
        ("The answer is B.", 1),
        ("Answer: C", 2),
        ("It is London, of course", 1),
        ("Rome or London", None),
        ("A city", None),
        ("D", None),
        ("I think it is Berlin", 2),
        ("", None),
    ],
)
def test_which_choice_an_answer_means(answer, expected):
    assert answer_metrics.read_choice(answer, ["Rome", "London", "Berlin"]) == expected


def test_multiple_choice_by_letters_and_by_texts():
    choices = [["yes", "no"], ["red", "green"]]
    assert answer_metrics.multiple_choice(["no", "A"], ["B", "green"], choices=choices).tolist() == [1, 0]
    assert answer_metrics.multiple_choice(["(B)", "the answer is C", "?"], ["B", "D", "A"]).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (['{"a": 1}', "{}"], ("json_fields", "json_match", "json_valid")),
        (["a lot\n#### 5", "more #### -1,000"], ("numeric_match",)),
        (["5", "$7.50", "20%", "3."], ("numeric_match",)),
        (["A", "B", "(C)"], ("multiple_choice",)),
        (["yes", "no"] * 20, ("exact_match",)),
        (["Paris", "Rome", "Oslo", "Bern", "Madrid"], ("exact_match", "rouge_l")),
        (["5 apples", "7"], ("exact_match", "rouge_l")),
        ([], ()),
    ],
)
def test_the_references_choose_the_metrics(references, expected):
    assert answer_metrics.choose_metrics(references) == expected


def test_long_references_are_compared_by_their_words():
    names = answer_metrics.choose_metrics(["this is a rather long answer with more than a few words"] * 3)
    assert names[0] == "rouge_l"
    assert set(names[1:]) == ({"chrf", "bleu"} if answer_metrics.has_sacrebleu() else set())


def test_possible_answers_make_it_multiple_choice():
    assert answer_metrics.choose_metrics(["yes", "no"], choices=[["yes", "no"]] * 2) == ("multiple_choice",)


def test_scores_have_means_intervals_and_the_worst_rows():
    scores = answer_metrics.score_answers(["yes", "no", "no", "yes"], ["yes", "yes", "no", "yes"])
    assert scores.main == "exact_match"
    assert scores.summary()["exact_match"] == 0.75
    assert scores.summary()["exact_match_ci95"] == list(metrics.wilson_interval(3, 4))
    assert scores.worst() == [1]
    graded = answer_metrics.score_answers(["a b c", "x", "a b"], ["a b c", "a b c", "a b c"], metrics=["rouge_l"])
    assert graded.worst() == [1, 2]
    low, high = graded.summary()["rouge_l_ci95"]
    assert 0 <= low < graded.summary()["rouge_l"] < high <= 1


def test_scores_of_json_have_every_field():
    scores = answer_metrics.score_answers(['{"a": 1, "b": 2}', "no"], ['{"a": 1, "b": 3}', '{"a": 2, "b": 3}'])
    found = scores.summary()
    assert (found["json_fields"], found["json_match"], found["json_valid"], found["field_accuracy"]) == (0.25, 0, 0.5, 0.25)
    assert found["per_field"] == {"a": {"accuracy": 0.5, "num_rows": 2}, "b": {"accuracy": 0.0, "num_rows": 2}}
    assert json.dumps(found, allow_nan=False)


def test_the_bootstrap_interval_is_near_the_normal_one():
    scores = np.random.default_rng(1).uniform(size=400)
    low, high = answer_metrics.mean_interval(scores)
    half = 1.96 * scores.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.004)
    assert answer_metrics.mean_interval(scores) == (low, high)


def test_wrong_calls_are_refused():
    with pytest.raises(UserError, match="unknown metric 'meteor'"):
        answer_metrics.score_answers(["a"], ["a"], metrics=["meteor"])
    with pytest.raises(ValueError, match="no rows"):
        answer_metrics.score_answers([], [])
    with pytest.raises(ValueError, match="zip"):
        answer_metrics.exact_match(["a"], ["a", "b"])


def test_bleu_and_chrf_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = ["the cat sat on the mat", "a dog"], ["the cat sat on a mat", "one dog barked loudly"]
    assert answer_metrics.bleu(answers, references)[0] == pytest.approx(
        sacrebleu.sentence_bleu(answers[0], [references[0]]).score / 100
    )
    assert answer_metrics.chrf(answers, references)[1] == pytest.approx(
        sacrebleu.sentence_chrf(answers[1], [references[1]]).score / 100
    )
    found = answer_metrics.score_answers(answers, references, metrics=["bleu"]).summary()
    assert found["corpus_bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score / 100)


def test_without_sacrebleu_the_message_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"need the package `sacrebleu`\n.*finewright\[text-metrics\]"):
        answer_metrics.bleu(["a"], ["a"])
