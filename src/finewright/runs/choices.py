"""Multiple-choice questions of test rows, answered by the log-likelihood of each choice, before and after training.

All choices of many rows are scored in one packed pass, as the losses of an evaluation are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.core.units import counted
from finewright.data import chat_encoding
from finewright.data.answer_choices import possible_answers
from finewright.data.conversations import Conversation
from finewright.data.packing import EncodedSplit
from finewright.data.splits import Example
from finewright.data.text_tokenizer import TextTokenizer
from finewright.inference import scoring
from finewright.models.prepared import PreparedModel
from finewright.runs.context import RunContext
from finewright.tasks import answer_metrics, choice_metrics

if TYPE_CHECKING:
    from finewright.inference.predictor import Predictor


@dataclass(frozen=True)
class ChoiceTest:
    """The rows that are multiple-choice questions. `options`: the possible answers of each. `places`: where it is among all rows.

    A row may have several places: one for each part of it that is scored. `num_without`: rows that have no choices.
    """

    rows: tuple[Conversation, ...]
    options: tuple[tuple[str, ...], ...]
    places: tuple[tuple[int, ...], ...]
    num_without: int

    @property
    def right(self) -> list[int]:
        """The index of the right choice of each row."""
        return [options.index(row.label.strip()) for row, options in zip(self.rows, self.options, strict=True)]

    def read(self, answers: Sequence[str]) -> choice_metrics.ChosenAnswers:
        """Return which choices these answers mean."""
        found = []
        for said, options in zip(answers, self.options, strict=True):
            place = options.index(said.strip()) if said.strip() in options else answer_metrics.read_choice(said, options)
            found.append(-1 if place is None else place)
        return choice_metrics.ChosenAnswers(found)

    def score(self, chosen: choice_metrics.ChosenAnswers) -> answer_metrics.AnswerScores:
        """Return how often the right choice is the most probable one."""
        return choice_metrics.score_choices(chosen, self.right, self.options, num_without=self.num_without)


def choose_test(rows: Sequence[Example]) -> ChoiceTest:
    """Return the rows that are multiple-choice questions."""
    places: dict[int, list[int]] = {}
    found: dict[int, tuple[Conversation, tuple[str, ...]]] = {}
    for place, row in enumerate(rows):
        places.setdefault(id(row), []).append(place)
        if isinstance(row, Conversation) and id(row) not in found and (options := possible_answers(row)):
            found[id(row)] = row, options
    return ChoiceTest(
        tuple(row for row, _ in found.values()),
        tuple(options for _, options in found.values()),
        tuple(tuple(places[one]) for one in found),
        len(places) - len(found),
    )


def answer(
    context: RunContext, model: PreparedModel, tokenizer: Any, test: ChoiceTest, *, limit: int, doing: str
) -> choice_metrics.ChosenAnswers:
    """Return what a model in training chooses. `limit`: most tokens of a text. `doing`: when this is, in words."""
    number = sum(map(len, test.options))
    context.notify(
        f"{doing}: {counted(number, 'choice')} of {counted(len(test.rows), 'question')}", level="detail", code="choices"
    )
    return answer_questions(model, tokenizer, test, limit=limit)


def answer_rows(predictor: "Predictor", rows: Sequence[Example]) -> tuple[ChoiceTest, choice_metrics.ChosenAnswers | None]:
    """Return the multiple-choice questions of an evaluation, and what a saved model chooses; None without such rows."""
    test = choose_test(rows)
    if not test.rows:
        return test, None
    return test, answer_questions(predictor.prepared_model, predictor.tokenizer, test, limit=predictor.limit)


def answer_questions(model: PreparedModel, tokenizer: Any, test: ChoiceTest, *, limit: int) -> choice_metrics.ChosenAnswers:
    """Return what the model chooses, each question asked as in training. A choice without room in a text is not chosen."""
    answers = encode_answers(tokenizer, test.options, limit=limit)
    rooms = [limit - max(map(len, some)) for some in answers]
    prompts = chat_encoding.encode_prompts(tokenizer, test.rows, limit=limit)
    for number, (row, room) in enumerate(zip(test.rows, rooms, strict=True)):
        if len(prompts[number]) > room:  # all choices of a row follow the same prompt
            (prompts[number],) = chat_encoding.encode_prompts(tokenizer, [row], limit=room)
    return choose_answers(model, prompts, answers, test.options)


def encode_answers(tokenizer: Any, options: Sequence[Sequence[str]], *, limit: int) -> list[list[list[int]]]:
    """Return the tokens of the choices of each row as they follow its prompt, without those that end an answer.

    A choice that leaves no room for a prompt in a text of `limit` tokens gets none.

    Where the tokens of a choice begin those of another, such as 1 and 10, the end belongs to all choices of the row: without it
    the longer one could never be the most probable.
    """
    texts = TextTokenizer(tokenizer)
    known = {text: texts.continuation(text) for text in dict.fromkeys(one for some in options for one in some)}
    end = chat_encoding.answer_end_ids(tokenizer)
    found = []
    for some in options:
        rows = [known[text] for text in some]
        has_prefix = any(one is not other and other[: len(one)] == one for one in rows for other in rows)
        rows = [[*one, *end] for one in rows] if has_prefix else rows
        found.append([one if len(one) < limit else [] for one in rows])
    return found


def choose_answers(
    model: PreparedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    options: Sequence[Sequence[str]],
) -> choice_metrics.ChosenAnswers:
    """Return the most probable answer to each prompt. `answers`: the tokens of `options`; one without any is left out."""
    found = [np.full(len(some), -np.inf) for some in answers]
    asked = [(row, place, own) for row, some in enumerate(answers) for place, own in enumerate(some) if own]
    ids = [[*prompts[row], *own] for row, _, own in asked]
    trained = [[False] * len(prompts[row]) + [True] * len(own) for row, _, own in asked]
    split = EncodedSplit(ids, [len(one) for one in ids], [*range(len(ids))], trained=trained)
    sums_NC = scoring.score_split(model, split)
    for (row, place, _), outputs in zip(asked, sums_NC.tolist(), strict=True):
        found[row][place] = -outputs[0]
    return choice_metrics.choose_answers(found, options)


def add_choices(
    lines: Sequence[dict[str, Any]], test: ChoiceTest, chosen: choice_metrics.ChosenAnswers, untuned: Sequence[int] | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the prediction lines with what was chosen and whether it is right, and the summary for result.json.

    `untuned`: the index that the model chose before training, for each row.
    """
    found, scores = [dict(line) for line in lines], test.score(chosen)
    right = scores.rows[scores.main].tolist()
    for number, places in enumerate(test.places):
        options = test.options[number]
        for place in places:
            found[place] |= {"choice": options[chosen.chosen[number]], "choice_right": right[number]}
            if untuned is not None and len(untuned) == len(test.rows):
                found[place]["untuned_choice"] = options[untuned[number]]
    return found, scores.summarise()
