"""Write the reference pages that are generated from the code: `python scripts/build_reference.py [DOCS]`.

`DOCS` is the folder of the documentation, `docs` by default.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from typer.main import get_command

import finewright
from finewright import baselines, methods
from finewright.cli import main
from finewright.core import config, errors
from finewright.models import architectures, derivation

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(finewright.__file__).parent

EXIT_CODES = {
    "USAGE": "wrong command, option or value",
    "BAD_DATA": "the data cannot be used; file and row are named",
    "MISMATCH": "a run, checkpoint or model is not what it should be",
    "NON_FINITE": "loss or gradient is not finite",
    "OUT_OF_MEMORY": "memory is not enough; nothing half-done is saved",
    "DISK": "the disk cannot be read or written, or is full",
}
"""Meaning of each `ExitCode`; a new code without a meaning fails here."""
SIGNALS = ((0, "done"), (1, "`finewright learn check`: not yet correct; otherwise an internal error"))
STOPPED = ((129, "the terminal was closed"), (130, "Ctrl-C"), (143, "terminated"))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; pipes and line breaks inside cells are escaped."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def cli_page() -> str:
    """Return one section for each command, with arguments, options and example."""
    context = click.Context(get_command(main.app), info_name="finewright")
    parts = ["# Commands", "Every command prints its options with `--help`."]
    return "\n\n".join([*parts, *_command_sections(context.command, context)])


def _command_sections(command: Any, context: click.Context) -> Iterable[str]:
    name = context.command_path
    if context.parent is not None:
        yield f"{'##' if context.parent.parent is None else '###'} {name}"
        yield (command.help or "").strip()
        if example := (command.epilog or "").removeprefix("Example: ").strip():
            yield f"```\n{example}\n```"
        if rows := [row for row in map(_parameter_row, command.params) if row]:
            yield table(("argument or option", "default", "meaning"), rows)
    for child in getattr(command, "commands", {}).values():
        yield from _command_sections(child, click.Context(child, info_name=child.name, parent=context))


def _parameter_row(parameter: Any) -> tuple[str, str, str] | None:
    if getattr(parameter, "hidden", False):
        return None
    is_argument = parameter.param_type_name == "argument"
    name = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    default = "" if callable(parameter.default) or parameter.default in (None, False, (), []) else str(parameter.default)
    return _code(name), _code(default), getattr(parameter, "help", None) or ""


def options_page() -> str:
    """Return the options that all methods share, one section for each group."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, default, text in config.describe_options(config.RunConfig):
        groups.setdefault(name.rpartition(".")[0], []).append((_code(name), _code(default), text))
    parts = [
        "# Options",
        "Set an option with `--set name=value`, in a TOML file, or in Python. `auto` means chosen automatically.",
    ]
    for group, rows in groups.items():
        parts += [f"## {group or 'run'}", table(("option", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def methods_page() -> str:
    """Return facts and options of every method."""
    parts = ["# Methods", "`--method` takes these names; `auto` takes the first that fits into memory."]
    for name in methods.method_names():
        method = methods.get_method(name)
        low, high = method.learning_rate_range
        width = f" for a network of width {method.learning_rate_width}" if method.learning_rate_width else ""
        facts = [
            f"- saves: {'an adapter' if method.saves == 'adapter' else 'a whole model'}",
            f"- learning rate: {method.learning_rate:g}{width}, range {low:g} to {high:g}",
        ]
        if method.needs:
            facts.append(f"- needs: `pip install 'finewright[{method.needs}]'`")
        parts += [f"## {name}", f"{method.summary[:1].upper()}{method.summary[1:]}.", "\n".join(facts)]
        rows = [
            (_code(option), _code(default), text) for option, default, text in config.describe_options(method, prefix="method.")
        ]
        if rows:
            parts.append(table(("option", "default", "meaning"), rows))
    parts += ["## Baselines", "`--method` takes these names too. They train no weight of a model; `auto` never takes them."]
    for baseline in baselines.describe_baselines():
        rows = [(_code(one["option"]), _code(one["default"]), one["help"]) for one in baseline["options"]]
        parts += [f"### {baseline['method']}", f"{baseline['summary'][:1].upper()}{baseline['summary'][1:]}."]
        parts.append(table(("option", "default", "meaning"), rows))
    parts.append("[Learning rates](../explanation/learning-rates.md) explains where the learning rates come from.")
    return "\n\n".join(parts)


def models_page() -> str:
    """Return the architectures that are described, as `finewright models` lists them."""
    rows = [
        (_code(one["model_type"]), one["batches"], one["head"], "; ".join(filter(None, [*one["limits"], one["why_padded"]])))
        for one in architectures.describe_architectures()
    ]
    before = (
        "`--model` takes a hub id, a local folder, or `mini`, the built-in model. What counts is the `model_type` in the model's "
        f"`config.json`. `finewright models` prints this list. {derivation.TESTED}"
    )
    after = (
        "Head: `own` is that of the architecture's classification class in transformers; `linear` is one layer on the body, "
        "saved as a sentence-transformers folder. [Architectures](../explanation/architectures.md) and "
        "[Packing](../explanation/packing.md) explain more.\n\n"
        f"## Other architectures\n\n{derivation.OTHER_ARCHITECTURES}"
    )
    return "\n\n".join(["# Models", before, table(("architecture", "batches", "head", "notes"), rows), after])


def exit_codes_page() -> str:
    """Return the exit codes of the command."""
    rows = [*SIGNALS, *((int(code), EXIT_CODES[code.name]) for code in errors.ExitCode), *STOPPED]
    after = "After 129, 130 and 143 the last step is saved, and the printed command resumes the run."
    return "\n\n".join(["# Exit codes", table(("code", "meaning"), rows), after])


def architecture_page() -> str:
    """Return packages and modules with the first line of their docstrings, in import order where a package states one."""
    parts = [
        "# Architecture",
        "A package imports only from packages that come before it in this order: " + ", ".join(_import_order()) + ".",
    ]
    parts.append(table(("package", "purpose"), [(_code(name), _first_line(_package_file(name))) for name in _import_order()]))
    for name in _import_order():
        folder = SOURCE / name
        if folder.is_dir():
            files = [path for path in sorted(folder.rglob("*.py")) if path != folder / "__init__.py"]
            rows = [(_code(_module(path, folder)), _first_line(path)) for path in files]
            parts += [f"## {name}", table(("module", "purpose"), rows)]
    return "\n\n".join(parts)


def _import_order() -> list[str]:
    """Read the order of packages from the test that enforces it."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PACKAGES":
            return list(ast.literal_eval(node.value))
    raise LookupError("tests/test_architecture.py has no PACKAGES")


def _package_file(name: str) -> Path:
    folder = SOURCE / name
    return folder / "__init__.py" if folder.is_dir() else SOURCE / f"{name}.py"


def _module(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": cli_page,
    "reference/options.md": options_page,
    "reference/methods.md": methods_page,
    "reference/models.md": models_page,
    "reference/exit-codes.md": exit_codes_page,
    "project/architecture.md": architecture_page,
}


def build(docs: Path) -> None:
    """Write every generated page below `docs`; `.gitignore` keeps them out of the repository."""
    for name, make in PAGES.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(make().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
