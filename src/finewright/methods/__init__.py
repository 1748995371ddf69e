"""Fine-tuning methods, one file each. The folder is the registry: a file's name is what a user types."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from finewright.core.colors import METHOD_COLORS
from finewright.core.config import build_options, describe_options
from finewright.core.errors import UserError
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
    if name not in method_names():
        near = difflib.get_close_matches(name, [*method_names(), *also], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown method {name!r}", fix=f"{hint}known: {', '.join([AUTO, *method_names(), *also])}")
    module = importlib.import_module(f"{__name__}.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    (method,) = (kind for kind in kinds if issubclass(kind, Method))
    return method


def build_method(name: str, options: Mapping[str, Any], *, also: Sequence[str] = ()) -> Method:
    """Build a method; raise `UserError` if an option is wrong. `also`: as in `get_method`."""
    return build_options(get_method(name, also=also), options, prefix="method")


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
