"""Arguments that several commands take, and how they become options."""

from typing import Annotated, Any

import typer

from finewright.core.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output; all else on standard error.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any knob by its dotted name.")]
Text = Annotated[str | None, typer.Option("--text-column", help="Column with the text.")]
Label = Annotated[str | None, typer.Option("--label-column", help="Column with the label.")]


def data_knobs(assignments: list[str] | None, **columns: str | None) -> Any:
    """Knobs of reading data: `--set data.*` and the column flags."""
    from finewright.core import config

    tree = config.parse_assignments(assignments or [])
    for name, column in columns.items():
        if column is not None:
            config.set_option(tree, f"data.{name}", column)
    return config.build_options(config.RunConfig, tree).data


def method_of(tree: dict[str, Any], *, flag: str | None) -> tuple[str, dict[str, Any]]:
    """The way's name (`--method`, or `method.name` in the TOML file) and its knobs, taken out of the tree."""
    options = tree.pop("method", {})
    if isinstance(options, str):
        options = {"name": options}
    if not isinstance(options, dict):
        raise UserError(
            f"wanted the name of a way, found {options!r}", where="method", fix="--method NAME, see `finewright methods`"
        )
    options = dict(options)
    named = options.pop("name", None)
    if not isinstance(named, str | None):
        raise UserError(f"wanted the name of a way, found {named!r}", where="method.name", fix="see `finewright methods`")
    return flag or named or "auto", options
