"""Questions about the learner's own runs. Every answer, right or wrong, is computed from what the runs wrote."""

import math
from collections.abc import Sequence

from finewright.core.errors import UserError
from finewright.learn.course import Question
from finewright.learn.questions.about_pairs import GROUP_KINDS
from finewright.learn.questions.about_scores import SCORE_KINDS
from finewright.learn.questions.builder import Draft, build_question, counts_agree, explain, megabytes
from finewright.learn.run_history import MEMORY_PARTS, FinishedRun
from finewright.models import adapter_folder

SAME_LOSS = 0.01
"""Relative change below which a loss counts as unchanged."""
NEAR = 0.1
"""Relative tolerance between the plan and the rule that a question uses."""
MOST_SHARE = 0.95
"""Share of trained parameters above which there is nothing to work out."""
WIDTH_NAMES = ("hidden_size", "n_embd", "dim", "d_model")


def build_questions(runs: Sequence[FinishedRun]) -> list[Question]:
    """Return one question of each kind, about different runs in turn. `runs`: labelled, comparable, newest first."""
    if not runs:
        return []
    made = []
    for number, (kind, make_draft) in enumerate((RUN_KINDS | SCORE_KINDS).items()):
        start = number % len(runs)
        tried = (build_question(kind, make_draft, one) for one in [*runs[start:], *runs[:start]])
        made.append(next((question for question in tried if question), None))
    made += [build_question(kind, make_draft, runs) for kind, make_draft in GROUP_KINDS.items()]
    return [question for question in made if question]


def _trained_share(one: FinishedRun) -> Draft | None:
    r, total = one.result, one.result.total_parameters
    if not counts_agree(r) or one.share > MOST_SHARE:
        return None  # all of them or nearly: nothing to work out
    adapted = r.trainable_parameters - r.head_parameters
    return Draft(
        f"Your run {one.title}: how many parameters were trained, the head included, as a share of the model's?",
        (f"{one.share:.3%}", f"{r.trainable_parameters:,} of {total:,}."),
        (f"{r.head_parameters / total:.3%}", f"That is the head alone: {r.head_parameters:,} parameters."),
        (f"{1 - one.share:.3%}", "That is what is left of 100%."),
        (f"{min(1.0, 10 * one.share):.3%}", f"Ten times too much, or all of it: trained were {r.trainable_parameters:,}."),
        (f"{adapted / total / 10:.3%}", f"Too little: beside the head {adapted:,} parameters were trained."),
        (f"{one.share / 2:.3%}", "Half of what was trained."),
    )


def _plan_and_measured(one: FinishedRun) -> Draft | None:
    planned, measured = one.result.planned_peak_memory_bytes, one.result.peak_memory_bytes
    if planned <= 0 or measured <= 0:
        return None
    says = f"Planned {planned / 1e6:,.0f} MB, measured {measured / 1e6:,.0f} MB: {measured / planned:.2f} times the plan."
    found = "near" if abs(measured / planned - 1) <= NEAR else "more" if measured > planned else "less"
    texts = {"near": "Within 10% of the plan", "more": "More than 10% above the plan", "less": "More than 10% below the plan"}
    text = f"The peak memory of {one.title} was planned before it started. Where did the measured peak lie?"
    return Draft(text, *explain(texts, right=found, why=says, why_not=says))


def _frozen_count(one: FinishedRun) -> Draft | None:
    """A method that adds parameters leaves all of the model unchanged but the head."""
    r = one.result
    if not counts_agree(r):
        return None
    frozen = r.total_parameters - (r.head_parameters if one.adds_parameters else r.trainable_parameters)
    if not frozen:
        return None
    says = f"{r.total_parameters:,} in all, {r.trainable_parameters:,} trained"
    if one.adds_parameters:
        says += f", of which {r.trainable_parameters - r.head_parameters:,} were added and {r.head_parameters:,} are the head"
    return Draft(
        f"How many of the model's parameters stayed as they were in {one.title}?",
        (f"{frozen:,}", f"{says}."),
        (f"{r.total_parameters - r.trainable_parameters:,}", f"The added parameters are no part of the model: {says}."),
        (f"{r.trainable_parameters:,}", "That many were trained."),
        (f"{r.total_parameters:,}", "That is the whole model; something is trained with every method, the head at least."),
        (f"{r.head_parameters:,}", "That is the head, which is always trained."),
        (f"{r.total_parameters // 2:,}", f"Half of the model: {says}."),
    )


def _head_size(one: FinishedRun) -> Draft | None:
    r, n, width = one.result, len(one.config.labels), _read_width(one)
    if r.head_parameters != n * width:
        return None  # this head has a bias or more than one layer
    return Draft(
        f"The head of {one.name} has {r.head_parameters:,} parameters. How does that come about?",
        (f"{n} labels x {width:,} numbers a token's state has", "One row for each label, as wide as a state."),
        (f"{n} labels x {r.num_train:,} messages", f"That would be {n * r.num_train:,}; a head knows no messages."),
        (f"{r.steps:,} steps x {n} labels", f"That would be {r.steps * n:,}; steps change numbers, they add none."),
        (f"{n} labels x {n} labels", f"That would be {n**2:,}: the size of the confusion table."),
    )


def _read_width(one: FinishedRun) -> int:
    """Return the hidden size from the saved model's config; 0 if it is not there."""
    try:
        config = one.folder.read_json(adapter_folder.config_folder(one.folder.model) / "config.json")
        return next((width for name in WIDTH_NAMES if isinstance(width := config.get(name), int)), 0)
    except (UserError, OSError, AttributeError):
        return 0


def _first_loss(one: FinishedRun) -> Draft | None:
    n = len(one.config.labels)
    return Draft(
        f"Which training loss could be expected at the very first step of {one.name}, with its {n} labels?",
        (f"about {math.log(n):.2f}", f"ln({n}): a fresh head gives each label about the same chance."),
        (f"about {1 / n:.2f}", f"1/{n} is the chance of each label; the loss is minus its logarithm."),
        (f"about {math.log2(n):.2f}", f"That is the logarithm to base 2 of {n}; the loss takes the natural one."),
        (f"about {one.measured.loss:.2f}", f"That is the loss on {one.split} after training."),
        (f"about {n:.2f}", "That is the number of labels; its logarithm is what you want."),
    )


def _largest_part(one: FinishedRun) -> Draft | None:
    parts = {part: one.plan.get(part, 0) for part in MEMORY_PARTS}
    largest = max(parts, key=lambda part: parts[part])
    if largest == "other" or sorted(parts.values())[-2] > 0.95 * parts[largest]:
        return None
    answers = {part: (part, f"{size / 1e6:,.1f} MB of {sum(parts.values()) / 1e6:,.1f}.") for part, size in parts.items()}
    text = f"In the plan of {one.title}, which part of the memory is the largest at the peak?"
    return Draft(text, answers.pop(largest), *answers.values())


def _file_size(one: FinishedRun) -> Draft | None:
    saved, head, total = one.result.artifact_bytes, one.result.head_parameters, one.result.total_parameters
    training = "What training all parameters takes: weight, gradient and two averages for each."
    return Draft(
        f"How large are the weights that {one.title} saved?",
        (megabytes(saved, digits=2), f"{saved:,} bytes, {saved / (4 * total):.1%} of a whole model."),
        (megabytes(4 * total, digits=2), f"A whole model in float32: 4 bytes for each of {total:,} parameters."),
        (megabytes(16 * total, digits=2), training),
        (megabytes(4 * head, digits=2), "The head alone."),
        (megabytes(2 * total, digits=2), "A whole model in 16 bits."),
    )


def _kept_step(one: FinishedRun) -> Draft | None:
    evaluated = {step: accuracy for step, accuracy, _ in one.validations}
    best = one.result.best_step
    if best not in evaluated or len(evaluated) < 2:
        return None
    highest = max(evaluated.values())
    if evaluated[best] < highest and best < max(evaluated):
        return None
    others = sorted(evaluated.keys() - {best}, reverse=True)
    why = f"There validation accuracy was highest, {evaluated[best]:.1%}; "
    why += "a later, equal one counts as better only if its loss is clearly lower."
    if evaluated[best] < highest:
        why = f"They are the last ones: the highest validation accuracy, {highest:.1%}, is not better by a standard error."
    return Draft(
        f"Which weights did {one.title} keep, of {one.result.steps:,} steps?",
        (f"those of step {best:,}", why),
        *((f"those of step {step:,}", f"There it was {evaluated[step]:.1%} on validation.") for step in others),
        ("those of step 1", "There was no evaluation after the first step."),
        ("those of all steps, as their mean", "One step's weights are kept."),
    )


def _reason(one: FinishedRun) -> Draft | None:
    choices = [choice for choice in one.config.choices if choice.reason]
    if len({choice.reason for choice in choices}) < 3:
        return None
    asked = next((choice for choice in choices if choice.option == "training.learning_rate"), choices[-1])
    wrong = [(other.reason, f"That is why {other.option} is {other.value}.") for other in choices if other.reason != asked.reason]
    text = f"{one.title} ran with {asked.option} = {asked.value}. Why, by its own words?"
    return Draft(text, (asked.reason, "So it stands in the run's config.json."), *wrong)


def _messages_a_step(one: FinishedRun) -> Draft | None:
    r = one.result
    return Draft(
        f"{one.name} took {r.steps:,} steps for {r.epochs:g} epochs of {r.num_train:,} messages. How many messages had a step?",
        (f"about {r.num_train * r.epochs / r.steps:.1f}", f"{r.num_train:,} x {r.epochs:g} / {r.steps:,}."),
        (f"about {r.num_train / r.steps / 2:.1f}", "Half of the messages of one epoch, divided by the steps."),
        (f"about {r.steps / r.epochs:.1f}", "That is the number of steps in an epoch."),
        (f"about {len(one.config.labels):.1f}", "That is the number of labels."),
    )


def _loss_fall(one: FinishedRun) -> Draft | None:
    losses = one.losses
    if len(losses) < 2 or losses[0][1] <= losses[-1][1]:
        return None
    (first_step, first), (last_step, last) = losses[0], losses[-1]
    return Draft(
        f"By how much did the training loss of {one.title} fall, from step {first_step:,} to step {last_step:,}?",
        (f"by {first - last:.2f}", f"From {first:.2f} to {last:.2f}."),
        (f"by {last:.2f}", f"That is the loss at step {last_step:,}: what was left of it."),
        (f"by {first:.2f}", f"That is the loss at step {first_step:,}; by so much it would fall to 0."),
        (f"by {2 * (first - last):.2f}", f"Twice what it fell: from {first:.2f} to {last:.2f}."),
    )


def _validation_loss(one: FinishedRun) -> Draft | None:
    evaluations = one.validations
    if len(evaluations) < 2 or evaluations[0][2] <= 0:
        return None
    (first_step, _, first), (last_step, _, last) = evaluations[0], evaluations[-1]
    says = f"{first:.3f} at step {first_step:,}, {last:.3f} at step {last_step:,}"
    found = "stayed" if abs(last / first - 1) <= SAME_LOSS else "rose" if last > first else "fell"
    texts = {"fell": "It fell", "rose": "It rose", "stayed": "It stayed within 1% of where it was"}
    more = ". When it rises while the training loss falls, the examples are memorised." if found == "rose" else "."
    text = f"What did the validation loss of {one.title} do from the first evaluation to the last?"
    return Draft(text, *explain(texts, right=found, why=f"{says}{more}", why_not=f"{says}, so it did not."))


def _step_seconds(one: FinishedRun) -> Draft | None:
    r = one.result
    each = r.train_seconds / r.steps

    def words(seconds: float) -> str:
        return f"about {1000 * seconds:,.3g} ms" if seconds < 0.9995 else f"about {seconds:,.1f} s"

    return Draft(
        f"{one.title} trained for {r.train_seconds:,.1f} s and took {r.steps:,} steps. How long was a step?",
        (words(each), f"{r.train_seconds:,.1f} s / {r.steps:,}."),
        (words(r.train_seconds / r.num_train / r.epochs), "So long for each message: a step has several."),
        (words(r.train_seconds / r.epochs), f"So long for each of the {r.epochs:g} epochs: an epoch has many steps."),
        (words(10 * each), f"Ten times too long: so {r.steps:,} steps would be {10 * r.train_seconds:,.1f} s."),
    )


def _averages(one: FinishedRun) -> Draft | None:
    """Only where the plan agrees: unused rows of a trimmed embedding and 8-bit optimizers need less."""
    trained, total = one.result.trainable_parameters, one.result.total_parameters
    if not counts_agree(one.result) or abs(one.plan.get("optimizer", 0) - 8 * trained) > NEAR * 8 * trained:
        return None
    two = f"Two averages of 4 bytes for each of {trained:,} parameters; frozen parameters have none."
    everything = "That is everything that a trained parameter has: itself, its gradient and both averages."
    return Draft(
        f"{one.title} trained {trained:,} parameters. How much do Adam's two averages of them take, in float32?",
        (megabytes(8 * trained, digits=3), two),
        (megabytes(8 * total, digits=3), f"So much if all {total:,} parameters of the model were trained."),
        (megabytes(4 * trained, digits=3), "That is one average; or the gradients, which are as many."),
        (megabytes(16 * trained, digits=3), everything),
    )


RUN_KINDS = {
    "trained-share": _trained_share,
    "plan-and-measured": _plan_and_measured,
    "frozen-count": _frozen_count,
    "head-size": _head_size,
    "own-first-loss": _first_loss,
    "largest-part": _largest_part,
    "file-size": _file_size,
    "kept-step": _kept_step,
    "own-reason": _reason,
    "messages-a-step": _messages_a_step,
    "loss-fall": _loss_fall,
    "validation-loss": _validation_loss,
    "step-seconds": _step_seconds,
    "adam-averages": _averages,
}
"""Each returns a question about one run, or None."""
