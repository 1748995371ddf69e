"""Build a question from computed answers."""

from collections.abc import Iterable, Sequence

from finewright import methods
from finewright.core.errors import UserError
from finewright.learn.course import Option, Question
from finewright.learn.run_history import FinishedRun
from finewright.runs.schema import RunResult

Answer = tuple[str, str]
"""An option's text and its explanation."""
MOST_OPTIONS = 4


def counts_agree(result: RunResult) -> bool:
    """Return whether head <= trained <= total parameters."""
    return result.head_parameters <= result.trainable_parameters <= result.total_parameters


def adds_parameters(one: FinishedRun) -> bool:
    """Return whether the method adds parameters to the model; False for an unknown method."""
    try:
        return methods.get_method(one.result.method).saves == "adapter"
    except UserError:
        return False


def build_question(kind: str, about: Sequence[FinishedRun], text: str, right: Answer, wrong: Iterable[Answer]) -> Question | None:
    """Return a question about some runs; None if fewer than two wrong answers differ from the right one."""
    options = [Option(text=right[0], ok=True, why=right[1])]
    for words, why in wrong:
        if words not in [option.text for option in options] and len(options) < MOST_OPTIONS:
            options.append(Option(text=words, why=why))
    if len(options) < 3:
        return None
    key = f"runs/{kind}/{'+'.join(one.folder.path.name for one in about)}"
    return Question(id=kind, question=text, options=options, key=key, lesson="your runs")
