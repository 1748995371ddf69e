"""The command `compare`: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    data: Annotated[str, typer.Argument(help="A file, a folder with train.*, validation.*, test.*, or a hub id.")],
    model: Annotated[str | None, typer.Option(help="Hub id or local folder. [default: openai-community/gpt2]")] = None,
    methods: Annotated[str | None, typer.Option(help="Ways, parted by commas. [default: all]")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of every way, each with its own seed.")] = 3,
    train_sizes: Annotated[str, typer.Option(help="Training rows, parted by commas, such as 50,200,all.")] = "all",
    search: Annotated[int, typer.Option(help="Trials over knobs on validation, in all for the ways that fit; 0: none.")] = 0,
    budget: Annotated[
        str | None, typer.Option(help="Memory a run may take, such as 8GB; ways beyond it are listed, not run.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="File with the test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison. [default: runs/compare-DATA-MODEL]")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side. [default: as cores and memory allow]")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", help="Column with the text.")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", help="Column with the label.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with knobs.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A knob for all ways, or WAY.KEY=VALUE for one: lora.rank=16."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="results.json on standard output; all else on standard error.")] = False,
) -> None:
    """Train every way on the same rows, several times; accuracy, uncertainty and price on one page."""
    from finewright.cli import compare_view
    from finewright.cli.console import ErrorConsole, OutputConsole, clean, print_json
    from finewright.comparison import compare as comparing
    from finewright.core.config import DEFAULT_MODEL, merge_options, parse_assignments, read_toml, set_option

    tree = read_toml(config) if config else {}
    tree = merge_options(tree, parse_assignments(assignments or []))
    for key, column in (("data.text_column", text_column), ("data.label_column", label_column)):
        if column is not None:
            set_option(tree, key, column)
    console = ErrorConsole()
    listener = compare_view.CompareListener(console)
    console.print(f"[bold]comparing[/bold] {clean(data)}", highlight=False)
    try:
        found = comparing.compare(
            data,
            model=model or tree.pop("model", DEFAULT_MODEL),
            methods=[name.strip() for name in methods.split(",") if name.strip()] if methods else None,
            seeds=seeds,
            train_sizes=[size for size in train_sizes.split(",") if size.strip()],
            search_trials=search,
            budget=budget,
            test=test,
            out=out,
            jobs=jobs,
            options=tree,
            on_event=listener,
        )
    finally:
        listener.close()
    if as_json:
        print_json(found.results)
        return
    shown = OutputConsole()
    compare_view.show(found.results, shown)
    shown.print(f"\n  page    {found.page}\n  runs    {found.path / 'runs'}", highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Put the command on the program."""
    app.command(epilog="Example: finewright compare tickets.csv --model gpt2 --methods lora,freeze --seeds 3")(compare)
