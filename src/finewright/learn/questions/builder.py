"""Build a question from computed answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from finewright.learn.course import Option, Question
from finewright.learn.run_history import FinishedRun
from finewright.runs.schema import RunResult

T = TypeVar("T", FinishedRun, Sequence[FinishedRun])
Answer = tuple[str, str]
"""An option's text and its explanation."""
MOST_OPTIONS = 4


class Draft:
    """A question's text, the right answer, and wrong ones, the best first. `about`: the runs, if not only the one asked of."""

    def __init__(self, text: str, *answers: Answer, about: Sequence[FinishedRun] = ()) -> None:
        self.text = text
        self.answers = answers
        self.about = about


def build_question(kind: str, make_draft: Callable[[T], Draft | None], runs: T) -> Question | None:
    """Return a question about one or several runs.

    None if `make_draft` returns none, if the runs have unusual values, or if fewer than two wrong answers differ from the
    right one. `kind`: the question's id.
    """
    try:
        draft = make_draft(runs)
        if draft is None:
            return None
        options: list[Option] = []
        for words, why in draft.answers:
            if words not in [option.text for option in options] and len(options) < MOST_OPTIONS:
                options.append(Option(text=words, ok=not options, why=why))
        if len(options) < 3:
            return None
        about = draft.about or ([runs] if isinstance(runs, FinishedRun) else runs)
        key = f"runs/{kind}/{'+'.join(one.folder.path.name for one in about)}"
        return Question(id=kind, question=draft.text, options=options, key=key, lesson="your runs")
    except (ValidationError, ArithmeticError, ValueError):
        return None


def explain(texts: Mapping[str, str], *, right: str, why: str, why_not: str) -> list[Answer]:
    """Return answers that exclude each other, that of the key `right` first. `why_not`: explains each of the others."""
    return [(texts[right], why), *((text, why_not) for name, text in texts.items() if name != right)]


def spread(ranked: Sequence[Answer]) -> list[Answer]:
    """Return of a ranking the first answer, which is right, then the second, the last and the middle one."""
    return [ranked[0], ranked[1], ranked[-1], ranked[len(ranked) // 2]]


def megabytes(num_bytes: float, *, digits: int = 1) -> str:
    """Return a size as text."""
    return f"{num_bytes / 1e6:,.{digits}f} MB"


def counts_agree(result: RunResult) -> bool:
    """Return whether head <= trained <= total parameters."""
    return result.head_parameters <= result.trainable_parameters <= result.total_parameters
