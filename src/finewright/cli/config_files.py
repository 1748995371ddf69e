"""The commands of `finewright config`: write a file of options, and show where each option of one comes from."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import Json

HELP = "Write a file of options, or show the options of a file or a run."

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(epilog="Example: finewright config init --method lora > run.toml")
def config() -> None:
    """Write a file of options, or show the options of a file or a run."""


@app.command(epilog="Example: finewright config init --method lora > run.toml")
def init(
    method: Annotated[str | None, typer.Option(help="Also the options of this method.")] = None,
) -> None:
    """Print a commented TOML file with every option and its default, for --config."""
    from finewright.cli.option_files import write_template

    typer.echo(write_template(method), nl=False)


@app.command(epilog="Example: finewright config show runs/tickets-lora-seed0")
def show(
    place: Annotated[Path, typer.Argument(help="A run folder, or a file for --config.", metavar="RUN|FILE")],
    as_json: Json = False,
) -> None:
    """Show every option with its value and where that comes from: given, chosen automatically, or the default."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.folder import RunFolder

    run = RunFolder(place)
    lines = _lines_of_run(run.config) if run.config.is_file() else _lines_of_file(place)
    if as_json:
        print_json({"options": lines})
        return
    rows = [
        [line["option"], _shown(line["value"]), line["source"] + (f": {line['reason']}" if line["reason"] else "")]
        for line in lines
    ]
    OutputConsole().print(progress.rows_table(["option", "value", "from"], rows, gap=1))


def _shown(value: Any) -> str:
    if value is None:
        return "auto"
    return str(value).lower() if isinstance(value, bool) else repr(value) if value in ("", "\n") else str(value)


def _lines_of_run(path: Path) -> list[dict[str, Any]]:
    """Return a line for each option of a run: what was asked for, and what was chosen when that was left open."""
    from finewright import methods
    from finewright.core.config import RunConfig
    from finewright.runs import schema
    from finewright.runs.request import flatten
    from finewright.runs.schema import RunConfigFile

    found = schema.read(RunConfigFile, path)
    defaults = flatten(RunConfig().model_dump())
    values = {**defaults, **flatten(found.settings or found.request.settings)}
    method = found.method or found.request.method
    values["method"] = method
    own = found.method_options or found.request.method_options
    values |= {f"method.{name}": value for name, value in flatten(own).items()}
    if method in methods.method_names():
        defaults |= {f"method.{name}": value for name, value in flatten(methods.get_method(method)().model_dump()).items()}
    chosen = {choice.option: choice for choice in found.choices}
    changed = {change.option for change in found.changes}
    lines = []
    for name, value in values.items():
        source, reason = ("default" if defaults.get(name) == value else "given"), ""
        if name in changed:
            source = "changed in a later session"
        elif name in chosen and (value in (None, "auto", chosen[name].value) or name == "training.num_threads"):
            value, source, reason = chosen[name].value, "chosen", chosen[name].reason
        lines.append({"option": name, "value": value, "source": source, "reason": reason})
    others = [choice for name, choice in chosen.items() if name not in values]
    return lines + [
        {"option": choice.option, "value": choice.value, "source": "chosen", "reason": choice.reason} for choice in others
    ]


def _lines_of_file(path: Path) -> list[dict[str, Any]]:
    """Return a line for each option as a run with this file would have it; raise `UserError` if one is wrong."""
    from finewright import methods
    from finewright.cli.arguments import take_method
    from finewright.cli.option_files import read_option_file
    from finewright.core.config import RunConfig, build_options, resolve_names
    from finewright.planning.candidates import collect_method_options
    from finewright.runs.request import flatten

    tree = resolve_names(RunConfig, read_option_file(path))
    method, own = take_method(tree, flag=None)
    tree["method"] = own
    options = collect_method_options(tree, method=method)
    settings = build_options(RunConfig, tree, elsewhere=methods.option_places())
    given = {*flatten(tree), *(f"method.{name}" for name in options), *(["method"] if method != methods.AUTO else [])}
    values = {**flatten(settings.model_dump()), "method": method}
    if method != methods.AUTO or options:
        kind = methods.methods_by_preference()[0].name() if method == methods.AUTO else method
        built = methods.build_method(kind, options)
        values |= {f"method.{name}": value for name, value in flatten(built.model_dump(mode="json")).items()}
    return [
        {"option": name, "value": value, "source": str(path) if name in given else "default", "reason": ""}
        for name, value in values.items()
    ]
