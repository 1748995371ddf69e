"""A question put together from computed answers."""

from collections.abc import Iterable, Sequence

from finewright import methods
from finewright.core.errors import UserError
from finewright.learn.course import Option, Question
from finewright.learn.run_history import Finished, Result

Answer = tuple[str, str]
"""An option's text and its explanation."""
MOST_OPTIONS = 4


def counts_agree(result: Result) -> bool:
    """Whether the head is a part of what was trained, and that no more than the whole model."""
    return result.head_parameters <= result.trainable_parameters <= result.total_parameters


def adds(one: Finished) -> bool:
    """Whether what was trained, but for the head, stands beside the model's own numbers; a way not known here adds none."""
    try:
        return methods.get_method(one.result.method).saves == "adapter"
    except UserError:
        return False


def question(kind: str, about: Sequence[Finished], text: str, right: Answer, wrong: Iterable[Answer]) -> Question | None:
    """A question about some runs, or nothing when fewer than two wrong answers differ from the right one."""
    options = [Option(text=right[0], ok=True, why=right[1])]
    for words, why in wrong:
        if words not in [option.text for option in options] and len(options) < MOST_OPTIONS:
            options.append(Option(text=words, why=why))
    if len(options) < 3:
        return None
    key = f"runs/{kind}/{'+'.join(one.folder.path.name for one in about)}"
    return Question(id=kind, question=text, options=options, key=key, lesson="your runs")
