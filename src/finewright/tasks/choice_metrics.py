"""Multiple choice by log-likelihood: the choice that a model finds most probable is its answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finewright.tasks.answer_metrics import AnswerScores

CHOICE_ACCURACY, NORMALISED = "choice_accuracy", "choice_accuracy_norm"
"""By the sum of the log-probabilities of a choice's tokens, and by that sum for each byte of its text.

They are `acc` and `acc_norm` of EleutherAI's harness (Gao et al. 2021). The sum decides: it is the probability that the model
says this answer, and what training raises. A longer choice is less probable by itself, which matters most where an untrained
model goes on with a text; here most questions list their choices, and a trained model knows their form. Where the other accuracy
is much higher, the model still prefers short choices."""


@dataclass(frozen=True)
class ChosenAnswers:
    """The index of the choice of each row by the sum, -1 for none, and by the sum a byte; None where there are no likelihoods."""

    chosen: list[int]
    chosen_by_byte: list[int] | None = None


def choose_answers(log_likelihoods: Sequence[np.ndarray], options: Sequence[Sequence[str]]) -> ChosenAnswers:
    """Return the most probable choice of each row. `log_likelihoods`: of the row's choices, in nats; `options`: their texts."""
    sums = [int(np.argmax(row)) for row in log_likelihoods]
    by_byte = [
        int(np.argmax(row / [len(one.encode()) for one in texts])) for row, texts in zip(log_likelihoods, options, strict=True)
    ]
    return ChosenAnswers(sums, by_byte)


def score_choices(
    chosen: ChosenAnswers, right: Sequence[int], options: Sequence[Sequence[str]], *, num_without: int = 0
) -> AnswerScores:
    """Return both accuracies with their intervals, one row or more.

    `right`: the index of the right choice of each row. `num_without`: rows of the split that are no multiple-choice questions.
    """
    answer_N = np.asarray(right)
    rows = {CHOICE_ACCURACY: (np.asarray(chosen.chosen) == answer_N).astype(np.float64)}
    if chosen.chosen_by_byte is not None:
        rows[NORMALISED] = (np.asarray(chosen.chosen_by_byte) == answer_N).astype(np.float64)
    chance = float(np.mean([1 / len(texts) for texts in options]))
    return AnswerScores(rows, {"chance": chance, "num_without_choices": num_without})
