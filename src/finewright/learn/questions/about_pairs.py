"""Questions about several of the learner's own runs side by side; answers are computed."""

from collections.abc import Sequence

from finewright.comparison.statistics import SIGNIFICANT, paired_p_value
from finewright.learn.questions.builder import Answer, Draft, explain, megabytes
from finewright.learn.run_history import FinishedRun


def _pretraining_worth(runs: Sequence[FinishedRun]) -> Draft | None:
    """The best pre-trained run against the best one from random weights."""
    pretrained, random = (_by_accuracy([one for one in runs if one.from_random == wanted])[:1] for wanted in (False, True))
    if not pretrained or not random:
        return None
    best, other = pretrained[0], random[0]
    a, b, majority = best.measured.accuracy, other.measured.accuracy, best.measured.majority_accuracy

    def points(difference: float) -> str:
        return f"{100 * difference:+.1f} points of accuracy"

    return Draft(
        f"{best.label} reached {a:.1%} and {other.label} {b:.1%} on the same messages. What was pre-training worth?",
        (points(a - b), f"{a:.1%} less {b:.1%}."),
        (points(b - a), "The other way round: pre-trained less from scratch."),
        (points(a - majority), f"That is the distance to always predicting one label, {majority:.1%}."),
        (points((a + b) / 2), "That is the mean of both, no difference."),
        (points(1 - a), "That is what the better one still gets wrong."),
        about=[best, other],
    )


def _better_run(runs: Sequence[FinishedRun]) -> Draft | None:
    """The two highest."""
    if len(runs) < 2:
        return None
    a, b = _by_accuracy(runs)[:2]
    right_a, right_b = a.correct_rows(), b.correct_rows()
    if not right_a or not right_b or len(right_a) != len(right_b):
        return None
    only_a = sum(x and not y for x, y in zip(right_a, right_b, strict=True))
    only_b = sum(y and not x for x, y in zip(right_a, right_b, strict=True))
    p = paired_p_value(right_a, right_b)
    says = f"On {only_a} messages only {a.label} is right, on {only_b} only {b.label}: p = {p:.2g}"
    found = "none" if p >= SIGNIFICANT else "first" if only_a > only_b else "second"
    texts = {"none": "Nobody can say from these messages", "first": f"{a.label} is better", "second": f"{b.label} is better"}
    answers = explain(texts, right=found, why=f"{says}.", why_not=f"{says}, which does not say so.")
    percents = f"{a.label} {a.measured.accuracy:.1%}, {b.label} {b.measured.accuracy:.1%}"
    text = f"{percents}, on the same {len(right_a):,} messages. Which is better, by the paired test at 5%?"
    return Draft(text, *answers, about=[a, b])


def _fits(runs: Sequence[FinishedRun]) -> Draft | None:
    """A budget between the smallest planned peak and the next."""
    ordered = sorted(runs, key=lambda one: (one.result.planned_peak_memory_bytes, one.label))
    peaks = [one.result.planned_peak_memory_bytes for one in ordered]
    if len(peaks) < 3 or peaks[0] <= 0 or peaks[1] < 1.02 * peaks[0]:
        return None
    budget = megabytes((peaks[0] + peaks[1]) / 2)
    first, *others = [(one.label, f"Its planned peak is {megabytes(peak)}.") for one, peak in zip(ordered, peaks, strict=True)]
    text = f"A machine has {budget} to spare. Which of your methods fits, by its plan?"
    return Draft(text, first, others[-1], *others, about=ordered[:1])


def _highest(runs: Sequence[FinishedRun]) -> Draft | None:
    ordered = _by_accuracy(runs)
    if len(ordered) < 3 or ordered[0].measured.accuracy == ordered[1].measured.accuracy:
        return None
    answers: list[Answer] = []
    for one in ordered:
        low, high = one.measured.accuracy_ci95
        answers.append((one.label, f"{one.measured.accuracy:.1%}, interval {low:.1%} to {high:.1%}."))
    text = (
        f"Which of your runs got the most {ordered[0].split} messages right? (Whether it is the best method is another question.)"
    )
    return Draft(text, *answers, about=ordered[:1])


def _times(runs: Sequence[FinishedRun]) -> Draft | None:
    """The run with the most trained parameters against the one with the fewest."""
    ordered = sorted(runs, key=lambda one: one.result.trainable_parameters)
    few, many = ordered[0], ordered[-1]
    a, b = many.result, few.result
    most, fewest = a.trainable_parameters, b.trainable_parameters
    if most < 2 * fewest:
        return None

    def times(a: float, b: float) -> str:
        return f"about {a / b:,.1f} times as many"

    return Draft(
        f"How many times as many parameters did {many.label} train as {few.label}?",
        (times(most, fewest), f"{most:,} against {fewest:,}."),
        (times(max(a.artifact_bytes, 1), max(b.artifact_bytes, 1)), "That is how many times larger its file is."),
        (times(a.train_seconds, b.train_seconds), "That is how many times as long it took."),
        (times(most, 10 * fewest), "Ten times too few."),
        (times(100 * most, fewest), "The same number as a percentage."),
        about=[many, few],
    )


def _longest(runs: Sequence[FinishedRun]) -> Draft | None:
    """Few trained parameters, but how much time?"""
    seconds = [(one.result.train_seconds / one.result.epochs, one) for one in runs if not one.from_random]
    seconds.sort(key=lambda pair: pair[0], reverse=True)
    if len(seconds) < 3 or seconds[0][0] < 1.1 * seconds[1][0]:
        return None
    answers: list[Answer] = []
    for time, one in seconds:
        answers.append((one.label, f"{time:.1f} s per epoch, with {one.result.trainable_parameters:,} trained parameters."))
    text = "Which of your runs from pre-trained weights took the longest per epoch?"
    return Draft(text, *answers, about=[seconds[0][1]])


def _by_accuracy(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs, the most accurate first."""
    return sorted(runs, key=lambda one: one.measured.accuracy, reverse=True)


GROUP_KINDS = {
    "pretraining-worth": _pretraining_worth,
    "told-apart": _better_run,
    "which-fits": _fits,
    "most-right": _highest,
    "how-many-times": _times,
    "longest-pass": _longest,
}
"""Each returns a question about all comparable runs, or None."""
