"""Fine-tuning methods, one file each. The folder is the registry: a file's name is what a user types."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from finewright.core.colors import METHOD_COLORS
from finewright.core.config import TrainingConfig, build_options, describe_options, resolve_names
from finewright.core.errors import UserError
from finewright.core.option_names import ALIASES
from finewright.methods.base import Method

AUTO = "auto"


def method_names() -> list[str]:
    """Names of all methods, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def color_number(name: str) -> int:
    """Return the place of a method's colour in `core.colors.METHOD_COLORS`."""
    return method_names().index(name) % len(METHOD_COLORS)


def get_method(name: str, *, also: Sequence[str] = ()) -> type[Method]:
    """Return the class of a method; raise `UserError` with the nearest name, or one of `also`, if it is unknown."""
    if "," in name:
        several = ",".join(part.strip() for part in name.split(","))
        fix = f"one of {', '.join([AUTO, *method_names(), *also])}; `finewright compare --methods {several}` trains several"
        raise UserError(f"wanted one method, found {name!r}", where="method", fix=fix)
    if name not in method_names():
        near = difflib.get_close_matches(name, [*method_names(), *also], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown method {name!r}", fix=f"{hint}known: {', '.join([AUTO, *method_names(), *also])}")
    module = importlib.import_module(f"{__name__}.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    (method,) = (kind for kind in kinds if issubclass(kind, Method))
    return method


def build_method(name: str, options: Mapping[str, Any], *, also: Sequence[str] = ()) -> Method:
    """Build a method; raise `UserError` if an option is wrong, or belongs to another method. `also`: as in `get_method`."""
    kind = get_method(name, also=also)
    for option in options:
        if _own_name(kind, option) is None and (owners := find_owners(option)):
            fix = f"--method {owners[0]}, or leave it out"
            raise UserError(
                f"{name} has no option {option}; it belongs to {' and '.join(owners)}", where=f"method.{option}", fix=fix
            )
    return build_options(kind, options, prefix="method")


def _own_name(kind: type[Method], option: str) -> str | None:
    own = ALIASES.get(f"method.{option}", option)
    return own if own in kind.model_fields else None


def find_owners(option: str) -> list[str]:
    """Return the methods that have an option of this name or alias, the preferred one first."""
    return [kind.name() for kind in methods_by_preference() if _own_name(kind, option)]


def option_places() -> dict[str, str]:
    """Return the name to use, such as `method.rank`, of every option of a method and of every alias of one."""
    aliases = {name.removeprefix("method."): f"method.{own}" for name, own in ALIASES.items() if name.startswith("method.")}
    return {option: f"method.{option}" for kind in methods_by_preference() for option in kind.model_fields} | aliases


def split_group(name: str, group: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (options of the method, options of training) that are given below a method's name: `lora.rank`,
    `lora.training.learning_rate`. Raise `UserError` if it is no group."""
    if not isinstance(group, Mapping):
        what = f"wanted options of this method, found {group!r}"
        raise UserError(what, where=name, fix=f"--set {name}.OPTION=VALUE")
    own = dict(group)
    training = own.pop("training", {})
    return own, resolve_names(TrainingConfig, training, prefix="training") if isinstance(training, Mapping) else training


def methods_by_preference() -> list[type[Method]]:
    """All methods in the order in which `auto` tries them."""
    return sorted(map(get_method, method_names()), key=lambda method: (method.preference, method.name()))


def describe_methods() -> list[dict[str, Any]]:
    """Return all methods with their properties and options, ready for JSON."""
    rows = []
    for name in method_names():
        method = get_method(name)
        options = [
            {"option": option, "default": default, "help": text}
            for option, default, text in describe_options(method, prefix="method.")
        ]
        rates = {"lr": method.learning_rate, "lr_width": method.learning_rate_width, "lr_range": list(method.learning_rate_range)}
        rows.append({"method": name, "summary": method.summary, **rates, "options": options})
    return rows
