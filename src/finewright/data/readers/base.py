"""What every reader returns: records that know their place, and errors that name it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers.text import bad_file

MOST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file. `where`: `file:line`, for Parquet `file: row N`."""

    where: str
    values: dict[str, Any]


def plain_suffix(path: Path) -> str:
    """Return `.csv` for `a.csv` and `a.csv.gz`, in lower case."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def combine_faults(faults: list[str], fix: str) -> UserError:
    """Return several faults, each of which names its place, as one error."""
    rest = f"\n… and {len(faults) - MOST_ERRORS:,} more, {len(faults):,} in all" if len(faults) > MOST_ERRORS else ""
    return UserError("\n".join(faults[:MOST_ERRORS]) + rest, fix=fix, code=ExitCode.BAD_DATA)


def check_header(row: list[str], where: str) -> list[str]:
    """Return the names of the columns. Raise `UserError` if two are the same."""
    names = [name.strip() for name in row]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad_file(f"two columns are named {twice[0]!r}", where, "give every column a name of its own")
    return names
