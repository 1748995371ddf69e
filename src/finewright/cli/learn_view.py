"""How the course looks in a terminal: lessons as text, verdicts, questions. Pictures of the learner's own runs are shown
where the terminal can and named as files everywhere; a lesson's drawings, which are SVG, are named only."""

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
from finewright.learn.course import Lesson, Make, Question
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import Answered, Round
from finewright.learn.run_history import Table
from finewright.learn.workspace import YOURS_MARK, Hint, Workspace

LETTERS = "abcdef"
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_WIDTH = 100
WIDE = 120


def overview(console: Console, lines: Sequence[dict[str, Any]], *, next_number: int | None) -> None:
    """Every lesson in a line, and what to do next."""
    marks = {"passed": "✓ passed", "not yet": "… not yet", "started": "… started", "new": "", "to read": "to read"}
    wide = console.width >= WIDE
    rows = []
    for line in lines:
        row = [str(line["number"]), line["title"], f"{line['minutes']} min", marks[line["state"]]]
        rows.append([*row, line["summary"]] if wide else row)
    console.print(rows_table(["", "lesson", "", "exercise", *(["about"] if wide else [])], rows))
    if next_number is None:
        console.print("\nEvery exercise has passed. finewright learn quiz keeps it fresh.", highlight=False)
    else:
        console.print(f"\nNext: finewright learn show {next_number}, then finewright learn start {next_number}", highlight=False)


def lesson(console: Console, desk: Workspace, one: Lesson) -> None:
    """The text, with the learner's own numbers where the text wants them."""
    console.print(f"[bold]Lesson {one.number}: {clean(one.about.title)}[/bold]  ({one.about.minutes} minutes)\n", highlight=False)
    text = _IMAGE.sub(lambda found: f"*{found[1]}* (picture: {one.folder / found[2]})", _printable(one.text))
    before, mark, after = text.partition(YOURS_MARK)
    console.print(Markdown(before, hyperlinks=False), width=_WIDTH)
    if mark:
        console.print()
        yours(console, desk, one)
        console.print(Markdown(after, hyperlinks=False), width=_WIDTH)
    number = one.number
    if one.has_exercise and not desk.file(one).exists():
        console.print(f"\n  begin    finewright learn start {number}", highlight=False)
    elif one.has_exercise:
        console.print(f"\n  yours    {desk.file(one)}\n  check    finewright learn check {number}", highlight=False)
    if one.questions:
        console.print(f"  quiz     finewright learn quiz {number}", highlight=False)


def yours(console: Console, desk: Workspace, one: Lesson) -> None:
    """Tables, the picture and its path, or the commands that make them."""
    found = desk.yours(one)
    if found.table:
        _table(console, found.table)
        _picture(console, desk.picture(one, found))
    if found.kept:
        console.print(f"\n  [bold]{clean(found.kept.says)}[/bold], by your own code", highlight=False)
        _table(console, found.kept)
    if found.makes:
        begin = "Also to see here:" if found.table else "Not on this machine yet. Make it:"
        console.print(f"\n  {begin}", highlight=False)
        for make in found.makes:
            _command(console, make)
    console.print()


def _picture(console: Console, path: Path | None) -> None:
    """Past rich, which would take the picture for text to be wrapped. FORCE_COLOR makes no terminal of a file."""
    speaks = terminal_images.protocol(os.environ) if console.file.isatty() else None
    if path and speaks:
        with contextlib.suppress(OSError):  # whatever is wrong with the terminal, the next print hears of it
            console.file.write(terminal_images.escape(path.read_bytes(), speaks, columns=min(_WIDTH, console.width)) + "\n")
            console.file.flush()
    console.print(f"  picture  {path}", highlight=False, soft_wrap=True)


def _table(console: Console, table: Table) -> None:
    """Closer than the program's other tables: seven columns in eighty characters."""
    close = rows_table(table.headings, table.rows)
    close.padding = (0, 1)
    console.print(close)


def _command(console: Console, make: Make) -> None:
    if make.note:
        console.print(f"    # {clean(make.note)}", highlight=False, soft_wrap=True)
    console.print(f"    {clean(make.command)}", highlight=False, soft_wrap=True)


def started(console: Console, written: Sequence[Path], one: Lesson) -> None:
    """Which files were made."""
    for path in written:
        console.print(f"  wrote    {path}", highlight=False, soft_wrap=True)
    console.print(f"\n  Write in it with any editor, then: finewright learn check {one.number}", highlight=False)


def verdict(console: Console, judged: GradeResult, one: Lesson, *, file: Path, says: str) -> None:
    """Claim by claim, then what is known about this mistake."""
    for claim in judged.claims:
        mark, color = ("✓", "green") if claim.ok else ("✗", "red")
        console.print(f"  [{color}]{mark}[/{color}] {clean(claim.what)}", highlight=False, soft_wrap=True)
        if not claim.ok:
            console.print(
                f"      expected  {clean(claim.expected)}\n      found     {clean(claim.found)}", highlight=False, soft_wrap=True
            )
    for note in judged.notes:
        console.print(f"  · {clean(note)}", highlight=False, soft_wrap=True)
    if judged.output.strip():
        console.print("\n  Your file printed:", highlight=False)
        for line in judged.output.strip().splitlines()[-12:]:
            console.print(f"    {clean(line)}", highlight=False, soft_wrap=True)
    number = one.number
    if judged.passed:
        console.print(f"\n[bold green]Lesson {number} passed[/bold green] in {judged.seconds:.1f} s.", highlight=False)
        console.print(f"  run it   python {file}\n  compare  finewright learn solution {number}", highlight=False, soft_wrap=True)
        return
    console.print("\n[bold]Not yet.[/bold]" + (f"  {clean(says)}" if says else ""), highlight=False, soft_wrap=True)
    console.print(f"  help     finewright learn hint {number}", highlight=False)


def hint(console: Console, step: Hint, one: Lesson) -> None:
    """One step of help."""
    if step.says:
        console.print(f"{clean(step.says)}\n", highlight=False, soft_wrap=True)
    console.print(f"Hint {step.number} of {step.of}: {clean(step.text)}", highlight=False, soft_wrap=True)
    if step.number == step.of:
        console.print(f"  That was the last. The solution: finewright learn solution {one.number} --give-up", highlight=False)


def _printable(text: str) -> str:
    """Without characters that would steer the terminal."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def code(console: Console, text: str) -> None:
    """Python, coloured where the terminal can."""
    text = _printable(text)
    if console.is_terminal:
        console.print(Syntax(text, "python", background_color="default"))
    else:
        console.out(text, highlight=False)


def play(console: Console, game: Round) -> None:
    """Ask until the round is over, the learner says q, or standard input ends."""
    while (question := game.current) is not None:
        of = "again" if game.again else f"{game.number} of {game.num_first}"
        console.print(f"\n[bold]{of}[/bold]  {clean(question.question)}", highlight=False, soft_wrap=True)
        options = game.options()
        for letter, option in zip(LETTERS, options, strict=False):
            console.print(f"  {letter}  {clean(option.text)}", highlight=False, soft_wrap=True)
        chosen = _letter(console, len(options))
        if chosen is None:
            break
        answered(console, game.answer(chosen))
    right, asked = game.score
    if asked:
        console.print(f"\n[bold]{right} of {asked} right.[/bold]" + ("" if right == asked else "  What was missed comes again."))


def _letter(console: Console, num_options: int) -> int | None:
    letters = LETTERS[:num_options]
    while True:
        console.print(f"  your answer ({letters[0]} to {letters[-1]}, q to stop): ", end="", highlight=False)
        line = sys.stdin.readline() if sys.stdin else ""
        word = line.strip().lower()
        if not line or word == "q":
            console.print()
            return None
        if len(word) == 1 and word in letters:
            return letters.index(word)


def answered(console: Console, one: Answered) -> None:
    """Right or not, and why, for every option."""
    console.print("  [green]Right.[/green]" if one.ok else f"  [red]No:[/red] {LETTERS[one.right]} is right.", highlight=False)
    for place, option in enumerate(one.options):
        mark = "✓" if option.ok else "→" if place == one.chosen else " "
        console.print(f"  {mark} {LETTERS[place]}  {clean(option.why)}", highlight=False, soft_wrap=True)


def questions(console: Console, asked: Sequence[Question]) -> None:
    """All questions with their answers."""
    for number, one in enumerate(asked, start=1):
        console.print(f"\n[bold]{number}[/bold]  {clean(one.question)}", highlight=False, soft_wrap=True)
        for option in one.options:
            console.print(
                f"  {'✓' if option.ok else '·'} {clean(option.text)}\n      {clean(option.why)}", highlight=False, soft_wrap=True
            )


def summary(console: Console, lines: Sequence[dict[str, Any]], counts: dict[str, int]) -> None:
    """Lessons and questions in numbers."""
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


def collected(console: Console, lines: Sequence[dict[str, Any]]) -> None:
    """One learner a line."""
    rows = []
    for line in lines:
        passed = f"{len(line['passed'])} of {line['lessons']}"
        here = "" if line["passed_here"] is None else ", ".join(map(str, line["passed_here"])) or "none"
        answers = f"{line['answers_right']} of {line['answers']}"
        rows.append([line["learner"], line["course"], passed, here, ", ".join(map(str, line["gave_up"])), answers])
    console.print(rows_table(["learner", "course", "passed", "passed here", "gave up", "answers right"], rows))
