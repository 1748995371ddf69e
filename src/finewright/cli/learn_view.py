"""The course in a terminal: lessons, check results, questions. Plots of the learner's runs are shown inline if the
terminal supports it; a lesson's SVG drawings are only named."""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax

from finewright.cli import terminal_images
from finewright.cli.console import clean
from finewright.cli.progress import rows_table
from finewright.core.program import localize_commands
from finewright.learn.course import Lesson, Question
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import AnsweredQuestion, QuizRound
from finewright.learn.run_history import Table
from finewright.learn.workspace import YOURS_MARK, Hint, Workspace

LETTERS = "abcdef"
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_WIDTH = 100
WIDE = 120


def show_overview(console: Console, lines: Sequence[dict[str, Any]], *, next_number: int | None) -> None:
    """Print one line per lesson, and what to do next."""
    marks = {"passed": "✓ passed", "not yet": "… not yet", "started": "… started", "new": "", "to read": "to read"}
    wide = console.width >= WIDE
    rows = []
    for line in lines:
        row = [str(line["number"]), line["title"], f"{line['minutes']} min", marks[line["state"]]]
        rows.append([*row, line["summary"]] if wide else row)
    console.print(rows_table(["", "lesson", "", "exercise", *(["about"] if wide else [])], rows))
    if next_number is None:
        console.print(
            localize_commands("\nEvery exercise has passed. Repeat what you learned with: finewright learn quiz"), highlight=False
        )
    else:
        console.print(
            localize_commands(f"\nNext: finewright learn show {next_number}, then finewright learn start {next_number}"),
            highlight=False,
        )


def show_lesson(console: Console, workspace: Workspace, one: Lesson) -> None:
    """Print a lesson, with results of the learner's own runs."""
    console.print(f"[bold]Lesson {one.number}: {clean(one.about.title)}[/bold]  ({one.about.minutes} minutes)\n", highlight=False)
    text = _IMAGE.sub(lambda found: f"*{found[1]}* (picture: {one.folder / found[2]})", _printable(localize_commands(one.text)))
    before, mark, after = text.partition(YOURS_MARK)
    console.print(Markdown(before, hyperlinks=False), width=_WIDTH)
    if mark:
        console.print()
        show_own_results(console, workspace, one)
        console.print(Markdown(after, hyperlinks=False), width=_WIDTH)
    number = one.number
    if one.has_exercise and not workspace.file(one).exists():
        _say(console, f"\n  begin    finewright learn start {number}")
    elif one.has_exercise:
        console.print(
            localize_commands(f"\n  yours    {workspace.file(one)}\n  check    finewright learn check {number}"), highlight=False
        )
    if one.questions:
        _say(console, f"  quiz     finewright learn quiz {number}")


def show_own_results(console: Console, workspace: Workspace, one: Lesson) -> None:
    """Print tables, the plot and its path, or the commands for missing runs."""
    found = workspace.own_results(one)
    if found.table:
        _table(console, found.table)
        _picture(console, workspace.picture(one, found))
    if found.saved:
        console.print(f"\n  [bold]{clean(found.saved.says)}[/bold], by your own code", highlight=False)
        _table(console, found.saved)
    if found.commands:
        heading = "More runs for this lesson:" if found.table else "No runs yet. Start them with:"
        console.print(f"\n  {heading}", highlight=False)
        for make in found.commands:
            _say(console, (f"    # {clean(make.note)}\n" if make.note else "") + f"    {clean(make.command)}")
    console.print()


def _picture(console: Console, path: Path | None) -> None:
    """Print a plot directly: rich would wrap it as text. `isatty` ignores FORCE_COLOR."""
    protocol = terminal_images.protocol(os.environ) if console.file.isatty() else None
    if path and protocol:
        with contextlib.suppress(OSError):  # the next print reports a broken terminal
            console.file.write(terminal_images.escape(path.read_bytes(), protocol, columns=min(_WIDTH, console.width)) + "\n")
            console.file.flush()
    _say(console, f"  picture  {path}")


def _table(console: Console, table: Table) -> None:
    """Print a table with narrow gaps: seven columns in eighty characters."""
    close = rows_table(table.headings, table.rows)
    close.padding = (0, 1)
    console.print(close)


def _say(console: Console, text: str) -> None:
    """Print lines that are never wrapped, so that paths and commands can be copied, and commands run as printed."""
    console.print(localize_commands(text), highlight=False, soft_wrap=True)


def show_written(console: Console, written: Sequence[Path]) -> None:
    """Print which files were written."""
    for path in written:
        _say(console, f"  wrote    {path}")


def show_started(console: Console, written: Sequence[Path], one: Lesson) -> None:
    """Print which files were written, and what to do with them."""
    show_written(console, written)
    console.print(
        localize_commands(f"\n  Write in it with any editor, then: finewright learn check {one.number}"), highlight=False
    )


def show_grade(console: Console, grade: GradeResult, one: Lesson, *, file: Path, says: str) -> None:
    """Print each claim, then the explanation of a known mistake."""
    for claim in grade.claims:
        mark, color = ("✓", "green") if claim.ok else ("✗", "red")
        _say(console, f"  [{color}]{mark}[/{color}] {clean(claim.what)}")
        if not claim.ok:
            _say(console, f"      expected  {clean(claim.expected)}\n      found     {clean(claim.found)}")
    for note in grade.notes:
        _say(console, f"  · {clean(note)}")
    if grade.output.strip():
        console.print("\n  Your file printed:", highlight=False)
        for line in grade.output.strip().splitlines()[-12:]:
            _say(console, f"    {clean(line)}")
    number = one.number
    if grade.passed:
        console.print(f"\n[bold green]Lesson {number} passed[/bold green] in {grade.seconds:.1f} s.", highlight=False)
        _say(console, f"  run it   python {file}\n  compare  finewright learn solution {number}")
        return
    _say(console, "\n[bold]Not yet.[/bold]" + (f"  {clean(says)}" if says else ""))
    _say(console, f"  help     finewright learn hint {number}")


def show_hint(console: Console, step: Hint, one: Lesson) -> None:
    """Print one hint."""
    if step.says:
        _say(console, f"{clean(step.says)}\n")
    _say(console, f"Hint {step.number} of {step.of}: {clean(step.text)}")
    if step.number == step.of:
        console.print(
            localize_commands(f"  That was the last. The solution: finewright learn solution {one.number} --give-up"),
            highlight=False,
        )


def _printable(text: str) -> str:
    """Remove control characters."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def show_code(console: Console, text: str) -> None:
    """Print Python code, coloured in a terminal."""
    text = _printable(text)
    if console.is_terminal:
        console.print(Syntax(text, "python", background_color="default"))
    else:
        console.out(text, highlight=False)


def ask_questions(console: Console, quiz_round: QuizRound) -> None:
    """Ask questions until the round is over, the learner enters q, or standard input ends."""
    while (question := quiz_round.current) is not None:
        of = "again" if quiz_round.again else f"{quiz_round.number} of {quiz_round.num_first}"
        _say(console, f"\n[bold]{of}[/bold]  {clean(question.question)}")
        options = quiz_round.options()
        for letter, option in zip(LETTERS, options, strict=False):
            _say(console, f"  {letter}  {clean(option.text)}")
        chosen = _letter(console, len(options))
        if chosen is None:
            break
        show_answered(console, quiz_round.answer(chosen))
    right, asked = quiz_round.score
    if asked:
        console.print(f"\n[bold]{right} of {asked} right.[/bold]" + ("" if right == asked else "  Missed questions come again."))


def _letter(console: Console, num_options: int) -> int | None:
    letters = LETTERS[:num_options]
    while True:
        asked = f"{letters[0]} to {letters[-1]} or 1 to {num_options}, q to stop"
        console.print(f"  your answer ({asked}): ", end="", highlight=False)
        line = sys.stdin.readline() if sys.stdin else ""
        word = line.strip().lower()
        if not line or word == "q":
            console.print()
            return None
        if len(word) == 1 and word in letters:
            return letters.index(word)
        if word in map(str, range(1, num_options + 1)):
            return int(word) - 1


def show_answered(console: Console, one: AnsweredQuestion) -> None:
    """Print whether the answer is right, and why for every option."""
    console.print("  [green]Right.[/green]" if one.ok else f"  [red]No:[/red] {LETTERS[one.right]} is right.", highlight=False)
    for place, option in enumerate(one.options):
        mark = "✓" if option.ok else "→" if place == one.chosen else " "
        _say(console, f"  {mark} {LETTERS[place]}  {clean(option.why)}")


def show_questions(console: Console, asked: Sequence[Question]) -> None:
    """Print all questions with their answers."""
    for number, one in enumerate(asked, start=1):
        _say(console, f"\n[bold]{number}[/bold]  {clean(one.question)}")
        for option in one.options:
            _say(console, f"  {'✓' if option.ok else '·'} {clean(option.text)}\n      {clean(option.why)}")


def show_summary(console: Console, lines: Sequence[dict[str, Any]], counts: dict[str, int]) -> None:
    """Print progress in lessons and questions."""
    rows = []
    for line in lines:
        held = f"{line['claims_held']} of {line['claims']}" if line["claims"] else ""
        rows.append([str(line["number"]), line["title"], line["state"], str(line["attempts"] or ""), held])
    console.print(rows_table(["", "lesson", "exercise", "checks", "claims held"], rows))
    console.print(
        f"\n  exercises  {counts['exercises_passed']} of {counts['exercises']} passed"
        f"\n  answers    {counts['answers_right']} of {counts['answers']} right"
        f"\n  questions  {counts['questions_known']} known well, {counts['questions_due']} due today",
        highlight=False,
    )


def show_collected(console: Console, lines: Sequence[dict[str, Any]]) -> None:
    """Print one line per learner."""
    rows = []
    for line in lines:
        passed = f"{len(line['passed'])} of {line['lessons']}"
        here = "" if line["passed_here"] is None else ", ".join(map(str, line["passed_here"])) or "none"
        answers = f"{line['answers_right']} of {line['answers']}"
        rows.append([line["learner"], line["course"], passed, here, ", ".join(map(str, line["gave_up"])), answers])
    console.print(rows_table(["learner", "course", "passed", "passed here", "gave up", "answers right"], rows))
