"""One file per way of fine-tuning; the folder is the registry: the file's name is what a user types."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from finewright.config import build, describe
from finewright.errors import UserError
from finewright.methods.base import AbstractMethod

AUTO = "auto"


def names() -> list[str]:
    """Names of all ways, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def kind(name: str) -> type[AbstractMethod]:
    """The class of a way; an unknown name is a `UserError` that offers the nearest one."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown method {name!r}", fix=f"{hint}known: {', '.join([AUTO, *names()])}")
    return importlib.import_module(f"{__name__}.{name}").Method


def make(name: str, knobs: Mapping[str, Any]) -> AbstractMethod:
    """A way with its knobs checked."""
    return build(kind(name), knobs, prefix="method")


def by_preference() -> list[type[AbstractMethod]]:
    """Every way, the one that `auto` takes first when it fits at the head."""
    return sorted(map(kind, names()), key=lambda method: (method.preference, method.name()))


def table() -> list[dict[str, Any]]:
    """Every way with its facts and knobs, JSON-ready."""
    rows = []
    for name in names():
        way = kind(name)
        knobs = [{"knob": knob, "default": default, "help": text} for knob, default, text in describe(way, prefix="method.")]
        rates = {"lr": way.lr, "lr_width": way.lr_width, "lr_range": list(way.lr_range)}
        rows.append({"method": name, "summary": way.summary, **rates, "knobs": knobs})
    return rows
