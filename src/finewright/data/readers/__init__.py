"""One reader per file format; the folder is the registry.

A reader is a module with `SUFFIXES`, the names' ends it reads, and `read(path, wanted)`, which returns all rows as records and
notes for the user.
"""

import importlib
import pkgutil
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from finewright.data.readers import text
from finewright.data.readers.base import Record, plain_suffix
from finewright.data.readers.text import bad_file


@cache
def _readers() -> dict[str, Any]:
    """Return the module that reads each suffix."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {suffix: module for module in modules for suffix in getattr(module, "SUFFIXES", ())}


def suffix(path: Path) -> str:
    """Return `.csv` for `a.csv` and `a.csv.gz`, or nothing if no reader knows the suffix; `.txt` holds texts without labels."""
    found = plain_suffix(path)
    return found if found in _readers() or found == ".txt" else ""


def read_records(path: Path, *, wanted: Collection[str] = ()) -> tuple[list[Record], list[str]]:
    """Return all rows of a file and notes for the user. Raise one `UserError` with up to 20 places if it cannot be read.

    `wanted`: columns that are enough if the file has all of them; a reader of a columnar format then leaves out the others.
    """
    text.check_regular(path)
    kind = suffix(path)
    if kind not in _readers():
        what = "a .txt file has texts, no labels" if kind else f"cannot tell the format of {path.name}"
        raise bad_file(what, path, f"name a table with one of {', '.join(_readers())}, or a text one of them with .gz")
    return _readers()[kind].read(path, wanted)
