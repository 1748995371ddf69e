"""Questions about how one of the learner's runs was trained; every answer is computed."""

from collections.abc import Callable

from finewright.computed import counts_agree, question
from finewright.course import Question
from finewright.yours import Finished

SAME_LOSS = 0.01
"""Losses whose ratio is nearer to 1 than this are said to have stayed."""
NEAR = 0.1
"""Of the plan's own number for what a question works out by a rule."""


def _loss_fall(one: Finished) -> Question | None:
    losses = one.losses
    if len(losses) < 2 or losses[0][1] <= losses[-1][1]:
        return None
    (first_step, first), (last_step, last) = losses[0], losses[-1]
    return question(
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


def _validation_loss(one: Finished) -> Question | None:
    looks = one.validations
    if len(looks) < 2 or looks[0][2] <= 0:
        return None
    (first_step, _, first), (last_step, _, last) = looks[0], looks[-1]
    says = f"{first:.3f} at step {first_step:,}, {last:.3f} at step {last_step:,}"
    found = "stayed" if abs(last / first - 1) <= SAME_LOSS else "rose" if last > first else "fell"
    answers = {"fell": "It fell", "rose": "It rose", "stayed": "It stayed within 1 % of where it was"}
    more = ". When it rises while the training loss falls, examples are learnt by heart." if found == "rose" else "."
    wrong = [(words, f"{says}, so it did not.") for name, words in answers.items() if name != found]
    text = f"What did the validation loss of {one.name} ({one.label}) do from the first look at it to the last?"
    return question("validation-loss", [one], text, (answers[found], f"{says}{more}"), wrong)


def _step_seconds(one: Finished) -> Question | None:
    r = one.result

    def words(seconds: float) -> str:
        return f"about {1000 * seconds:,.3g} ms" if seconds < 0.9995 else f"about {seconds:,.1f} s"

    each = r.train_seconds / r.steps
    return question(
        "step-seconds",
        [one],
        f"{one.name} ({one.label}) trained for {r.train_seconds:,.1f} s and took {r.steps:,} steps. How long was a step?",
        (words(each), f"{r.train_seconds:,.1f} s / {r.steps:,}."),
        [
            (words(r.train_seconds / r.num_train / r.epochs), "So long for each message: a step has several."),
            (words(r.train_seconds / r.epochs), f"So long for each of the {r.epochs:g} passes: a pass has many steps."),
            (words(10 * each), f"Ten times too long: so {r.steps:,} steps would be {10 * r.train_seconds:,.1f} s."),
        ],
    )


def _averages(one: Finished) -> Question | None:
    """Where the plan has no more and no less: rows of an embedding that no text has are not averaged, 8 bits are fewer."""
    r = one.result
    trained = r.trainable_parameters
    if not counts_agree(r) or abs(one.plan.get("optimizer", 0) - 8 * trained) > NEAR * 8 * trained:
        return None

    def words(num_bytes: float) -> str:
        return f"{num_bytes / 1e6:,.3f} MB"

    return question(
        "adam-averages",
        [one],
        f"{one.name} ({one.label}) trained {trained:,} numbers. How much do Adam's two averages of them take, in float32?",
        (words(8 * trained), f"Two averages of 4 bytes for each of {trained:,} numbers; frozen numbers have none."),
        [
            (words(8 * r.total_parameters), f"So much if all {r.total_parameters:,} numbers of the model were trained."),
            (words(4 * trained), "That is one average; or the gradients, which are as many."),
            (words(16 * trained), "That is everything that a trained number has: itself, its gradient and both averages."),
        ],
    )


TRAINING_KINDS: tuple[Callable[[Finished], Question | None], ...] = (_loss_fall, _validation_loss, _step_seconds, _averages)
