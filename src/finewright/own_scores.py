"""Questions about what one of the learner's runs got right and wrong; every answer is computed."""

from collections.abc import Callable, Sequence

from finewright.computed import question
from finewright.course import Question
from finewright.metrics import wilson
from finewright.yours import Finished


def _wrong_rows(one: Finished) -> Question | None:
    m = one.measured
    num_right = round(m.accuracy * m.num_rows)
    by_majority = m.num_rows - round(m.majority_accuracy * m.num_rows)
    return question(
        "wrong-rows",
        [one],
        f"{one.name} ({one.label}) reached {m.accuracy:.1%} on {m.num_rows:,} {one.split} messages. How many did it get wrong?",
        (f"{m.num_rows - num_right:,}", f"{num_right:,} of {m.num_rows:,} were right."),
        [
            (f"{num_right:,}", "That many were right."),
            (f"{by_majority:,}", "That many would be wrong if it always said the most frequent label."),
            (f"{round(100 * (1 - m.accuracy)):,}", "That is the percentage, not the number of messages."),
            (f"{m.num_rows:,}", "That is all of them."),
        ],
    )


def _interval(one: Finished) -> Question | None:
    m = one.measured
    num_right = m.accuracy * m.num_rows

    def words(bounds: Sequence[float]) -> str:
        return f"{bounds[0]:.1%} to {bounds[1]:.1%}"

    return question(
        "own-interval",
        [one],
        f"{one.name} ({one.label}): {round(num_right):,} of {m.num_rows:,} right. Which is the 95 % interval of its accuracy?",
        (words(m.accuracy_ci95), f"Wilson's interval for {m.num_rows:,} messages."),
        [
            (words(wilson(num_right, m.num_rows, level=0.5)), "Too narrow: it would miss the true accuracy every second time."),
            (words(wilson(num_right / 8, max(1, m.num_rows // 8))), f"So wide with {max(1, m.num_rows // 8):,} messages."),
            (words(wilson(num_right * 16, m.num_rows * 16)), f"So narrow only with {m.num_rows * 16:,} messages."),
            (
                words((m.majority_accuracy, m.accuracy)),
                "From the majority's accuracy to its own: that is no interval of its accuracy.",
            ),
        ],
    )


def _majority(one: Finished) -> Question | None:
    m = one.measured
    low, high = m.accuracy_ci95
    says = f"The interval is {low:.1%} to {high:.1%}, always saying the most frequent label gives {m.majority_accuracy:.1%}"
    answers = {
        "above": ("Yes: the whole interval lies above it", says),
        "below": ("No, it is worse: the whole interval lies below it", says),
        "within": ("It cannot be told: the interval holds both possibilities", says),
    }
    found = "above" if low > m.majority_accuracy else "below" if high < m.majority_accuracy else "within"
    wrong = [(words, f"{why}, which says otherwise.") for name, (words, why) in answers.items() if name != found]
    text = f"Is {one.name} ({one.label}) better than always saying the most frequent label?"
    return question("own-majority", [one], text, (answers[found][0], f"{says}."), wrong)


def _hardest_label(one: Finished) -> Question | None:
    scores = sorted((label.f1, name) for name, label in one.measured.per_class.items() if label.num_rows)
    if len(scores) < 3 or scores[0][0] == scores[1][0]:
        return None
    answers = [(name, f"F1 {f1:.2f} on {one.measured.per_class[name].num_rows} messages.") for f1, name in scores]
    text = f"Which label was the hardest for {one.name} ({one.label}), by F1 on {one.split}?"
    return question("hardest-label", [one], text, answers[0], [answers[1], answers[-1], answers[len(answers) // 2]])


def _confused(one: Finished) -> Question | None:
    names = list(one.measured.per_class)
    table = one.measured.confusion
    if len(table) != len(names) or any(len(row) != len(names) for row in table):
        return None
    pairs = sorted(
        ((table[i][j], f"{true} taken for {said}") for i, true in enumerate(names) for j, said in enumerate(names) if i != j),
        reverse=True,
    )
    if len(pairs) < 3 or pairs[0][0] <= pairs[1][0]:
        return None
    answers = [(words, f"{count} message{'' if count == 1 else 's'}.") for count, words in pairs]
    text = f"Which mistake did {one.name} ({one.label}) make most often on {one.split}?"
    return question("most-confused", [one], text, answers[0], [answers[1], answers[len(answers) // 2], answers[-1]])


SCORE_KINDS: tuple[Callable[[Finished], Question | None], ...] = (_majority, _wrong_rows, _interval, _hardest_label, _confused)
