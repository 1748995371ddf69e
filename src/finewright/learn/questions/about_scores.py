"""Questions about the predictions of one of the learner's runs; every answer is computed."""

from collections.abc import Sequence

from finewright.learn.questions.builder import Draft, explain, spread
from finewright.learn.run_history import FinishedRun
from finewright.tasks.metrics import wilson_interval

MOST_LISTED = 12
"""Labels in one question."""
HALF, CLEARLY_WIDER = (0.45, 0.55), 0.65
"""Ratios of widths: what counts as half, and what clearly does not."""


def _majority(one: FinishedRun) -> Draft | None:
    m = one.measured
    low, high = m.accuracy_ci95
    says = f"The interval is {low:.1%} to {high:.1%}, always predicting the most frequent label gives {m.majority_accuracy:.1%}"
    found = "above" if low > m.majority_accuracy else "below" if high < m.majority_accuracy else "within"
    texts = {
        "above": "Yes: the whole interval lies above it",
        "below": "No, it is worse: the whole interval lies below it",
        "within": "It cannot be told: the interval holds both possibilities",
    }
    text = f"Is {one.title} better than always predicting the most frequent label?"
    return Draft(text, *explain(texts, right=found, why=f"{says}.", why_not=f"{says}, which says otherwise."))


def _wrong_rows(one: FinishedRun) -> Draft | None:
    m = one.measured
    num_right = round(m.accuracy * m.num_rows)
    by_majority = m.num_rows - round(m.majority_accuracy * m.num_rows)
    return Draft(
        f"{one.title} reached {m.accuracy:.1%} on {m.num_rows:,} {one.split} messages. How many did it get wrong?",
        (f"{m.num_rows - num_right:,}", f"{num_right:,} of {m.num_rows:,} were right."),
        (f"{num_right:,}", "That many were right."),
        (f"{by_majority:,}", "That many would be wrong if it always predicted the most frequent label."),
        (f"{round(100 * (1 - m.accuracy)):,}", "That is the percentage, not the number of messages."),
        (f"{m.num_rows:,}", "That is all of them."),
    )


def _interval(one: FinishedRun) -> Draft | None:
    m = one.measured
    n, num_right = m.num_rows, m.accuracy * m.num_rows
    few, many = max(1, n // 8), 16 * n

    def words(bounds: Sequence[float]) -> str:
        return f"{bounds[0]:.1%} to {bounds[1]:.1%}"

    return Draft(
        f"{one.title}: {round(num_right):,} of {n:,} right. Which is the 95% interval of its accuracy?",
        (words(m.accuracy_ci95), f"Wilson's interval for {n:,} messages."),
        (words(wilson_interval(num_right, n, level=0.5)), "Too narrow: it would miss the true accuracy every second time."),
        (words(wilson_interval(num_right / 8, few)), f"So wide with {few:,} messages."),
        (words(wilson_interval(num_right * 16, many)), f"So narrow only with {many:,} messages."),
        (
            words((m.majority_accuracy, m.accuracy)),
            "From the majority's accuracy to its own: that is no interval of its accuracy.",
        ),
    )


def _hardest_label(one: FinishedRun) -> Draft | None:
    scores = sorted((label.f1, name) for name, label in one.measured.per_class.items() if label.num_rows)
    if len(scores) < 3 or scores[0][0] == scores[1][0]:
        return None
    answers = [(name, f"F1 {f1:.2f} on {one.measured.per_class[name].num_rows} messages.") for f1, name in scores]
    return Draft(f"Which label was the hardest for {one.title}, by F1 on {one.split}?", *spread(answers))


def _confused(one: FinishedRun) -> Draft | None:
    names, table = _read_confusion(one)
    pairs = sorted(
        ((table[i][j], f"{true} taken for {said}") for i, true in enumerate(names) for j, said in enumerate(names) if i != j),
        reverse=True,
    )
    if len(pairs) < 3 or pairs[0][0] <= pairs[1][0]:
        return None
    answers = [(words, f"{count} message{'' if count == 1 else 's'}.") for count, words in pairs]
    return Draft(f"Which mistake did {one.title} make most often on {one.split}?", *spread(answers))


def _macro_f1(one: FinishedRun) -> Draft | None:
    """Over the labels that occur or were predicted."""
    m, (names, table) = one.measured, _read_confusion(one)
    count = {name: sum(table[place]) + sum(row[place] for row in table) for place, name in enumerate(names)}
    scores = {name: label.f1 for name, label in m.per_class.items() if count[name]}
    if abs(sum(scores.values()) / len(scores) - m.macro_f1) > 0.0005:
        return None  # the result averages differently
    by_rows = sum(label.f1 * label.num_rows for label in m.per_class.values()) / m.num_rows
    listed = ", ".join(f"{name} {f1:.3f}" for name, f1 in [*scores.items()][:MOST_LISTED])
    more = ", ..." if len(scores) > MOST_LISTED else ""
    mean_by_rows = "That is the mean weighted by each label's messages; in macro F1 rare labels count as much as others."
    return Draft(
        f"The F1 of {one.title} on {one.split}, label by label: {listed}{more}. What is its macro F1?",
        (f"{m.macro_f1:.3f}", f"The plain mean over {len(scores)} labels."),
        (f"{by_rows:.3f}", mean_by_rows),
        (f"{min(scores.values()):.3f}", "That is the F1 of the hardest label alone."),
        (f"{max(scores.values()):.3f}", "That is the F1 of the easiest label alone."),
        (f"{m.accuracy:.3f}", "That is the accuracy: the share of all messages that is right."),
    )


def _largest_label(one: FinishedRun) -> Draft | None:
    m = one.measured
    sizes = sorted(((label.num_rows, name) for name, label in m.per_class.items()), reverse=True)
    if len(sizes) < 3 or sizes[0][0] == sizes[1][0]:
        return None
    answers = [(name, f"{num_rows:,} of {m.num_rows:,} messages.") for num_rows, name in sizes]
    text = f"Always predicting one label is right for {m.majority_accuracy:.1%} of the {one.split} messages. Which label is that?"
    return Draft(text, *spread(answers))


def _read_confusion(one: FinishedRun) -> tuple[list[str], list[list[int]]]:
    """Return (labels, counts by true and predicted label). Raise `ValueError` if the table is not square."""
    names, table = list(one.measured.per_class), one.measured.confusion
    if {len(table), *map(len, table)} != {len(names)}:
        raise ValueError("the table is not square")
    return names, table


def _found(one: FinishedRun) -> Draft | None:
    """Recall of the label with the most missed messages."""
    names, table = _read_confusion(one)
    place = max(range(len(names)), key=lambda i: sum(table[i]) - table[i][i])
    label, here, right = names[place], sum(table[place]), table[place][place]
    said = sum(row[place] for row in table)
    return Draft(
        f"{here:,} {one.split} messages are {label}. How many of them did {one.title} find?",
        (f"{right:,}", f"A recall of {right / here:.1%}: {here - right:,} were taken for something else."),
        (f"{here - right:,}", "That many it missed."),
        (f"{said:,}", f"So often it said {label}, rightly or wrongly."),
        (f"{here:,}", "That would be all of them."),
        (f"{said - right:,}", f"So often it said {label} of a message that is something else."),
    )


def _said(one: FinishedRun) -> Draft | None:
    """Precision of the label that was predicted the most."""
    names, table = _read_confusion(one)
    columns = [sum(row[place] for row in table) for place in range(len(names))]
    place = max(range(len(names)), key=lambda i: columns[i])
    label, said, here, right = names[place], columns[place], sum(table[place]), table[place][place]
    return Draft(
        f"{one.title} called {said:,} {one.split} messages {label}. How often was it right to say so?",
        (f"{right / said:.1%}", f"{right:,} of {said:,}: the precision of {label}."),
        (f"{right / here:.1%}", f"That is the recall: it found {right:,} of {here:,} that are {label}."),
        (f"{one.measured.accuracy:.1%}", "That is how often it is right whatever it says."),
        (f"{said / one.measured.num_rows:.1%}", f"So often it says {label} at all."),
        (f"{1 - right / said:.1%}", "So often it was wrong to say so."),
    )


def _half_as_wide(one: FinishedRun) -> Draft | None:
    """Not if nearly all or none are right: then the width is proportional to 1/n, not 1/sqrt(n)."""
    n = one.measured.num_rows
    low, high = one.measured.accuracy_ci95
    twice, four_times = (_width(one.measured.accuracy, times * n) / _width(one.measured.accuracy, n) for times in (2, 4))
    if not HALF[0] <= four_times <= HALF[1] or twice < CLEARLY_WIDER:
        return None
    return Draft(
        f"The interval of {one.title} is {100 * (high - low):.1f} points wide, from {n:,} {one.split} messages. "
        "How many would make it about half as wide?",
        (f"{4 * n:,}", "The width is proportional to one over the square root of their number."),
        (f"{2 * n:,}", "Twice as many make it narrower by a factor of 1.4 only."),
        (f"{n // 2:,}", "With fewer messages it becomes wider."),
        (f"{16 * n:,}", "With 16 times as many it would be a quarter as wide."),
    )


def _width(accuracy: float, num_rows: int) -> float:
    low, high = wilson_interval(accuracy * num_rows, num_rows)
    return high - low


def _one_message(one: FinishedRun) -> Draft | None:
    n, num_train = one.measured.num_rows, one.result.num_train
    low, high = one.measured.accuracy_ci95
    return Draft(
        f"{one.name} was measured on {n:,} {one.split} messages. How many points of accuracy is one of them?",
        (f"{100 / n:.3f} points", f"100 / {n:,}. A difference of a few times that is a matter of single messages."),
        (f"{100 / num_train:.3f} points", f"That is 100 / {num_train:,}, the messages it was trained on."),
        (f"{50 * (high - low):.3f} points", "That is half the width of its 95% interval."),
        (f"{100 / len(one.measured.per_class):.3f} points", "That is 100 divided by the number of labels."),
    )


SCORE_KINDS = {
    "own-majority": _majority,
    "wrong-rows": _wrong_rows,
    "own-interval": _interval,
    "hardest-label": _hardest_label,
    "most-confused": _confused,
    "macro-f1": _macro_f1,
    "largest-label": _largest_label,
    "found-of-label": _found,
    "said-label": _said,
    "half-interval": _half_as_wide,
    "one-message": _one_message,
}
"""Each returns a question about the predictions of one run, or None."""
