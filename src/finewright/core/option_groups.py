"""Groups of options: how one is declared, filled from what is given, and every fault explained with the fix."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from finewright.core.errors import UserError
from finewright.core.option_names import ALIASES, NOT_OPTIONS, OLD_NAMES
from finewright.core.option_text import OUT_OF_RANGE, describe_range, list_choices, show_default

EXPLAINED_LATER = object()
"""Validation context of `build_options`, which names an option with its group."""
_LIST_OPTIONS = "`finewright methods` and `finewright options` list every option"


class Options(BaseModel):
    """A named group of options. Unknown names are refused; values are checked against type and range."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explain_faults(cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Raise `UserError` for options given to a class in Python, `LoRA(rank=-1)`. `build_options` explains its own."""
        try:
            return handler(values)
        except ValidationError as error:
            if info.context is EXPLAINED_LATER:
                raise
            faults = _explain_all(cls, error, "", {})
        raise UserError("\n  ".join(faults), where=cls.__name__, fix=_LIST_OPTIONS)


K = TypeVar("K", bound="Options")


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None, flag: str | None = None) -> Any:
    """Declare one option. `low` and `high` are inclusive; the help line names the unit. `flag`: its name on the command line."""
    extra: Any = {"flag": flag} if flag else None
    return Field(default, description=help, ge=low, le=high, json_schema_extra=extra)


def build_options(kind: type[K], values: Mapping[str, Any], *, prefix: str = "", elsewhere: Mapping[str, str] | None = None) -> K:
    """Return `values` checked against `kind`. Raise one `UserError` with all faults, each with its key and the fix.

    `elsewhere`: names of options that are declared in other places, with the names to use, for the fix of an unknown one.
    """
    values = resolve_names(kind, values, prefix=prefix)
    try:
        return kind.model_validate(values, context=EXPLAINED_LATER)
    except ValidationError as error:
        faults = _explain_all(kind, error, prefix, elsewhere or {})
    raise UserError("\n  ".join(faults), fix=_LIST_OPTIONS)


def resolve_names(kind: type[BaseModel], values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Return `values` with our own names in place of the `ALIASES`, and options without their group in their group.

    Unknown names stay. Raise `UserError` if one option is given under two names.
    """
    resolved: dict[str, Any] = {}
    moved: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        key = _dotted(prefix, name)
        own = ALIASES.get(key, name)
        own = own if own in kind.model_fields else name
        if own != name and own in values:
            raise UserError(f"{key} and {_dotted(prefix, own)} are the same option", where=key, fix="give one of them")
        if own not in kind.model_fields and not isinstance(value, Mapping) and (place := _find_group(kind, name)):
            group, leaf = place
            given = values.get(group)
            twice = leaf in moved.get(group, {}) or (
                isinstance(given, Mapping)
                and leaf in resolve_names(_group(kind, group) or kind, given, prefix=_dotted(prefix, group))
            )
            if twice:
                what = f"{key} and {_dotted(prefix, group, leaf)} are the same option"
                raise UserError(what, where=key, fix="give one of them")
            moved.setdefault(group, {})[leaf] = value
            continue
        inner = _group(kind, own)
        nested = isinstance(value, Mapping) and inner is not None
        resolved[own] = resolve_names(inner, value, prefix=key) if nested and inner else value
    for group, options in moved.items():
        if not isinstance(resolved.get(group, {}), Mapping):
            continue  # the group itself is at fault, and says so
        resolved[group] = {**resolved.get(group, {}), **options}
    return resolved


def _group(kind: type[BaseModel], name: str) -> type[Options] | None:
    """Return the class of a group of options; None if the name is no group."""
    found = kind.model_fields[name].annotation if name in kind.model_fields else None
    return found if isinstance(found, type) and issubclass(found, Options) else None


def _find_group(kind: type[BaseModel], name: str) -> tuple[str, str] | None:
    """Return (group, own name) of an option that is given without its group; None if there is none or more than one."""
    found = []
    for group in kind.model_fields:
        if inner := _group(kind, group):
            own = ALIASES.get(f"{group}.{name}", name)
            found += [(group, own)] if own in inner.model_fields else []
    return found[0] if len(found) == 1 else None


def _explain_all(kind: type[Options], error: ValidationError, prefix: str, elsewhere: Mapping[str, str]) -> list[str]:
    """Return what is wrong, one line for each option: pydantic tells one of several types a fault for each of them."""
    lines: dict[str, None] = {}
    for fault in error.errors():
        found = _explain_types(kind, fault["loc"], prefix, error)
        lines |= dict.fromkeys([found] if found else _explain(kind, fault, prefix, elsewhere))
    return list(lines)


def _explain_types(kind: type[Options], place: tuple[int | str, ...], prefix: str, error: ValidationError) -> str:
    """Return the line about an option that takes text or several texts and got neither; nothing for other faults."""
    group: type[BaseModel] | None = kind
    for depth, part in enumerate(place):
        if group is None or part not in group.model_fields:
            return ""
        kinds = get_args(group.model_fields[str(part)].annotation)
        if str in kinds and any(get_origin(one) is tuple for one in kinds):
            value = next(one["input"] for one in error.errors() if one["loc"] == (*place[: depth + 1], "str"))
            return f"{_dotted(prefix, *place[: depth + 1])} = {value!r}: wanted text, or a list of texts"
        group = _group(group, str(part))
    return ""


def _explain(kind: type[Options], fault: Any, prefix: str, elsewhere: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with an option, or with each option of an unknown group."""
    key = _dotted(prefix, *fault["loc"])
    if fault["type"] != "extra_forbidden":
        yield _describe_range(kind, key, fault) or f"{key} = {fault['input']!r}: {fault['msg']}"
        return
    group: type[BaseModel] = kind
    for part in fault["loc"][:-1]:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    if key == "train" and isinstance(fault["input"], Mapping) and (training := _group(kind, "training")):
        for name in fault["input"]:
            hint = _nearest(f"training.{name}", training)
            yield f"train.{name}: unknown option; did you mean {_dotted('training', hint.removeprefix('training.'))!r}?"
        return
    if instead := NOT_OPTIONS.get(key.rpartition(".")[2]):
        yield f"{key}: not an option; {instead}"
        return
    is_group = isinstance(fault["input"], Mapping)
    own_group = not any(_group(kind, name) for name in kind.model_fields) or "." in key or is_group
    near = _nearest(key, group) if own_group else _nearest_anywhere(key, kind, elsewhere)
    hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(group.model_fields) or 'none'}"
    yield f"{key}: unknown option; {hint}"


def _describe_range(kind: type[Options], key: str, fault: Any) -> str:
    """Say in which range an option must be, if the fault is that its value is outside; else return nothing."""
    if fault["type"] not in OUT_OF_RANGE:
        return ""
    limits = find_field(kind, ".".join(map(str, fault["loc"]))).metadata
    low, high = (next((getattr(one, name) for one in limits if hasattr(one, name)), None) for name in ("ge", "le"))
    return f"{key} = {fault['input']!r}: {describe_range(low, high)}"


def _nearest(key: str, group: type[BaseModel]) -> str:
    """Return the new name of a renamed option, or the name in `group` that is most like it, or nothing."""
    renamed, name = OLD_NAMES.get(key, ""), key.rpartition(".")[2]
    if renamed and renamed.rpartition(".")[2] in group.model_fields:
        return renamed
    leaves = [(given.rpartition(".")[2], own.rpartition(".")[2]) for given, own in {**ALIASES, **OLD_NAMES}.items()]
    renamed = next((own for given, own in leaves if given == name and own in group.model_fields), "")
    return renamed or next(iter(difflib.get_close_matches(name, group.model_fields, n=1, cutoff=0.5)), "")


def _nearest_anywhere(key: str, kind: type[Options], elsewhere: Mapping[str, str]) -> str:
    """Return the whole name of the option that is meant by a name without a group: renamed, of another place, or misspelt."""
    for place in ("", *kind.model_fields):
        if renamed := OLD_NAMES.get(_dotted(place, key)):
            return renamed
    known = {name.rpartition(".")[2]: name for name, _, _ in describe_options(kind)} | {**elsewhere}
    known |= {name: name for name in kind.model_fields}
    return known.get(next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.5)), ""), "")


def _dotted(*parts: str | int) -> str:
    return ".".join(str(part) for part in parts if part != "")


def describe_options(kind: type[Options], *, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (dotted name, default, help) of every option of a group, nested groups included."""
    rows = []
    for name, field in kind.model_fields.items():
        dotted = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            rows += describe_options(field.annotation, prefix=f"{dotted}.")
        else:
            rows.append((dotted, show_default(field.default), (field.description or "") + list_choices(field.annotation)))
    return rows


def find_field(kind: type[BaseModel], dotted: str) -> FieldInfo:
    """Return the declaration of an option by its dotted name."""
    *groups, leaf = dotted.split(".")
    for group in groups:
        kind = kind.model_fields[group].annotation  # type: ignore[assignment]
    return kind.model_fields[leaf]
