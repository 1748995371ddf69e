"""Files with options: TOML, YAML, and the config.json of a run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.runs import schema
from finewright.runs.schema import RunConfigFile

_BY_ROWS = ("training.learning_rate", "training.epochs", "training.tokens_per_micro_batch", "data.max_length")
"""Choices that follow from model and rows, and that a repeated run takes over. Others depend on the machine and its free memory,
and are made anew."""


def read_option_file(path: Path) -> dict[str, Any]:
    """Return the options of a TOML, YAML or JSON file, or of a run's folder, as a tree.

    Raise `UserError` with the place of a fault in a broken file.
    """
    if path.is_dir():
        path = path / "config.json"
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _read_json(path)
    return _read_yaml(path) if suffix in (".yaml", ".yml") else config.read_toml(path)


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"not a readable JSON file: {error}", where=str(path), fix="correct that place") from None
    if isinstance(values, Mapping) and "request" in values:
        return options_of_run(schema.parse(RunConfigFile, values, where=path))
    return _as_tree(values, path)


def options_of_run(found: RunConfigFile) -> dict[str, Any]:
    """Return the options that repeat a run, on the same rows or others: what was asked for, and what was chosen for model and
    rows. A run that had not begun to train has what was asked for alone."""
    settings = found.settings or found.request.settings
    tree = _without_none(settings)
    chosen = [choice for choice in found.choices if choice.option in _BY_ROWS]
    for choice in chosen:
        config.set_option(tree, choice.option, choice.value)
    known = found if found.method else found.request
    method, options = known.method, known.method_options
    if "," in method:  # several were candidates
        return tree
    return tree | {"method": {"name": method, **_without_none(options)}}


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value for key, value in tree.items() if value is not None
    }


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.2 for scalars: `on` and `off` are text, as the options want them, and `1e-4` is a number."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":bool", ":timestamp"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))
    number = re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    text = _read_text(path)
    try:
        loader = Loader(text)
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:
        what = f"not a readable YAML file: {' '.join(str(error).split())}"
        raise UserError(what, where=str(path), fix="correct that line; `key: value`") from None
    return _as_tree({} if values is None else values, path)


def _as_tree(values: Any, path: Path) -> dict[str, Any]:
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise UserError(f"wanted options by name, found {str(values)[:60]!r}", where=str(path), fix="for instance model: mini")
    return dict(values)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("no such config file", where=str(path), fix="give the path of a TOML or YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"not readable: {error}", where=str(path), fix="give a text file in UTF-8") from None


def write_template(method: str | None) -> str:
    """Return a TOML file with every option at its default, each as a comment below its help, to be uncommented and changed."""
    from finewright import methods

    lines = [
        "# Options for `finewright train DATA --config FILE`; compare and plan read it too.",
        "# A line that is commented out shows the default. Without a value it is chosen automatically.",
    ]
    group = ""
    rows = [(name, field.default, text) for name, field, text in _fields()]
    kind = methods.get_method(method) if method else None
    own = config.describe_options(kind, prefix="method.") if kind else []
    rows += [(name, kind.model_fields[name.removeprefix("method.")].default, text) for name, _, text in own] if kind else []
    for name, default, text in rows:
        place, _, leaf = name.rpartition(".")
        if place != group:
            group = place
            lines += ["", f"[{group}]", *([f'name = "{method}"'] if group == "method" else [])]
        shown = "" if default is None else json.dumps(list(default) if isinstance(default, tuple) else default)
        lines += ["", f"# {text[:1].upper()}{text[1:]}.", f"# {leaf} = {shown}".rstrip()]
    if kind and group != "method":
        lines += ["", "[method]", f'name = "{method}"']
    elif not kind:
        lines += ["", "[method]", "# See `finewright methods`, or `finewright config init --method NAME`.", '# name = "auto"']
    return "\n".join(lines) + "\n"


def _fields() -> list[tuple[str, Any, str]]:
    """Return (dotted name, field, help) of every option that all methods share, those without a group first."""
    rows = [(name, config.find_field(RunConfig, name), text) for name, _, text in config.describe_options(RunConfig)]
    return sorted(rows, key=lambda row: "." in row[0])
