"""The command `suspects`: rows whose label is probably wrong, or unlabelled rows to label next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import DATA_FLAGS, Json, Set, data_config
from finewright.core.errors import UserError

if TYPE_CHECKING:
    from finewright.cli.console import OutputConsole
    from finewright.core.config import DataConfig
    from finewright.data.readers.base import FileTable
    from finewright.runs.rows_to_label import RowsToLabel
    from finewright.runs.suspects import Suspects

NUM_SHOWN, NUM_PAIRS = 10, 5
"""Rows, and pairs of near-duplicates, that are shown in the terminal."""
_LABEL_WIDTH, _PLACE_WIDTH = 16, 20


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright suspects runs/tickets-lora-seed0 -o suspects.csv")(suspects)


def suspects(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    flags: Annotated[dict[str, Any], DATA_FLAGS],
    data: Annotated[
        str | None,
        typer.Argument(help="A file with labelled rows to judge. [default: the run's own data, all splits]", show_default=False),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option("--unlabelled", metavar="FILE", help="A file with texts: choose those to label next instead."),
    ] = None,
    num: Annotated[int | None, typer.Option("--num", metavar="N", help="Rows of --unlabelled to choose. [default: 20]")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write all rows, the most doubtful first, or those to label next: .csv, .xlsx and so on, or an .html page.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Find rows whose label is probably wrong, and near-duplicates with different labels; or the rows to label next."""
    _check_arguments(data, unlabelled, num, output)
    options = data_config(flags, assignments=assignments)
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.cli.progress import print_wrapped

    if unlabelled is None:
        found: Suspects | RowsToLabel = _judge(run, data, options, output=output, force=force)
    else:
        found = _choose(run, unlabelled, options, num=20 if num is None else num, output=output, force=force)
    table = found.as_table() if unlabelled is None else found.table  # type: ignore[union-attr]
    more = _write(output, found, table, name=run.name)
    errors = ErrorConsole()
    for note in [*found.notes, *more]:
        print_wrapped(errors, note)
    if as_json:
        print_json(found.as_json())
    elif unlabelled is None:
        show_suspects(OutputConsole(), found)  # type: ignore[arg-type]
    else:
        show_rows_to_label(OutputConsole(), found)  # type: ignore[arg-type]
    if output is not None:
        number = len(table.records)
        print_wrapped(errors, f"{number:,} {'row' if number == 1 else 'rows'} written to {output}")


def _check_arguments(data: str | None, unlabelled: str | None, num: int | None, output: Path | None) -> None:
    """Raise `UserError` if two things are asked for at once, or what is asked for cannot be."""
    if data is not None and unlabelled is not None:
        what = f"labelled rows ({data}) and unlabelled ones ({unlabelled}) are both given"
        raise UserError(what, where="--unlabelled", fix="give one of them")
    if num is not None and unlabelled is None:
        raise UserError("it says how many unlabelled rows to choose", where="--num", fix="add --unlabelled FILE")
    if output is not None and str(output) == "-":
        raise UserError("standard output has the table", where="-o", fix="-o FILE, or --json")
    if num is not None:
        from finewright.runs.rows_to_label import check_number

        check_number(num)


def _judge(run: Path, data: str | None, options: "DataConfig", *, output: Path | None, force: bool) -> "Suspects":
    from finewright.cli.console import ErrorConsole
    from finewright.data.readers.base import FileFormat, FileTable
    from finewright.runs.run import open_run

    opened = open_run(run)
    _check_output(output, FileTable([], (), FileFormat(".csv")), force=force)
    with ErrorConsole().status("judging the labels"):
        return opened.find_suspects(data, options=options)


def _choose(run: Path, unlabelled: str, options: "DataConfig", *, num: int, output: Path | None, force: bool) -> "RowsToLabel":
    from finewright.cli.predict import ScoringProgress
    from finewright.data import inputs
    from finewright.runs import reading
    from finewright.runs.run import open_run
    from finewright.runs.suspects import check_task

    opened = open_run(run)
    check_task(opened.config, where=str(run))
    how = reading.data_options(opened.config, options)
    rows = inputs.read_text_rows(unlabelled, options=how, trained=opened.columns)
    _check_output(output, rows.table, force=force)
    with ScoringProgress(len(rows.texts), doing="scoring") as progress:
        return opened.choose_rows_to_label(rows, num, on_progress=progress)


def _is_page(output: Path) -> bool:
    return output.suffix.lower() in (".html", ".htm")


def _check_output(output: Path | None, table: "FileTable", *, force: bool) -> None:
    """Raise `UserError` before anything is computed if the rows could not be written there."""
    if output is None:
        return
    from finewright.data import writers

    kind = output.with_suffix(".csv") if _is_page(output) else output
    writers.check_output(kind, table, force=force or kind != output)
    if _is_page(output) and output.exists() and not force:
        raise UserError("the file exists already", where=str(output), fix="--force replaces it; or -o with another name")


def _write(output: Path | None, found: "Suspects | RowsToLabel", table: "FileTable", *, name: str) -> list[str]:
    """Write the rows where that is wanted, as a table or as a page, and return notes."""
    from finewright.core import files
    from finewright.data import writers
    from finewright.runs.rows_to_label import RowsToLabel

    if output is None or not _is_page(output):
        return [] if output is None else writers.write_table(output, table)
    from finewright.cli import suspects_page

    if isinstance(found, RowsToLabel):
        page = suspects_page.build_rows_page(found, name=name)
    else:
        page = suspects_page.build_suspects_page(found, name=name)
    files.write_atomic(output, page)
    return []


def show_suspects(console: "OutputConsole", found: "Suspects") -> None:
    """Print how many rows look like another label, the most doubtful ones, and near-duplicates, at most 80 columns wide."""
    looks = "looks like another label than it has" if found.num_suspects == 1 else "look like another label than they have"
    console.print(
        f"{found.num_suspects:,} of {len(found.rows):,} rows {looks}",
        highlight=False,
        soft_wrap=True,
    )
    console.print("most doubtful first: row, label, what it looks like, its probability, text", highlight=False)
    shown = found.rows[:NUM_SHOWN]
    _print_rows(console, [([row.where, row.label, row.predicted], f"{row.probability:.2f}", row.text) for row in shown])
    if found.near_duplicates:
        number = len(found.near_duplicates)
        pairs = "1 pair of texts is" if number == 1 else f"{number:,} pairs of texts are"
        console.print(f"{pairs} nearly the same, with different labels: row, label, similarity, text", highlight=False)
    for pair in found.near_duplicates[:NUM_PAIRS]:
        both = zip(pair.where, pair.labels, pair.texts, strict=True)
        _print_rows(console, [([where, label], f"{pair.similarity:.2f}", text) for where, label, text in both])


def show_rows_to_label(console: "OutputConsole", found: "RowsToLabel") -> None:
    """Print the rows to label next, the least certain first."""
    number = len(found.rows)
    chosen = "1 row" if number == 1 else f"{number:,} rows"
    console.print(f"{chosen} to label next, of {found.num_candidates:,} different texts", highlight=False, soft_wrap=True)
    console.print("least certain first: row, most probable label, its probability, text", highlight=False)
    shown = found.rows[:NUM_SHOWN]
    _print_rows(console, [([row.where, row.predicted], f"{row.probability:.2f}", row.text) for row in shown])
    if number > NUM_SHOWN:
        console.print(f"  … and {number - NUM_SHOWN:,} more: -o FILE or --json has all", highlight=False)


def _print_rows(console: "OutputConsole", rows: list[tuple[list[str], str, str]]) -> None:
    """Print a line of at most 80 characters for each row: place and labels in columns, a number, what fits of the text."""
    from finewright.cli.console import clean, printable
    from finewright.cli.predict import shorten, shorten_place

    cells = [
        [shorten_place(place, _PLACE_WIDTH), *(shorten(printable(label), _LABEL_WIDTH) for label in labels)]
        for (place, *labels), _, _ in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    room = min(console.width, 80) if console.is_terminal else 80
    for row, (_, number, text) in zip(cells, rows, strict=True):
        start = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        start = f"  {start}  {number}  "
        line = start + shorten(" ".join(text.split()), max(8, room - len(start)))
        console.print(clean(line), highlight=False, soft_wrap=True)
