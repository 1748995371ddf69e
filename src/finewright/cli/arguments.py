"""Parameters that several commands share: common flags, and the flags that are generated from the options."""

import functools
import inspect
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from finewright.core.errors import UserError

if TYPE_CHECKING:
    from finewright.cli.progress import Verbosity
    from finewright.core.config import DataConfig, Options

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, all else on standard error.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every automatic choice with its reason.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and the result alone.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any option by its dotted name, see `finewright options`."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML or YAML file with options, or a run's config.json; --set and flags override it."),
]


def choose_verbosity(*, verbose: bool, quiet: bool) -> "Verbosity":
    """Return what two flags ask for. Raise `UserError` if they contradict each other."""
    if verbose and quiet:
        raise UserError("--verbose and --quiet contradict each other", where="--verbose", fix="give one of them")
    return "verbose" if verbose else "quiet" if quiet else "normal"


def _run_options() -> "type[Options]":
    from finewright.core.config import RunConfig

    return RunConfig


@dataclass(frozen=True)
class OptionFlags:
    """Marks the parameter of a command that takes one flag for each option declared with `option(..., flag=...)`.

    The command receives a dict: the dotted names of the options whose flags were given, with their values. `only`: these
    options, all when empty; `without`: these are left out. `load_group`: imports the options, a run's if not given.
    """

    only: Collection[str] = ()
    without: Collection[str] = ()
    load_group: "Callable[[], type[Options]]" = _run_options


READ_FLAGS = ("data.text_column", "data.format", "data.encoding", "data.no_header")
"""Options that say how a file with texts is read."""
DATA_FLAGS = OptionFlags(only=(*READ_FLAGS, "data.label_column"))
"""For commands that read a data file but train nothing."""


def expand_option_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return `command` with its parameter marked by `OptionFlags` replaced by the generated flags.

    This imports pydantic, so it runs when a command is called, not when the list of commands is printed.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    marked = {
        name: mark for name, one in parameters.items() for mark in get_args(one.annotation) if isinstance(mark, OptionFlags)
    }
    if not marked:
        return command
    ((target, mark),) = marked.items()
    flags = _build_flags(mark)
    before, after = list(parameters.values()), []
    while before[-1].name != target:
        after.insert(0, before.pop())
    # Typer passes every argument by name, so parameters with and without defaults may be in any order.
    signature = [one.replace(kind=one.KEYWORD_ONLY) for one in (*before[:-1], *flags.values(), *after)]

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        given = {dotted: values.pop(flag.name) for dotted, flag in flags.items()}
        options = {
            dotted: _single(value) for dotted, value in given.items() if value is not None and value is not False and value != []
        }
        return command(**values, **{target: options})

    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in signature}
    return run


def _single(value: Any) -> Any:
    """Return the value of a flag that may be repeated and was given once as what it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _build_flags(mark: OptionFlags) -> dict[str, inspect.Parameter]:
    """Return a parameter for each flag, by the dotted name of its option."""
    from finewright.core.config import describe_options, find_field

    flags, group = {}, mark.load_group()
    for dotted, default, text in describe_options(group):
        field = find_field(group, dotted)
        extra = field.json_schema_extra
        if not isinstance(extra, dict) or dotted in mark.without or (mark.only and dotted not in mark.only):
            continue
        kinds = get_args(field.annotation) or (field.annotation,)
        (kind,) = [one for one in kinds if one in (int, float, bool)] or [str]
        taken = list[str] if any(get_origin(one) is tuple for one in kinds) else kind
        limits = {name: getattr(one, key) for one in field.metadata for key, name in LIMITS.items() if hasattr(one, key)}
        shown = "" if kind is bool else f" [default: {default}]"
        text = f"{text[0].upper()}{text[1:]}.{shown}"
        flag = typer.Option(str(extra["flag"]), help=text, metavar=METAVARS.get(kind), show_default=False, **limits)
        flags[dotted] = inspect.Parameter(
            dotted.replace(".", "_"), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[taken | None, flag]
        )
    return flags


METAVARS: dict[type, str] = {int: "N", float: "X"}
LIMITS = {"ge": "min", "le": "max"}
"""Pydantic's names of the limits of a number, and Typer's."""


def merge_given(flags: dict[str, Any], *, assignments: list[str] | None = None, config: Path | None = None) -> dict[str, Any]:
    """Return the given options as a tree. Flags and `--set` override the file; an option that both give must be the same."""
    from finewright.cli.option_files import read_option_file
    from finewright.core.config import RunConfig, merge_options, parse_assignments, resolve_names, set_option

    _check_given_once(flags, assignments or [])
    tree: dict[str, Any] = {}
    for dotted, value in flags.items():
        set_option(tree, dotted, value)
    layers = [read_option_file(config) if config else {}, parse_assignments(assignments or []), tree]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge_options(merged, resolve_names(RunConfig, layer))  # the same option may have another name in each
    return merged


def _check_given_once(flags: dict[str, Any], assignments: list[str]) -> None:
    """Raise `UserError` if flags and assignments give one option different values, under any of its names."""
    from finewright.core.config import RunConfig, check_given_once, find_field, parse_assignments, resolve_names

    known: dict[str, tuple[Any, str]] = {}
    for dotted, value in flags.items():
        extra = find_field(RunConfig, dotted).json_schema_extra
        assert isinstance(extra, dict)
        check_given_once(known, dotted, value, shown=_as_typed(str(extra["flag"]), value))
    for pair in assignments:
        tree = resolve_names(RunConfig, parse_assignments([pair]))
        for dotted, value in _leaves(tree):
            check_given_once(known, dotted, value, shown=f"--set {pair}")


def _as_typed(flag: str, value: Any) -> str:
    """Return a flag with its value as it is typed; once for each of several values."""
    if value is True:
        return flag
    return " ".join(f"{flag} {shlex.quote(str(one))}" for one in (value if isinstance(value, list | tuple) else [value]))


def suggest_flag(flag: str, *, known_flags: Collection[str] = ()) -> str:
    """Return what to type in place of a flag that does not exist: the flag of an option of that name, ours or another
    program's, or `--set`; empty if no option is meant. `known_flags`: of the command, for one in the singular or the plural."""
    from finewright import methods
    from finewright.core import config
    from finewright.core.errors import UserError
    from finewright.core.option_names import NOT_OPTIONS

    name = flag.lstrip("-").replace("-", "_")
    if near := [known for known in known_flags if f"{known}s" == flag or known == f"{flag}s"]:
        return near[0]
    if instead := NOT_OPTIONS.get(name):
        found = re.search(r"--\w+", instead)
        return found[0] if found else ""
    known = {dotted for dotted, _, _ in config.describe_options(config.RunConfig)}
    places = methods.option_places()
    if name in places:
        return f"--set {places[name]}=VALUE"
    try:
        ((dotted, _),) = _leaves(config.resolve_names(config.RunConfig, {name: ""}))
        if dotted not in known:
            config.build_options(config.RunConfig, {name: ""}, elsewhere=places)
    except UserError as error:
        found = re.search(r"did you mean '([\w.]+)'", str(error))
        dotted = found[1] if found else ""
    if dotted not in known:
        return f"--set {dotted}=VALUE" if dotted in places.values() else ""
    extra = config.find_field(config.RunConfig, dotted).json_schema_extra
    return str(extra["flag"]) if isinstance(extra, dict) else f"--set {dotted}=VALUE"


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the dotted name and the value of every leaf of a tree."""
    return [
        leaf
        for key, value in tree.items()
        for leaf in (_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)])
    ]


def data_config(flags: dict[str, Any], *, assignments: list[str] | None = None) -> "DataConfig":
    """Return the options of reading data, from the flags of `DATA_FLAGS` and `--set data.*`."""
    from finewright.core.config import RunConfig, build_options

    return build_options(RunConfig, merge_given(flags, assignments=assignments)).data


def take_method(tree: dict[str, Any], *, flag: str | None) -> tuple[str, dict[str, Any]]:
    """Take the method out of the tree: its name (`--method`, or `method.name` in the file) and its options."""
    options = tree.pop("method", {})
    if isinstance(options, str):
        options = {"name": options}
    if not isinstance(options, dict):
        raise UserError(
            f"wanted the name of a method, found {options!r}", where="method", fix="--method NAME, see `finewright methods`"
        )
    options = dict(options)
    named = options.pop("name", None)
    if not isinstance(named, str | None):
        raise UserError(f"wanted the name of a method, found {named!r}", where="method.name", fix="see `finewright methods`")
    return flag or named or "auto", options
