"""Questions about the learner's own runs. Every answer, right or wrong, is computed from what the runs wrote."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from finewright.core.errors import UserError
from finewright.learn.course import Question
from finewright.learn.questions.about_pairs import GROUP_KINDS
from finewright.learn.questions.about_scores import SCORE_KINDS
from finewright.learn.questions.builder import adds_parameters, build_question, counts_agree
from finewright.learn.run_history import MEMORY_PARTS, FinishedRun
from finewright.models import adapter_folder

SAME_LOSS = 0.01
"""Relative change below which a loss counts as unchanged."""
NEAR = 0.1
"""Relative tolerance between the plan and the rule that a question uses."""


def _loss_fall(one: FinishedRun) -> Question | None:
    losses = one.losses
    if len(losses) < 2 or losses[0][1] <= losses[-1][1]:
        return None
    (first_step, first), (last_step, last) = losses[0], losses[-1]
    return build_question(
        "loss-fall",
        [one],
        f"By how much did the training loss of {one.name} ({one.label}) fall, from step {first_step:,} to step {last_step:,}?",
        (f"by {first - last:.2f}", f"From {first:.2f} to {last:.2f}."),
        [
            (f"by {last:.2f}", f"That is the loss at step {last_step:,}: what was left of it."),
            (f"by {first:.2f}", f"That is the loss at step {first_step:,}; by so much it would fall to 0."),
            (f"by {2 * (first - last):.2f}", f"Twice what it fell: from {first:.2f} to {last:.2f}."),
        ],
    )


def _validation_loss(one: FinishedRun) -> Question | None:
    evaluations = one.validations
    if len(evaluations) < 2 or evaluations[0][2] <= 0:
        return None
    (first_step, _, first), (last_step, _, last) = evaluations[0], evaluations[-1]
    says = f"{first:.3f} at step {first_step:,}, {last:.3f} at step {last_step:,}"
    found = "stayed" if abs(last / first - 1) <= SAME_LOSS else "rose" if last > first else "fell"
    answers = {"fell": "It fell", "rose": "It rose", "stayed": "It stayed within 1 % of where it was"}
    more = ". When it rises while the training loss falls, the examples are memorised." if found == "rose" else "."
    wrong = [(words, f"{says}, so it did not.") for name, words in answers.items() if name != found]
    text = f"What did the validation loss of {one.name} ({one.label}) do from the first evaluation to the last?"
    return build_question("validation-loss", [one], text, (answers[found], f"{says}{more}"), wrong)


def _step_seconds(one: FinishedRun) -> Question | None:
    r = one.result

    def words(seconds: float) -> str:
        return f"about {1000 * seconds:,.3g} ms" if seconds < 0.9995 else f"about {seconds:,.1f} s"

    each = r.train_seconds / r.steps
    return build_question(
        "step-seconds",
        [one],
        f"{one.name} ({one.label}) trained for {r.train_seconds:,.1f} s and took {r.steps:,} steps. How long was a step?",
        (words(each), f"{r.train_seconds:,.1f} s / {r.steps:,}."),
        [
            (words(r.train_seconds / r.num_train / r.epochs), "So long for each message: a step has several."),
            (words(r.train_seconds / r.epochs), f"So long for each of the {r.epochs:g} epochs: an epoch has many steps."),
            (words(10 * each), f"Ten times too long: so {r.steps:,} steps would be {10 * r.train_seconds:,.1f} s."),
        ],
    )


def _averages(one: FinishedRun) -> Question | None:
    """Only where the plan agrees: unused rows of a trimmed embedding and 8-bit optimizers need less."""
    r = one.result
    trained = r.trainable_parameters
    if not counts_agree(r) or abs(one.plan.get("optimizer", 0) - 8 * trained) > NEAR * 8 * trained:
        return None

    def words(num_bytes: float) -> str:
        return f"{num_bytes / 1e6:,.3f} MB"

    return build_question(
        "adam-averages",
        [one],
        f"{one.name} ({one.label}) trained {trained:,} parameters. How much do Adam's two averages of them take, in float32?",
        (words(8 * trained), f"Two averages of 4 bytes for each of {trained:,} parameters; frozen parameters have none."),
        [
            (words(8 * r.total_parameters), f"So much if all {r.total_parameters:,} parameters of the model were trained."),
            (words(4 * trained), "That is one average; or the gradients, which are as many."),
            (words(16 * trained), "That is everything that a trained parameter has: itself, its gradient and both averages."),
        ],
    )


TRAINING_KINDS: tuple[Callable[[FinishedRun], Question | None], ...] = (_loss_fall, _validation_loss, _step_seconds, _averages)

T = TypeVar("T")
WIDTH_NAMES = ("hidden_size", "n_embd", "dim", "d_model")


def build_questions(runs: Sequence[FinishedRun]) -> list[Question]:
    """Return one question of each kind, about different runs in turn. `runs`: labelled, comparable, newest first."""
    if not runs:
        return []
    made = []
    for number, kind in enumerate((*RUN_KINDS, *TRAINING_KINDS, *SCORE_KINDS)):
        rotated = [*runs[number % len(runs) :], *runs[: number % len(runs)]]
        made.append(next((asked for asked in (_try_build(kind, one) for one in rotated) if asked), None))
    made += [_try_build(group_kind, runs) for group_kind in GROUP_KINDS]
    return [asked for asked in made if asked]


def _try_build(kind: Callable[[T], Question | None], about: T) -> Question | None:
    try:
        return kind(about)
    except (ValidationError, ArithmeticError, ValueError):  # a run with unusual values gives no question
        return None


def _trained_share(one: FinishedRun) -> Question | None:
    r = one.result
    if not counts_agree(r):
        return None
    adapted = r.trainable_parameters - r.head_parameters
    total = r.total_parameters
    return build_question(
        "trained-share",
        [one],
        f"Your run {one.name} ({one.label}): how many parameters were trained, the head included, as a share of the model's?",
        (f"{one.share:.3%}", f"{r.trainable_parameters:,} of {total:,}."),
        [
            (f"{r.head_parameters / total:.3%}", f"That is the head alone: {r.head_parameters:,} parameters."),
            (f"{1 - one.share:.3%}", "That is what is left of 100 %."),
            (f"{min(1.0, 10 * one.share):.3%}", f"Ten times too much, or all of it: trained were {r.trainable_parameters:,}."),
            (f"{adapted / total / 10:.3%}", f"Too little: beside the head {adapted:,} parameters were trained."),
            (f"{one.share / 2:.3%}", "Half of what was trained."),
        ],
    )


def _frozen_count(one: FinishedRun) -> Question | None:
    """A method that adds parameters leaves all of the model unchanged but the head."""
    r = one.result
    if not counts_agree(r):
        return None
    frozen = r.total_parameters - (r.head_parameters if adds_parameters(one) else r.trainable_parameters)
    says = f"{r.total_parameters:,} in all, {r.trainable_parameters:,} trained"
    if adds_parameters(one):
        says += f", of which {r.trainable_parameters - r.head_parameters:,} were added and {r.head_parameters:,} are the head"
    return build_question(
        "frozen-count",
        [one],
        f"How many of the model's parameters stayed as they were in {one.name} ({one.label})?",
        (f"{frozen:,}", f"{says}."),
        [
            (f"{r.total_parameters - r.trainable_parameters:,}", f"The added parameters are no part of the model: {says}."),
            (f"{r.trainable_parameters:,}", "That many were trained."),
            (f"{r.total_parameters:,}", "That is the whole model; something is trained with every method, the head at least."),
            (f"{r.head_parameters:,}", "That is the head, which is always trained."),
            (f"{r.total_parameters // 2:,}", f"Half of the model: {says}."),
        ],
    )


def _head_size(one: FinishedRun) -> Question | None:
    r, num_labels = one.result, len(one.config.labels)
    width = _width(one)
    if r.head_parameters != num_labels * width:
        return None  # this head has a bias or more than one layer
    return build_question(
        "head-size",
        [one],
        f"The head of {one.name} has {r.head_parameters:,} parameters. How does that come about?",
        (f"{num_labels} labels x {width:,} numbers a token's state has", "One row for each label, as wide as a state."),
        [
            (
                f"{num_labels} labels x {r.num_train:,} messages",
                f"That would be {num_labels * r.num_train:,}; a head knows no messages.",
            ),
            (
                f"{r.steps:,} steps x {num_labels} labels",
                f"That would be {r.steps * num_labels:,}; steps change numbers, they add none.",
            ),
            (f"{num_labels} labels x {num_labels} labels", f"That would be {num_labels**2:,}: the size of the confusion table."),
        ],
    )


def _width(one: FinishedRun) -> int:
    """Return the hidden size from the saved model's config; 0 if it is not there."""
    try:
        config = one.folder.read_json(adapter_folder.config_folder(one.folder.model) / "config.json")
        return next((width for name in WIDTH_NAMES if isinstance(width := config.get(name), int)), 0)
    except (UserError, OSError, AttributeError):
        return 0


def _first_loss(one: FinishedRun) -> Question | None:
    num_labels = len(one.config.labels)
    right = math.log(num_labels)
    return build_question(
        "own-first-loss",
        [one],
        f"Which training loss could be expected at the very first step of {one.name}, with its {num_labels} labels?",
        (f"about {right:.2f}", f"ln({num_labels}): a fresh head gives each label about the same chance."),
        [
            (f"about {1 / num_labels:.2f}", f"1/{num_labels} is the chance of each label; the loss is minus its logarithm."),
            (
                f"about {math.log2(num_labels):.2f}",
                f"That is the logarithm to base 2 of {num_labels}; the loss takes the natural one.",
            ),
            (f"about {one.measured.loss:.2f}", f"That is the loss on {one.split} after training."),
            (f"about {float(num_labels):.2f}", "That is the number of labels; its logarithm is what you want."),
        ],
    )


def _plan_and_measured(one: FinishedRun) -> Question | None:
    planned, measured = one.result.planned_peak_memory_bytes, one.result.peak_memory_bytes
    if planned <= 0 or measured <= 0:
        return None
    says = f"Planned {planned / 1e6:,.0f} MB, measured {measured / 1e6:,.0f} MB: {measured / planned:.2f} times the plan."
    found = "near" if abs(measured / planned - 1) <= 0.1 else "more" if measured > planned else "less"
    answers = {
        "near": "Within 10 % of the plan",
        "more": "More than 10 % above the plan",
        "less": "More than 10 % below the plan",
    }
    wrong = [(words, says) for name, words in answers.items() if name != found]
    text = f"The peak memory of {one.name} ({one.label}) was planned before it started. Where did the measured peak lie?"
    return build_question("plan-and-measured", [one], text, (answers[found], says), wrong)


def _largest_part(one: FinishedRun) -> Question | None:
    parts = {part: one.plan.get(part, 0) for part in MEMORY_PARTS}
    largest = max(parts, key=lambda part: parts[part])
    if largest == "other" or sorted(parts.values())[-2] > 0.95 * parts[largest]:
        return None
    answers = {part: (part, f"{size / 1e6:,.1f} MB of {sum(parts.values()) / 1e6:,.1f}.") for part, size in parts.items()}
    text = f"In the plan of {one.name} ({one.label}), which part of the memory is the largest at the peak?"
    return build_question("largest-part", [one], text, answers[largest], [a for part, a in answers.items() if part != largest])


def _file_size(one: FinishedRun) -> Question | None:
    r = one.result

    def words(size: float) -> str:
        return f"{size / 1e6:,.2f} MB"

    return build_question(
        "file-size",
        [one],
        f"How large are the weights that {one.name} ({one.label}) saved?",
        (
            words(r.artifact_bytes),
            f"{r.artifact_bytes:,} bytes, {r.artifact_bytes / (4 * r.total_parameters):.1%} of a whole model.",
        ),
        [
            (words(4 * r.total_parameters), f"A whole model in float32: 4 bytes for each of {r.total_parameters:,} parameters."),
            (words(16 * r.total_parameters), "What training all parameters takes: weight, gradient and two averages for each."),
            (words(4 * r.head_parameters), "The head alone."),
            (words(2 * r.total_parameters), "A whole model in 16 bits."),
        ],
    )


def _kept_step(one: FinishedRun) -> Question | None:
    evaluated = {step: accuracy for step, accuracy, _ in one.validations}
    best = one.result.best_step
    if best not in evaluated or len(evaluated) < 2 or evaluated[best] < max(evaluated.values()):
        return None
    others = [
        (f"step {step:,}", f"There it was {evaluated[step]:.1%} on validation.")
        for step in sorted(evaluated, reverse=True)
        if step != best
    ]
    others += [
        ("step 1", "There was no evaluation after the first step."),
        ("all steps, as their mean", "One step's weights are kept."),
    ]
    why = f"There validation accuracy was highest, {evaluated[best]:.1%}; a tie goes to the lower loss."
    text = f"Which weights did {one.name} ({one.label}) keep, of {one.result.steps:,} steps?"
    return build_question(
        "kept-step", [one], text, (f"those of step {best:,}", why), [(f"those of {words}", why) for words, why in others]
    )


def _reason(one: FinishedRun) -> Question | None:
    choices = [choice for choice in one.config.choices if choice.reason]
    if len({choice.reason for choice in choices}) < 3:
        return None
    asked = next((choice for choice in choices if choice.option == "training.learning_rate"), choices[-1])
    wrong = [(other.reason, f"That is why {other.option} is {other.value}.") for other in choices if other.reason != asked.reason]
    text = f"{one.name} ({one.label}) ran with {asked.option} = {asked.value}. Why, by its own words?"
    return build_question("own-reason", [one], text, (asked.reason, "So it stands in the run's config.json."), wrong)


def _messages_a_step(one: FinishedRun) -> Question | None:
    r = one.result
    seen = r.num_train * r.epochs
    return build_question(
        "messages-a-step",
        [one],
        f"{one.name} took {r.steps:,} steps for {r.epochs:g} epochs of {r.num_train:,} messages. How many messages had a step?",
        (f"about {seen / r.steps:.1f}", f"{r.num_train:,} x {r.epochs:g} / {r.steps:,}."),
        [
            (f"about {r.num_train / r.steps / 2:.1f}", "Half of the messages of one epoch, divided by the steps."),
            (f"about {r.steps / r.epochs:.1f}", "That is the number of steps in an epoch."),
            (f"about {float(len(one.config.labels)):.1f}", "That is the number of labels."),
        ],
    )


RUN_KINDS: tuple[Callable[[FinishedRun], Question | None], ...] = (
    _trained_share,
    _plan_and_measured,
    _frozen_count,
    _head_size,
    _first_loss,
    _largest_part,
    _file_size,
    _kept_step,
    _reason,
    _messages_a_step,
)
