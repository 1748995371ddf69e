"""The command `compare`: parse, call, print."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import Config, Json, OptionFlags, Quiet, Verbose, choose_verbosity, merge_given


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright compare tickets.csv --model gpt2 --methods lora,freeze --seeds 3")(compare)


def compare(
    data: Annotated[str, typer.Argument(help="A file, a folder with train.*, validation.*, test.*, or a hub id.")],
    flags: Annotated[dict[str, Any], OptionFlags(without=("seed",))],
    methods: Annotated[str | None, typer.Option(help="Methods, separated by commas. [default: all]")] = None,
    seeds: Annotated[int, typer.Option(help="Runs per method, each with its own seed.")] = 3,
    train_sizes: Annotated[str, typer.Option(help="Numbers of training rows, separated by commas, such as 50,200,all.")] = "all",
    search: Annotated[
        int, typer.Option(help="Trials of a hyperparameter search on validation, shared by the methods that fit; 0: none.")
    ] = 0,
    test: Annotated[str | None, typer.Option(help="File with the test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison. [default: runs/compare-DATA-MODEL]")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Parallel runs. [default: what cores and memory allow]")] = None,
    config: Config = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set an option for all methods, or for one: lora.rank=16."),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train every method on the same rows with several seeds; report accuracy, uncertainty and cost on one page."""
    from finewright.cli import compare_view
    from finewright.cli.console import ErrorConsole, OutputConsole, clean, print_json
    from finewright.comparison import compare as comparing
    from finewright.core.config import AUTO_MODEL

    verbosity = choose_verbosity(verbose=verbose, quiet=quiet)
    tree = merge_given(flags, assignments=assignments, config=config)
    console = ErrorConsole()
    display = compare_view.ComparisonDisplay(console, verbosity=verbosity)
    if not quiet:
        console.print(f"[bold]comparing[/bold] {clean(data)}", highlight=False)
    try:
        comparison = comparing.compare(
            data,
            model=tree.pop("model", AUTO_MODEL),
            methods=None if methods is None else [name.strip() for name in methods.split(",") if name.strip()],
            seeds=seeds,
            train_sizes=[size for size in train_sizes.split(",") if size.strip()],
            search_trials=search,
            memory_budget=tree.pop("memory_budget", None),
            test=test,
            output_dir=out,
            jobs=jobs,
            options=tree,
            callbacks=[display],
        )
    finally:
        display.close()
    if as_json:
        print_json(comparison.results)
        return
    output = OutputConsole()
    compare_view.show(comparison.file, output)
    if verbose:
        compare_view.show_choices(comparison, output)
    output.print(f"\n  page    {comparison.page}\n  runs    {comparison.path / 'runs'}", highlight=False, soft_wrap=True)
