"""One file per way of fine-tuning; the folder is the registry: the file's name is what a user types."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from finewright.core.config import build_options, describe_options
from finewright.core.errors import UserError
from finewright.methods.base import Method

AUTO = "auto"


def method_names() -> list[str]:
    """Names of all ways, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def get_method(name: str) -> type[Method]:
    """The class of a way; an unknown name is a `UserError` that offers the nearest one."""
    if name not in method_names():
        near = difflib.get_close_matches(name, method_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown method {name!r}", fix=f"{hint}known: {', '.join([AUTO, *method_names()])}")
    module = importlib.import_module(f"{__name__}.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    (method,) = (kind for kind in kinds if issubclass(kind, Method))
    return method


def build_method(name: str, options: Mapping[str, Any]) -> Method:
    """A way with its knobs checked."""
    return build_options(get_method(name), options, prefix="method")


def methods_by_preference() -> list[type[Method]]:
    """Every way, the one that `auto` takes first when it fits at the head."""
    return sorted(map(get_method, method_names()), key=lambda method: (method.preference, method.name()))


def describe_methods() -> list[dict[str, Any]]:
    """Every way with its facts and knobs, JSON-ready."""
    rows = []
    for name in method_names():
        way = get_method(name)
        options = [
            {"option": option, "default": default, "help": text}
            for option, default, text in describe_options(way, prefix="method.")
        ]
        rates = {"lr": way.learning_rate, "lr_width": way.learning_rate_width, "lr_range": list(way.learning_rate_range)}
        rows.append({"method": name, "summary": way.summary, **rates, "options": options})
    return rows
