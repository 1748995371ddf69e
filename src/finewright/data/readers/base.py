"""What every reader gives: records that know their place, and faults that name it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers.text import bad_file

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet")
MOST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it stands in the file: `where` is `file:line` (for Parquet `file: row N`)."""

    where: str
    values: dict[str, Any]


def suffix(path: Path) -> str:
    """`.csv` for `a.csv` and `a.csv.gz`; empty when it is none that can be read."""
    name = path.name.lower().removesuffix(".gz")
    found = Path(name).suffix
    return found if found in SUFFIXES else ""


def combine_faults(faults: list[str], fix: str) -> UserError:
    """Several faults, each already naming its place, as one error."""
    rest = f"\n… and {len(faults) - MOST_ERRORS:,} more, {len(faults):,} in all" if len(faults) > MOST_ERRORS else ""
    return UserError("\n".join(faults[:MOST_ERRORS]) + rest, fix=fix, code=ExitCode.BAD_DATA)


def check_header(row: list[str], where: str) -> list[str]:
    names = [name.strip() for name in row]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad_file(f"two columns are named {twice[0]!r}", where, "give every column a name of its own")
    return names
