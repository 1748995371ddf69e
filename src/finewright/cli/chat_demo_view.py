"""The demo of language models in a terminal: what it starts with, answers before and after, what they cost, what is next."""

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finewright.cli import chat_demo
from finewright.cli.chat_demo import NUM_EXAMPLES, PLAIN, TUNED
from finewright.cli.console import printable
from finewright.cli.progress import format_duration, print_wrapped
from finewright.core.program import program_name, quote_path
from finewright.core.units import format_bytes
from finewright.methods import get_method
from finewright.tasks.answer_metrics import read_object

if TYPE_CHECKING:
    from finewright.cli.chat_demo import ChatDemo, Example, Score, Setup

_HEADINGS = {
    chat_demo.FREQUENT: "most frequent",
    chat_demo.PLAIN: "before",
    chat_demo.FULL: "before, full prompt",
    chat_demo.TUNED: "after",
}


def describe_start(setup: "Setup") -> str:
    """Return what the demo is about to do."""
    what = "Customers' messages become JSON (team, urgency, product, request): 647 to learn from, 100 to test on."
    where = f"Nothing leaves this machine; about {'five' if setup.has_base else 'two'} minutes on two cores."
    return "\n".join([what, where, *([setup.note] if setup.note else [])])


def show(demo: "ChatDemo", console: Console) -> None:
    """Print the scores, some answers side by side, what the training cost, and what is next."""
    number = len(demo.answers)
    console.print(f"\nright answers to {number} messages that it never saw, in % (95% interval)", highlight=False)
    console.print(_score_table(demo))
    console.print()
    for one in demo.answers[:NUM_EXAMPLES]:
        _show_example(one, console)
    console.print()
    print_wrapped(console, describe_cost(demo))
    program, path = program_name(), quote_path(demo.run.path)
    commands = {
        "talk to it": f"{program} chat {path} --beside base",
        "your prompts": f"{program} generate {path} --file prompts.txt",
        "picture": str(demo.picture),
    }
    for name, command in commands.items():
        console.print(f"  {name:<12}  {command}", highlight=False, markup=False, soft_wrap=True)


def describe_cost(demo: "ChatDemo") -> str:
    """Return time, memory, the size of what was saved and the trained share."""
    result = demo.run.result
    share = f"{result.trainable_parameters:,} of {result.total_parameters:,} parameters ({result.trainable_fraction:.2%})"
    saved = get_method(result.method).saves
    memory, size = format_bytes(result.peak_memory_bytes), format_bytes(result.artifact_bytes)
    return (
        f"{result.method} trained {share} in {format_duration(result.train_seconds)} with {memory} of memory; "
        f"the {saved} has {size}; all of it took {format_duration(demo.seconds)}"
    )


def _score_table(demo: "ChatDemo") -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="bold")
    table.add_column("")
    for name in demo.scores:
        table.add_column(_HEADINGS[name], justify="right", style="bold" if name == TUNED else "")
    for measure in demo.scores[TUNED]:
        table.add_row(measure, *(_describe(scores[measure]) for scores in demo.scores.values()))
    return table


def _describe(score: "Score") -> str:
    return f"{100 * score.value:.0f} ({100 * score.low:.0f}–{100 * score.high:.0f})"


def _show_example(one: "Example", console: Console) -> None:
    reference = compare_with_reference(one.answers[TUNED], one.reference)
    lines = {"message": one.message, "before": one.answers[PLAIN], "after": one.answers[TUNED], "reference": reference}
    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        style, whole = "bold" if name == "message" else "", name == "after"
        shown = Text(" ".join(printable(text).split()), style, no_wrap=not whole, overflow="fold" if whole else "ellipsis")
        table.add_row(Text(f"  {name}", "dim"), shown)
    console.print(table)


def compare_with_reference(answer: str, reference: str) -> str:
    """Return the fields in which the reference differs from an answer; all of it if the answer is no JSON."""
    found, wanted = read_object(answer), read_object(reference) or {}
    if found is None:
        return reference
    other = {name: value for name, value in wanted.items() if name not in found or found[name] != value}
    return json.dumps(other, ensure_ascii=False) if other else "the same"
