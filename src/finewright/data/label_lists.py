"""Several labels in one cell: lists, or names with a separator between them, and how to tell them from one label with a comma."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finewright.data.labels import number_of, read_label

SEPARATORS = ("|", ";", ",")
"""What stands between labels in one cell, the least usual inside of a label first."""
LIST = "list"
"""The separator of cells that are lists."""
_BRACKETS = ("[]", "()", "{}")
_SURE_SHARE = {"|": 0.6, ";": 0.7, ",": 0.8}
"""Mean share of the parts of a cell that recur, from which on cells are lists: a comma is the most usual inside of a label."""
_LIKELY_SHARE = 0.5
"""The share from which on they may be lists."""
_LEAST_ROWS, _LEAST_SHARE = 3, 0.01
"""Fewest rows with several labels, and their least share: fewer are more likely to be mistakes in a column of single labels."""
_LONGEST_LABEL = 60

Verdict = Literal["one", "several", "unclear"]


@dataclass(frozen=True)
class LabelLists:
    """What the cells of a column are. `separator`: between the labels of a cell, `LIST` for lists, empty for single labels.
    `reason`: what was seen, in words."""

    verdict: Verdict
    separator: str = ""
    reason: str = ""


ONE_EACH = LabelLists("one")


def tell_label_lists(values: Sequence[Any], *, column: str) -> LabelLists:
    """Return whether the cells of a column have several labels.

    A separator alone does not tell it: `Food, drink` is one label if its parts occur nowhere else. Parts that occur alone or in
    other combinations are labels of their own.
    """
    present = [value for value in values if not _is_empty(value)]
    lists = [value for value in present if isinstance(value, list | tuple)]
    if lists:
        if 2 * len(lists) > len(present):
            return LabelLists("several", LIST, f"{column!r} has lists of labels, such as {_shorten(lists[0])}")
        return ONE_EACH
    cells = [value.strip() for value in present if isinstance(value, str)]
    bracketed = [cell for cell in cells if _has_brackets(cell)]
    if 2 * len(bracketed) > len(cells) > 0:
        return LabelLists("several", LIST, f"{column!r} has lists of labels, such as {bracketed[0]:.60}")
    found = [one for separator in SEPARATORS if (one := _tell_separator(cells, separator, column=column)).verdict != "one"]
    return next((one for one in found if one.verdict == "several"), found[0] if found else ONE_EACH)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())


def _has_brackets(cell: str) -> bool:
    return cell[:1] + cell[-1:] in _BRACKETS


def _shorten(value: Any) -> str:
    text = str(list(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _tell_separator(cells: Sequence[str], separator: str, *, column: str) -> LabelLists:
    counts = Counter(cells)
    parts = {cell: tuple(dict.fromkeys(split_cell(cell, separator))) for cell in counts}
    joined = [cell for cell in counts if separator in cell and len(parts[cell]) > 1]
    if not joined or any(len(part) > _LONGEST_LABEL for cell in joined for part in parts[cell]):
        return ONE_EACH
    sets_of = Counter(part for some in {frozenset(parts[cell]) for cell in counts} for part in some)
    num_rows = sum(counts[cell] for cell in joined)
    recurring = {cell: sum(sets_of[part] > 1 for part in parts[cell]) / len(parts[cell]) for cell in joined}
    share = sum(counts[cell] * recurring[cell] for cell in joined) / num_rows
    if share < _LIKELY_SHARE or (share < 1 and len(joined) == 1):
        return ONE_EACH
    example = max(joined, key=lambda cell: counts[cell])
    what = f"{column!r} has cells such as {example!r:.60}"
    if separator == "," and all(_is_decimal(cell) for cell in counts):
        return LabelLists("unclear", separator, f"{what}, which may be numbers with a decimal comma")
    if size := _has_parts_by_place([*parts.values()]):
        return LabelLists("unclear", separator, f"{what}; each has {size} parts, and none of them is in another place elsewhere")
    if share < _SURE_SHARE[separator]:
        return LabelLists("unclear", separator, f"{what}; {share:.0%} of their parts occur alone or in other cells too")
    if num_rows < max(_LEAST_ROWS, _LEAST_SHARE * len(cells)):
        few = f"{num_rows:,} row{' has' if num_rows == 1 else 's have'} several labels in {column!r}, such as {example!r:.60}"
        return LabelLists("unclear", separator, f"of {len(cells):,} rows {few}")
    return LabelLists("several", separator, f"{what}, whose parts also occur alone or in other cells")


def _has_parts_by_place(cells: Sequence[tuple[str, ...]]) -> int:
    """Return how many parts each cell has if each place has parts of its own, as in `Portland, Oregon`; else 0."""
    size = len(cells[0])
    if size < 2 or any(len(parts) != size for parts in cells):
        return 0
    places = [{parts[place] for parts in cells} for place in range(size)]
    return size if len(set().union(*places)) == sum(map(len, places)) else 0


def _is_decimal(cell: str) -> bool:
    """Whether a cell is a whole number, or one with one comma in it."""
    whole, _, decimals = cell.partition(",")
    return number_of(whole.lstrip("-")) is not None and (decimals.isdigit() or not decimals) and "." not in cell


def split_cell(cell: str, separator: str) -> list[str]:
    """Return the labels of a cell in order, without the empty ones. `separator`: empty for one label, `LIST` for `['a', 'b']`."""
    if separator == LIST and _has_brackets(cell.strip()):
        inner = cell.strip()[1:-1]
        quotes = {mark for mark in "'\"" if mark in inner}
        return [part for raw in _split_list(inner, quotes) if (part := raw.strip())]
    if separator in ("", LIST):
        return [cell.strip()] if cell.strip() else []
    return [part for raw in cell.split(separator) if (part := raw.strip())]


def _split_list(inner: str, quotes: Collection[str]) -> Iterable[str]:
    """Yield the members of a list as Python and JSON write one; commas inside of quotes do not end a member.

    NumPy writes spaces alone between quoted members: `['a' 'b']`.
    """
    member, quote = "", ""
    for letter in inner:
        if quote:
            if letter == quote:
                quote = ""
                yield member
                member = ""
            else:
                member += letter
        elif letter in quotes and not member.strip():
            quote, member = letter, ""
        elif letter == ",":
            yield member
            member = ""
        else:
            member += letter
    yield member


def read_labels(value: Any, *, separator: str) -> tuple[tuple[str, ...], str]:
    """Return (labels of a cell by name, each once; fault). A cell that is empty has none, which is no fault."""
    if _is_empty(value):
        return (), ""
    if isinstance(value, str) and separator:
        value = split_cell(value, separator)
    members = value if isinstance(value, list | tuple) else [value]
    found = [read_label(member) for member in members if not (isinstance(member, str) and not member.strip())]
    fault = next((fault for _, fault in found if fault), "")
    return tuple(sorted({label for label, _ in found})), fault


def choose_written_separator(separator: str, labels: Iterable[str]) -> str:
    """Return what to write between labels in one cell: the data's own, else the first that no label has in it; a line feed if
    every one is inside of a label."""
    labels = list(labels)
    candidates = [separator] if separator not in ("", LIST) else []
    return next((one for one in (*candidates, *SEPARATORS) if not any(one in label for label in labels)), "\n")
