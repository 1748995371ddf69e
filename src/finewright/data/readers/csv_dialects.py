"""What a CSV file does not say of itself: its delimiter, its quotes, the lines above its header."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from finewright.data.readers.base import LABEL_NAMES, TEXT_NAMES

DELIMITERS = ",;\t|"
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 60, 100_000
_MOST_ABOVE = 10
_LEAST_ALIKE = 0.9
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""A first line with which Excel is told the delimiter."""
_BACKSLASHES = re.compile(r'(\\+)"')


@dataclass(frozen=True)
class Dialect:
    r"""`num_above`: lines above the header. `quoted`: whether quotes enclose fields. `spaced`: a space follows each delimiter.

    `backslash`: a quote inside a field is written \" instead of "".
    """

    delimiter: str
    num_above: int = 0
    quoted: bool = True
    spaced: bool = False
    backslash: bool = False

    @property
    def advice(self) -> str:
        """How a fault in the file is corrected."""
        return f'quote a field with {self.delimiter!r} inside; in a quoted field a quote is written ""'

    def notes(self, suffix: str) -> list[str]:
        """Return what the user should know of it."""
        usual = "\t" if suffix == ".tsv" else ","
        found = []
        if self.delimiter != usual:
            found.append(f"columns are separated by {self.delimiter!r}")
        if self.num_above:
            lines = "1 line above the header was" if self.num_above == 1 else f"{self.num_above} lines above the header were"
            found.append(f"{lines} left out")
        if not self.quoted:
            found.append("quotes are read as part of the fields, since they do not enclose them")
        if self.spaced:
            found.append("spaces after a separator were left out")
        if self.backslash:
            found.append('\\" is read as a quote inside a field')
        return found


def find(lines: Iterator[str], *, suffix: str, header: bool) -> tuple[Dialect, Iterator[str]]:
    """Return the dialect that the first lines show, and all lines. `header`: whether the file has one."""
    sample: list[str] = []
    size = 0
    for line in lines:
        sample.append(line)
        size += len(line)
        if len(sample) >= _SAMPLE_LINES or size > _SAMPLE_CHARACTERS:
            break
    lines = itertools.chain(sample, lines)
    if sample and (named := _SEP.fullmatch(sample[0])):
        return Dialect(named[1], num_above=1), lines
    above = _count_above(sample) if header else 0
    rest = sample[above:]
    dialect = Dialect(_delimiter(rest, suffix=suffix), num_above=above)
    return (replace(dialect, spaced=True) if _is_spaced(rest, dialect.delimiter) else dialect), lines


def others(dialect: Dialect, *, faulty: bool, long_rows: bool, backslash: bool) -> Iterator[Dialect]:
    """Yield other dialects that a file may have which has faults in this one, or rows over several lines."""
    if dialect.delimiter == "\t" and dialect.quoted and (faulty or long_rows):
        yield replace(dialect, quoted=False)
    if faulty or backslash:
        yield replace(dialect, backslash=True)
    if faulty and not dialect.spaced:
        yield replace(dialect, spaced=True)


def double_quotes(line: str) -> str:
    r"""Return a line with \" written as ""; of two backslashes before a quote one stays, and the quote closes the field."""
    if '\\"' not in line:
        return line
    return _BACKSLASHES.sub(lambda found: "\\" * (len(found[1]) // 2) + ('""' if len(found[1]) % 2 else '"'), line)


def is_quoted(rows: Iterable[Iterable[object]]) -> bool:
    """Return whether fields that were read with their quotes look as if the quotes enclose them after all."""
    num_rows = num_enclosed = 0
    for row in rows:
        enclosed = [one for one in row if isinstance(one, str) and len(one) > 1 and one[0] == '"' == one[-1]]
        if any('""' in one[1:-1] for one in enclosed):
            return True
        num_rows += 1
        num_enclosed += bool(enclosed)
    return num_enclosed * 2 > num_rows


def count_fields(lines: Iterable[str], delimiter: str, *, spaced: bool = False) -> list[int]:
    """Return the number of fields of each row that is not blank; rows with broken quotes count as they look."""
    try:
        return [len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced) if row]
    except csv.Error:
        return []


def share_alike(counts: list[int]) -> float:
    """Return the share of rows that have as many fields as the first."""
    return sum(count == counts[0] for count in counts) / len(counts) if counts else 0.0


def _delimiter(sample: list[str], *, suffix: str) -> str:
    """Return what separates the columns: what the header has, and the rows as often as it."""
    header = next((line for line in sample if line.strip()), "")
    if suffix == ".tsv" and "\t" in header:
        return "\t"
    bare = re.sub(r'"[^"]*"', "", header)
    present = [one for one in DELIMITERS if one in bare]
    if len(present) < 2:
        return present[0] if present else "\t" if suffix == ".tsv" else ","
    return max(present, key=lambda one: (share_alike(count_fields(sample, one)) > _LEAST_ALIKE, bare.count(one)))


def _count_above(sample: list[str]) -> int:
    """Return the number of lines above the header: comments, or a title."""
    full = [(number, line) for number, line in enumerate(sample) if line.strip()]
    names = [_names(line) for _, line in full[:_MOST_ABOVE]]
    if names and not names[0] & {*TEXT_NAMES, *LABEL_NAMES}:
        both = [place for place, one in enumerate(names) if one & {*TEXT_NAMES} and one & {*LABEL_NAMES}]
        if both:
            return full[both[0]][0]
    comments = len(list(itertools.takewhile(lambda one: one[1].startswith("#"), full)))
    if not comments or len(full) < comments + 2:
        return 0
    number, header = full[comments]
    delimiter = _delimiter([header], suffix="")
    counts = count_fields([line for _, line in full[comments:]], delimiter)
    above = count_fields([line for _, line in full[:comments]], delimiter)
    return 0 if counts[:1] <= [1] or share_alike(counts) < _LEAST_ALIKE or counts[0] in above else number


def _names(line: str) -> set[str]:
    """Return the fields of a line, as names of columns are compared."""
    return {name.strip().strip('"').casefold() for name in line.split(_delimiter([line], suffix=""))}


def _is_spaced(sample: list[str], delimiter: str) -> bool:
    """Return whether quotes enclose fields only if the space before them is left out."""
    found = sum(bool(re.search(rf'{re.escape(delimiter)} +"(?!")', line)) for line in sample[1:])
    if found * 2 <= len(sample) - 1:
        return False
    with_spaces, without = count_fields(sample, delimiter), count_fields(sample, delimiter, spaced=True)
    return share_alike(without) == 1.0 >= share_alike(with_spaces)
