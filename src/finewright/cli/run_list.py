"""The commands of `finewright runs`: list, show, tag, compare and remove what is on disk."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import Json
from finewright.core.errors import UserError

if TYPE_CHECKING:
    from finewright.comparison.folder import ComparisonFolder
    from finewright.runs.folder import RunFolder

HELP = "List runs and comparisons; show, compare, tag or remove some."

app = typer.Typer(
    help=HELP, invoke_without_command=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

AnyPath = Annotated[Path, typer.Argument(help="A folder of a run or of a comparison.", metavar="RUN")]


@app.callback(epilog="Example: finewright runs --tag best")
def runs(
    ctx: typer.Context,
    root: Annotated[Path, typer.Option(help="Folder below which runs are looked for.")] = Path("runs"),
    tag: Annotated[str | None, typer.Option(help="Only runs and comparisons with this tag.")] = None,
    as_json: Json = False,
) -> None:
    """List runs and comparisons; show, compare, tag or remove some."""
    ctx.obj = as_json
    if ctx.invoked_subcommand:
        return
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, clean, print_json
    from finewright.comparison.folder import find_comparisons
    from finewright.runs.folder import find_runs

    found = [_describe_run(folder) for folder in find_runs(root)]
    compared = [_describe_comparison(folder) for folder in find_comparisons(root)]
    if tag is not None:
        found, compared = ([line for line in lines if tag in line["tags"]] for lines in (found, compared))
    if as_json:
        print_json({"runs": found, "comparisons": compared})
        return
    console = OutputConsole()
    if not found and not compared:
        what = f"no run with the tag {tag!r}" if tag is not None else "no runs"
        console.print(f"{what} below {clean(str(root))}", highlight=False, soft_wrap=True)
        return
    tagged = any(line["tags"] for line in (*found, *compared))
    for name, lines, keys in (
        ("comparison", compared, ("comparison", "state", "model", "methods", "best")),
        ("run", found, ("run", "state", "method", "model", "score", "seconds")),
    ):
        if lines:
            metrics = {line["metric"] for line in found if line["metric"]}
            score = f"test {metrics.pop()}" if len(metrics) == 1 else "test score" if metrics else "test accuracy"
            headings = [name, *({"score": score}.get(key, key) for key in keys[1:]), *(["tags"] if tagged else [])]
            named = score == "test score"  # runs with different metrics: each says its own
            shown = [_cells(line, keys, tagged=tagged, with_metric=named) for line in lines]
            console.print(progress.rows_table(headings, shown, gap=1))


def _cells(line: dict[str, Any], keys: Sequence[str], *, tagged: bool, with_metric: bool) -> list[str]:
    """Return a line of the list as text; of a model the last part of its name. `with_metric`: say what a run's score is."""
    texts = [_cell(line, key) for key in keys]
    if with_metric and "score" in keys and line["metric"]:
        texts[keys.index("score")] += f" {line['metric']}"
    texts = [text.rpartition("/")[2] if key == "model" else text for key, text in zip(keys, texts, strict=True)]
    return [*texts, ", ".join(line["tags"])] if tagged else texts


def _cell(line: dict[str, Any], key: str) -> str:
    value = line[key]
    if value is None:
        return ""
    if key == "best" and line["best_score"] is not None:
        return f"{value} {line['best_score']:.1%}"
    if isinstance(value, float):
        return f"{value:.1%}" if key == "score" else f"{value:.1f}"
    return ", ".join(value) if isinstance(value, list) else str(value)


@app.command(epilog="Example: finewright runs show runs/tickets-lora-seed0")
def show(ctx: typer.Context, run: AnyPath, as_json: Json = False) -> None:
    """Show the result of a run and every automatic choice, or the result of a comparison."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.comparison.folder import ComparisonFolder
    from finewright.runs import schema
    from finewright.runs.folder import open_run
    from finewright.runs.schema import RunConfigFile, RunResult

    if isinstance(compared := _open(run), ComparisonFolder):
        _show_comparison(compared, as_json=as_json or ctx.obj)
        return
    folder = open_run(run)
    result = schema.read(RunResult, folder.result)
    if as_json or ctx.obj:
        print_json(schema.dump(result))
        return
    OutputConsole().print(progress.result_table(result))
    choices = schema.read(RunConfigFile, folder.config).choices
    rows = [[choice.option, str(choice.value), choice.reason] for choice in choices]
    if rows:  # of a baseline whose options were given there are none
        OutputConsole().print(progress.rows_table(["chosen", "value", "because"], rows))


def _show_comparison(folder: "ComparisonFolder", *, as_json: bool) -> None:
    from finewright.cli import compare_view
    from finewright.cli.console import OutputConsole, print_json
    from finewright.comparison.schema import ComparisonResultsFile
    from finewright.core.errors import ExitCode
    from finewright.runs import schema

    if not folder.results.exists():
        what, fix = "the comparison did not finish: it has no results.json", "the command that started it continues it"
        raise UserError(what, where=str(folder.path), fix=fix, code=ExitCode.MISMATCH)
    results = schema.read(ComparisonResultsFile, folder.results)
    if as_json:
        print_json(schema.dump(results))
        return
    compare_view.show(results, OutputConsole())


@app.command(epilog="Example: finewright runs diff runs/tickets-lora-seed0 runs/tickets-full-seed0")
def diff(
    ctx: typer.Context,
    first: Annotated[Path, typer.Argument(help="A run folder.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Show which options, data and metrics differ between two finished runs."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, clean, print_json
    from finewright.runs.difference import compare_runs
    from finewright.runs.folder import open_run

    difference = compare_runs(open_run(first), open_run(second))
    if as_json or ctx.obj:
        print_json({"first": str(first), "second": str(second), **difference.as_json()})
        return
    console = OutputConsole()
    if not any(vars(difference).values()):
        console.print("no option, row or metric differs", highlight=False)
        return
    console.print(f"A  {clean(str(first))}\nB  {clean(str(second))}", highlight=False, soft_wrap=True)
    for group, found in vars(difference).items():
        if found:
            rows = [[name, *_shown_pair(values)] for name, values in found.items()]
            console.print(progress.rows_table([group, "A", "B"], rows, gap=1))


def _shown_pair(values: Sequence[Any]) -> list[str]:
    """Return two values as a person reads them; of paths as little as tells them apart."""
    short = [_shown(value) for value in values]
    return short if short[0] != short[1] else [str(value) for value in values]


def _shown(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
        case [float() as low, float() as high]:
            return f"{low:.4g} to {high:.4g}"
        case list() | tuple():
            return ", ".join(map(_shown, value)) or "none"
    path = Path(str(value))
    if not path.is_absolute():
        return str(value)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


@app.command(epilog="Example: finewright runs tag runs/tickets-lora-seed0 best")
def tag(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="A folder of a run or of a comparison.", metavar="RUN")],
    name: Annotated[str, typer.Argument(help="The tag.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
    as_json: Json = False,
) -> None:
    """Give a run a tag, or take it away. `finewright runs --tag NAME` lists the runs that have it."""
    from finewright.cli.console import OutputConsole, clean, print_json
    from finewright.runs import housekeeping

    tags = housekeeping.change_tags(_open(run).path, name, remove=remove)
    if as_json or ctx.obj:
        print_json({"run": str(run), "tags": tags})
        return
    OutputConsole().print(f"{clean(str(run))}: {clean(', '.join(tags)) or 'no tags'}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: finewright runs rm runs/tickets-lora-seed0 --yes")
def rm(
    ctx: typer.Context,
    places: Annotated[list[Path], typer.Argument(help="Folders of runs or of comparisons.", metavar="RUN...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete runs too that another run was trained on from.")] = False,
    as_json: Json = False,
) -> None:
    """Delete runs or comparisons with everything in them. A comparison takes its runs with it."""
    from finewright.cli.console import ErrorConsole, OutputConsole, clean, print_json
    from finewright.core.units import format_bytes
    from finewright.runs import housekeeping

    folders = [_open(path) for path in dict.fromkeys(places)]  # all are checked before the first is removed
    removed = {folder.path.resolve() for folder in folders}
    for folder in folders:
        needing = [path for path in housekeeping.find_dependents(folder.path) if path.resolve() not in removed]
        if needing and not force:
            names = ", ".join(path.name for path in needing[:5])
            what = f"not removed: its model is the base of {names}, which cannot be loaded without it"
            fix = f"remove {names} too, or `finewright export` makes a whole model of it first; --force removes all the same"
            raise UserError(what, where=str(folder.path), fix=fix)
    sizes = [sum(path.lstat().st_size for path in folder.path.rglob("*") if not path.is_dir()) for folder in folders]
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserError(
                "nothing is removed without being asked for", where="--yes", fix="add --yes, or call it in a terminal"
            )
        for folder, size in zip(folders, sizes, strict=True):
            ErrorConsole().print(f"  {clean(str(folder.path))}  {folder.owner}, {format_bytes(size)}", highlight=False)
        typer.confirm(f"Delete {len(folders)} of them for good?", err=True, abort=True)
    for folder in folders:
        housekeeping.remove_folder(folder, known=folder.file_names)
    if as_json or ctx.obj:
        print_json({"removed": [str(folder.path) for folder in folders], "bytes": sum(sizes)})
        return
    for folder, size in zip(folders, sizes, strict=True):
        OutputConsole().print(f"removed {clean(str(folder.path))} ({format_bytes(size)})", highlight=False, soft_wrap=True)


def _open(path: Path) -> "RunFolder | ComparisonFolder":
    """Return the folder of a run, finished or not, or of a comparison; raise `UserError` for any other."""
    from finewright.comparison.folder import ComparisonFolder
    from finewright.runs.folder import open_any_run

    if (compared := ComparisonFolder(path)).spec.exists():
        return compared
    return open_any_run(path)


def _describe_run(folder: "RunFolder") -> dict[str, Any]:
    """Return a line of the list. What a damaged or unfinished run does not tell is empty.

    `score`: of the test rows by `metric`, by which runs of a task are compared; `accuracy`: the same number where it is one.
    """
    from finewright import tasks
    from finewright.runs import housekeeping, schema
    from finewright.runs.schema import RunConfigFile, RunResult
    from finewright.runs.split_metrics import ClassificationMetrics

    line: dict[str, Any] = {"run": str(folder.path), "state": "unfinished", "method": "", "model": "", "accuracy": None}
    line |= {"metric": "", "score": None, "seconds": None, "seed": None, "tags": housekeeping.read_tags(folder.path)}
    try:
        if not folder.complete:
            config = schema.read(RunConfigFile, folder.config)
            return line | {"method": config.method, "model": config.model.name if config.model else ""}
        result = schema.read(RunResult, folder.result)
    except UserError:
        return line | {"state": "damaged"}  # one damaged run does not hide the others
    test, seconds = result.metrics.test, result.train_seconds
    accuracy = test.accuracy if isinstance(test, ClassificationMetrics) else None
    measured = test.model_dump() if test is not None else {}
    try:
        kind = tasks.get_task(result.task)
        score, metric = kind.compared_value(measured), kind.compared_metric(measured)
    except (UserError, KeyError, TypeError):  # a task or a metric of a later version
        score, metric = None, None
    found = {"method": result.method, "model": result.model, "accuracy": accuracy, "seed": result.seed}
    if metric is not None and score is not None and metric.is_share:
        found |= {"metric": metric.title, "score": score}
    return line | {"state": "finished", "seconds": seconds} | found


def _describe_comparison(folder: "ComparisonFolder") -> dict[str, Any]:
    """Return a line of the list of comparisons. `best`, `best_score`: the best method or baseline by `metric`.
    `best_accuracy`: the same number where it is an accuracy."""
    from finewright.comparison.schema import ComparisonResultsFile, ComparisonSpecFile
    from finewright.runs import housekeeping, schema

    line: dict[str, Any] = {"comparison": str(folder.path), "state": "unfinished", "model": "", "methods": [], "best": ""}
    line |= {"best_score": None, "metric": "", "best_accuracy": None, "page": "", "tags": housekeeping.read_tags(folder.path)}
    try:
        spec = schema.read(ComparisonSpecFile, folder.spec)
        line |= {"model": spec.model.get("name", spec.asked.model), "methods": list(spec.asked.candidates)}
        if not folder.results.exists():
            return line
        results = schema.read(ComparisonResultsFile, folder.results)
    except UserError:
        return line | {"state": "damaged"}
    best = {"metric": results.metric_words}
    if first := next(iter(results.measured), None):
        best |= {"best": first.method, "best_score": first.score, "best_accuracy": first.accuracy}
    return line | {"state": "finished", "page": str(folder.page)} | best
