"""Questions about several of the learner's own runs side by side; answers are computed."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from finewright.comparison.statistics import SIGNIFICANT, paired_p_value
from finewright.learn.course import Question
from finewright.learn.questions.builder import Answer, build_question
from finewright.learn.run_history import FinishedRun


def _pretraining_worth(runs: Sequence[FinishedRun]) -> Question | None:
    """The best pre-trained run against the best one from random weights."""
    pretrained, random = (_best([one for one in runs if one.from_random == wanted]) for wanted in (False, True))
    if pretrained is None or random is None:
        return None
    a, b = pretrained.measured.accuracy, random.measured.accuracy
    points, majority = 100 * (a - b), pretrained.measured.majority_accuracy
    return build_question(
        "pretraining-worth",
        [pretrained, random],
        f"{pretrained.label} reached {a:.1%} and {random.label} {b:.1%} on the same messages. What was pre-training worth?",
        (f"{points:+.1f} points of accuracy", f"{a:.1%} less {b:.1%}."),
        [
            (f"{-points:+.1f} points of accuracy", "The other way round: pre-trained less from scratch."),
            (
                f"{100 * (a - majority):+.1f} points of accuracy",
                f"That is the distance to always predicting one label, {majority:.1%}.",
            ),
            (f"{100 * (a + b) / 2:+.1f} points of accuracy", "That is the mean of both, no difference."),
            (f"{100 * (1 - a):+.1f} points of accuracy", "That is what the better one still gets wrong."),
        ],
    )


def _better_run(runs: Sequence[FinishedRun]) -> Question | None:
    """The two highest."""
    ordered = sorted(runs, key=lambda one: one.measured.accuracy, reverse=True)
    if len(ordered) < 2:
        return None
    a, b = ordered[:2]
    right_a, right_b = a.correct_rows(), b.correct_rows()
    if not right_a or not right_b or len(right_a) != len(right_b):
        return None
    only_a = sum(x and not y for x, y in zip(right_a, right_b, strict=True))
    only_b = sum(y and not x for x, y in zip(right_a, right_b, strict=True))
    p = paired_p_value(right_a, right_b)
    says = f"On {only_a} messages only {a.label} is right, on {only_b} only {b.label}: p = {p:.2g}"
    found = "none" if p >= SIGNIFICANT else "first" if only_a > only_b else "second"
    answers = {
        "none": "Nobody can say from these messages",
        "first": f"{a.label} is better",
        "second": f"{b.label} is better",
    }
    wrong = [(words, f"{says}, which does not say so.") for name, words in answers.items() if name != found]
    percents = f"{a.label} {a.measured.accuracy:.1%}, {b.label} {b.measured.accuracy:.1%}"
    text = f"{percents}, on the same {len(right_a):,} messages. Which is better, by the paired test at 5 %?"
    return build_question("told-apart", [a, b], text, (answers[found], f"{says}."), wrong)


def _fits(runs: Sequence[FinishedRun]) -> Question | None:
    """A budget between the smallest planned peak and the next."""
    peaks = sorted(((one.result.planned_peak_memory_bytes, one.label, one) for one in runs), key=lambda peak: peak[:2])
    if len(peaks) < 3 or peaks[0][0] <= 0 or peaks[1][0] < 1.02 * peaks[0][0]:
        return None
    budget = (peaks[0][0] + peaks[1][0]) / 2
    answers: list[Answer] = [(label, f"Its planned peak is {peak / 1e6:,.1f} MB.") for peak, label, _ in peaks]
    text = f"A machine has {budget / 1e6:,.1f} MB to spare. Which of your methods fits, by its plan?"
    return build_question("which-fits", [peaks[0][2]], text, answers[0], [answers[-1], *answers[1:-1]])


def _highest(runs: Sequence[FinishedRun]) -> Question | None:
    ordered = sorted(runs, key=lambda one: one.measured.accuracy, reverse=True)
    if len(ordered) < 3 or ordered[0].measured.accuracy == ordered[1].measured.accuracy:
        return None
    answers: list[Answer] = []
    for one in ordered:
        low, high = one.measured.accuracy_ci95
        answers.append((one.label, f"{one.measured.accuracy:.1%}, interval {low:.1%} to {high:.1%}."))
    text = (
        f"Which of your runs got the most {ordered[0].split} messages right? (Whether it is the best method is another question.)"
    )
    return build_question("most-right", [ordered[0]], text, answers[0], answers[1:])


def _times(runs: Sequence[FinishedRun]) -> Question | None:
    """The run with the most trained parameters against the one with the fewest."""
    ordered = sorted(runs, key=lambda one: one.result.trainable_parameters)
    few, many = ordered[0], ordered[-1]
    if many.result.trainable_parameters < 2 * few.result.trainable_parameters:
        return None

    def times(a: float, b: float) -> str:
        return f"about {a / b:,.1f} times as many"

    a, b = many.result, few.result
    return build_question(
        "how-many-times",
        [many, few],
        f"How many times as many parameters did {many.label} train as {few.label}?",
        (
            times(a.trainable_parameters, b.trainable_parameters),
            f"{a.trainable_parameters:,} against {b.trainable_parameters:,}.",
        ),
        [
            (times(max(a.artifact_bytes, 1), max(b.artifact_bytes, 1)), "That is how many times larger its file is."),
            (times(a.train_seconds, b.train_seconds), "That is how many times as long it took."),
            (times(a.trainable_parameters, 10 * b.trainable_parameters), "Ten times too few."),
            (times(100 * a.trainable_parameters, b.trainable_parameters), "The same number as a percentage."),
        ],
    )


def _longest(runs: Sequence[FinishedRun]) -> Question | None:
    """Few trained parameters, but how much time?"""
    pretrained = [one for one in runs if not one.from_random]
    if len(pretrained) < 3:
        return None
    ordered = sorted(pretrained, key=lambda one: one.result.train_seconds / one.result.epochs, reverse=True)
    seconds = [one.result.train_seconds / one.result.epochs for one in ordered]
    if any(slow < 1.1 * fast for slow, fast in [*pairwise(seconds)][:1]):
        return None
    answers: list[Answer] = []
    for one, time in zip(ordered, seconds, strict=True):
        answers.append((one.label, f"{time:.1f} s per epoch, with {one.result.trainable_parameters:,} trained parameters."))
    text = "Which of your runs from pre-trained weights took the longest per epoch?"
    return build_question("longest-pass", [ordered[0]], text, answers[0], answers[1:])


def _best(runs: Sequence[FinishedRun]) -> FinishedRun | None:
    return max(runs, key=lambda one: one.measured.accuracy, default=None)


GROUP_KINDS: tuple[Callable[[Sequence[FinishedRun]], Question | None], ...] = (
    _pretraining_worth,
    _better_run,
    _fits,
    _highest,
    _times,
    _longest,
)
