"""Words of model cards: code that names and reads what a model of a task gives."""

import ast

import pytest

from finewright import tasks
from finewright.tasks.card_words import CardWords, ExampleTexts

PAIRS = ExampleTexts(("premise", 'the "other" text'))


def test_single_texts_are_given_as_a_list():
    texts = ExampleTexts()
    assert (texts.for_tokenizer, texts.as_list, texts.table_row) == ('["a text", "another"]', '["a text", "another"]', "")


def test_pairs_are_given_in_the_order_of_their_columns_whatever_these_are_called():
    assert ast.literal_eval(PAIRS.as_list) == [("a premise", 'a the "other" text')]
    assert ast.literal_eval(f"[{PAIRS.for_tokenizer}]") == [["a premise"], ['a the "other" text']]
    assert PAIRS.table_row.startswith('| reads | pairs of texts: premise, then the "other" text; ')


@pytest.mark.parametrize(
    ("task", "texts", "expected"),
    [
        ("text-classification", ExampleTexts(), ""),
        ("regression", ExampleTexts(), 'value = predict("a text")[0]["score"]\n'),
        ("text-classification", ExampleTexts(("a", "b")), 'classify({"text": "a a", "text_pair": "a b"})\n'),
        ("regression", ExampleTexts(("a", "b")), 'value = predict({"text": "a a", "text_pair": "a b"})["score"]\n'),
    ],
)
def test_a_pipeline_is_called_with_what_the_model_reads(task, texts, expected):
    assert texts.call_pipeline(tasks.get_task(task).card) == expected


def test_each_task_says_how_its_outputs_become_what_it_predicts():
    cards = {name: tasks.get_task(name).card for name in tasks.task_names()}
    assert cards["text-classification"] == CardWords()
    assert "sigmoid" in cards["multi-label-classification"].after_encoding
    assert (cards["regression"].index, cards["regression"].names_labels) == ("[:, 0]", False)
    assert "overlapping windows" in cards["token-classification"].long_text
