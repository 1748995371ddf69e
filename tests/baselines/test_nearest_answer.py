"""The answer of the training row with the most similar prompt."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from finewright import baselines
from finewright.baselines import similarity
from finewright.baselines.nearest_answer import NearestAnswer
from finewright.baselines.saving import TOKEN_PATTERN
from finewright.data.conversations import Conversation
from support.made_language import TRAIN, row


def refuse(prompts):
    raise AssertionError("no model is asked")


def test_the_answer_is_that_of_the_nearest_prompt():
    asked = [row("a hole in the new tent"), row("Invoice paid TWICE?"), row("my parcel is late")]
    assert NearestAnswer().answer(TRAIN, asked, generate=refuse) == ["defect", "billing", "shipping"]


def test_similarities_are_scikit_learns():
    asked = [row("the parcel has a hole"), row("is my invoice here")]
    texts = [similarity.prompt_text(one) for one in TRAIN]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN_PATTERN)
    known = vectorizer.fit_transform(texts)
    cosines = cosine_similarity(vectorizer.transform([similarity.prompt_text(one) for one in asked]), known)
    found = similarity.find_nearest(TRAIN, asked, number=3)
    assert found.tolist() == np.argsort(-cosines, axis=1, kind="stable").tolist()


def test_a_system_prompt_that_all_rows_share_does_not_count_and_earlier_turns_do():
    assert similarity.prompt_text(row("first", "said", "second", answer="x")) == "first\nsaid\nsecond"
    plain = Conversation("a plain text", "", "", form="text")
    assert similarity.prompt_text(plain) == "a plain text"


@pytest.mark.parametrize("asked", ["wholly other words", "!!!"])
def test_without_a_common_word_the_first_row_answers(asked):
    assert NearestAnswer().answer(TRAIN, [row(asked)], generate=refuse) == ["shipping"]


def test_prompts_without_words_are_no_error():
    train = [row("!?", answer="a"), row("…", answer="b")]
    assert NearestAnswer().answer(train, [row("?"), row("a word")], generate=refuse) == ["a", "a"]


def test_fewer_rows_than_wanted_are_all_of_them():
    assert similarity.find_nearest(TRAIN, [row("tent")], number=9).shape == (1, 3)
    assert similarity.find_nearest(TRAIN, [], number=2).shape == (0, 2)


def test_every_baseline_says_which_rows_it_is_for():
    for name in baselines.baseline_names():
        assert baselines.get_baseline(name).row_kind == "labelled"
    assert baselines.answer_baseline_names() == ["untuned", "few-shot", "nearest-answer"]
    for name in baselines.answer_baseline_names():
        kind = baselines.get_answer_baseline(name)
        assert (kind.row_kind, kind.name()) == ("conversation", name)
        assert name not in baselines.baseline_names(), "it cannot be trained as a run"
