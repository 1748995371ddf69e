"""Which columns hold the text and the label: as named, by usual names, or by what is in them."""

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import text_columns
from finewright.data.readers.base import LABEL_NAMES, NUMBER_NAMES, TEXT_NAMES, FileTable, Record, bad_file
from finewright.data.text_columns import TextForm, choose_form, find_pair

_SHAPES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("messages",), "chat data (`messages`)"),
    (("conversations",), "chat data (`conversations`)"),
    (("conversation",), "chat data (`conversation`)"),
    (("instruction", "output"), "instructions with answers (`instruction`, `output`)"),
    (("prompt", "completion"), "prompts with completions (`prompt`, `completion`)"),
    (("prompt", "response"), "prompts with responses (`prompt`, `response`)"),
    (("chosen", "rejected"), "preferences (`chosen`, `rejected`)"),
    (("tokens", "ner_tags"), "a tag for each word (`tokens`, `ner_tags`)"),
    (("tokens", "tags"), "a tag for each word (`tokens`, `tags`)"),
    (("tokens", "pos_tags"), "a tag for each word (`tokens`, `pos_tags`)"),
)
"""Data of other tasks, by their columns."""
SAMPLE_ROWS = 2000
_LISTED = 20
_SHOWN_CELLS = 10
_LEAST_TEXT, _MOST_LABEL = 12, 40
"""Mean length of a text, and longest label, in characters, of columns that are guessed by content."""
_MOST_CLASSES, _MOST_CLASS_SHARE = 100, 0.34
_CLEARLY_LONGER = 2
_NUMBER = re.compile(r"-?\d+([.,]\d+)?")
_FLAGS = {"0", "1", "0.0", "1.0", "true", "false"}
_LONG_NAME = 50
_LEAST_ROW_WORDS = 6


@dataclass(frozen=True)
class Columns:
    """The columns that were chosen. `texts`: in this order what `form` says, if they are several. `label`: empty if none was
    looked for. `label_separator`: between several labels in one cell, empty if a cell has one. `decimal`: the sign that begins
    the decimals of numbers, empty if no cell tells it; `percent`: whether numbers are percent, None if no cell tells it."""

    texts: tuple[str, ...]
    label: str
    notes: tuple[str, ...] = ()
    form: TextForm = "joined"
    label_separator: str = ""
    decimal: str = ""
    percent: bool | None = None


NO_COLUMNS = Columns((), "")


def wanted_columns(options: DataConfig) -> tuple[str, ...]:
    """Return the names that are enough if a file has them."""
    given = options.text_column or TEXT_NAMES[0]
    texts = (given,) if isinstance(given, str) else given
    return (*texts, options.label_column or LABEL_NAMES[0])


def reuse_columns(
    table: FileTable, options: DataConfig, trained: Columns, *, file: str, fix: str = ""
) -> tuple[DataConfig, list[str]]:
    """Return the options with the columns of training where none are given and the table has them, and notes for the user.

    Parameters
    ----------
    trained
        Columns of the training rows; empty ones are left to be guessed.
    fix
        What to do if the table has none of the text columns; when it is empty they are then guessed, and a note names them.

    Raises
    ------
    UserError
        If only some of several text columns are there: their texts would not be those of training; or if none is there and none
        can be guessed.
    """
    changes: dict[str, str | tuple[str, ...]] = text_columns.reuse_form(options, trained.texts, trained.form, file=file)
    notes = []
    if options.text_column is None and trained.texts:
        found = [_find_alike(table, name) for name in trained.texts]
        found = found if any(found) else text_columns.find_named_pair(table, trained.form) or found
        missing = [name for name, own in zip(trained.texts, found, strict=True) if not own]
        if not missing:
            changes["text_column"] = tuple(found) if len(found) > 1 else found[0]
        elif len(missing) < len(found) or fix:
            listed = ", ".join(table.columns[:_LISTED])
            what = f"no column {' and no '.join(map(repr, missing))}, which the model was trained on; the columns are {listed}"
            raise bad_file(what, file, fix or "--text-column NAME, once for each column")
        elif table.format.suffix != ".txt" or trained.form == "pair":
            absent = f"no column {' and no '.join(map(repr, missing))}, which the model was trained on"
            taken = _choose_instead(table, options.model_copy(update=changes), file=file, absent=absent)
            if len(taken) > 1 and trained.form != "pair":
                what = f"{absent}; these are pairs of texts ({' and '.join(map(repr, taken))}), and the model reads single texts"
                raise bad_file(what, file, "--text-column NAME takes one of them")
            changes["text_column"] = taken if len(taken) > 1 else taken[0]
            notes.append(
                f"{file}: {absent}; the texts are taken from {' and '.join(map(repr, taken))} (--text-column changes it)"
            )
    if options.label_column is None and trained.label and (label := _find_alike(table, trained.label)):
        changes["label_column"] = label
    return options.model_copy(update=changes), notes


def _choose_instead(table: FileTable, options: DataConfig, *, file: str, absent: str) -> tuple[str, ...]:
    """Return the text columns of a table without those of training. Raise `UserError`, which says so, if none is told."""
    try:
        return choose_columns(table, options, file=file, label=False).texts
    except UserError as error:
        error.what = f"{absent}; {error.what}"
        raise


def _find_alike(table: FileTable, name: str) -> str:
    """Return the column with this name, else the only one that differs by case or spaces around it; nothing without one."""
    if name in table.columns:
        return name
    alike = [column for column in table.columns if column.strip().casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else ""


def choose_columns(table: FileTable, options: DataConfig, *, file: str, label: bool = True) -> Columns:
    """Return the columns of the text and, if `label`, of the label; what was guessed is in the notes.

    Raise one `UserError` that tells all that is missing, and what the table looks like.
    """
    given = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    texts = _resolve_all(table, given, file=file)
    chosen = resolve_column(table, options.label_column, file=file) if label and options.label_column else ""
    unknown = [name for name in given if not resolve_column(table, name, file=file)] if not texts else []
    unknown += [options.label_column] if label and options.label_column and not chosen else []
    named = bool(texts) and not any(name.isdigit() for name in given)
    if not texts and not given:
        pair = find_pair(table, label=chosen, file=file)
        texts = pair or find_usual(table, TEXT_NAMES, file=file)
    if label and not chosen and not options.label_column:
        chosen = next(iter(find_usual(table, LABEL_NAMES, file=file)), "")
    if not (texts and (chosen or not label)) or (given and not named):
        _check_header(table, file)
    if not given:
        _check_shape(table, texts, file=file)
    guessed_text = not given and len(texts) < 2 and texts != (TEXT_NAMES[0],)
    guessed_label = label and not options.label_column and chosen != LABEL_NAMES[0]
    if not unknown:
        texts, chosen = _guess(table, texts, chosen, label=label)
    if not texts or (label and not chosen):
        _check_calculated(table, table.uncalculated, file=file)  # one of them may be what is missing
        raise _missing(table, texts, chosen, options, unknown, file=file, label=label)
    if chosen in texts:
        raise bad_file(f"the column {chosen!r} cannot be both text and label", file, "--text-column, --label-column")
    _check_calculated(table, (*texts, chosen), file=file)
    notes = [f"text column: {texts[0]!r} (guessed; --text-column changes it)"] if guessed_text else []
    notes += [f"label column: {chosen!r} (guessed; --label-column changes it)"] if guessed_label else []
    if table.uncalculated:
        notes.append(f"{file}: {_list_uncalculated(table, table.uncalculated)}; no column that is used has one")
    form, said = choose_form(texts, options, file=file, label=chosen, is_given=bool(given))
    return Columns(texts, chosen, (*notes, *said), form)


def _check_calculated(table: FileTable, names: Iterable[str], *, file: str) -> None:
    """Raise `UserError` if a column that is used has formulas of which nobody knows the value."""
    if any(name in table.uncalculated for name in names):
        what = f"{_list_uncalculated(table, names)}; they were never calculated"
        raise bad_file(what, file, "open it in Excel or LibreOffice, and save it: that stores the values")


def _list_uncalculated(table: FileTable, names: Iterable[str]) -> str:
    cells = [cell for name in names for cell in table.uncalculated.get(name, [])]
    more = f" and {len(cells) - _SHOWN_CELLS:,} more" if len(cells) > _SHOWN_CELLS else ""
    return f"formulas without a value: {', '.join(cells[:_SHOWN_CELLS])}{more}"


def _resolve_all(table: FileTable, given: Sequence[str], *, file: str) -> tuple[str, ...]:
    """Return the columns of all these names; a name with commas that no column has stands for several."""
    found = []
    for name in given:
        whole = resolve_column(table, name, file=file)
        parts = [whole] if whole else [resolve_column(table, part.strip(), file=file) for part in name.split(",")]
        found += parts
    return tuple(dict.fromkeys(found)) if all(found) else ()


def resolve_column(table: FileTable, name: str, *, file: str) -> str:
    """Return the column of a name, or of a number from 1 on; nothing if there is none."""
    if name in table.repeated:
        fix = f"name it by its number, such as {table.columns.index(name) + 1}, or give every column a name of its own"
        raise bad_file(f"two columns are named {name!r}", table.repeated[name] or file, fix)
    if name in table.columns:
        return name
    if name.isascii() and name.isdigit() and 1 <= int(name) <= len(table.columns):
        return table.columns[int(name) - 1]
    return ""


def find_usual(table: FileTable, names: Sequence[str], *, file: str) -> tuple[str, ...]:
    """Return the column with one of these names, the exact first name before all others; none if there is none."""
    if names[0] in table.columns:
        return (resolve_column(table, names[0], file=file),)
    folded = {name.casefold().strip(): name for name in reversed(table.columns)}
    found = next((folded[name] for name in names if name in folded), None)
    return (resolve_column(table, found, file=file),) if found else ()


def _check_header(table: FileTable, file: str) -> None:
    """Raise `UserError` if the first line looks like a row, not like names."""
    header = [name.strip() for name in table.header if name.strip()]
    if not table.format.header or table.format.suffix not in (".csv", ".tsv", ".xlsx") or not header:
        return
    if [int(name) for name in header if name.isdigit()] == list(range(len(header))):
        return  # the names that pandas gives
    if {name.casefold() for name in header} & {*TEXT_NAMES, *LABEL_NAMES}:
        return
    sample = [record.values for record in table.records[:SAMPLE_ROWS]]
    as_value = any(
        any(row[column] == name.strip() for row in sample)
        for column, name in zip(table.columns, table.header, strict=False)
        if name.strip()
    )
    as_text = any(len(name) > _LONG_NAME or len(name.split()) >= _LEAST_ROW_WORDS or _NUMBER.fullmatch(name) for name in header)
    if as_value or as_text:
        shown = ", ".join(f"{name:.40}" for name in header[:5])
        fix = "--no-header reads it as a row; name the columns by number, such as --text-column 1 --label-column 2"
        raise bad_file(f"the first line looks like a row, not like names of columns: {shown}", file, fix)


def _check_shape(table: FileTable, texts: tuple[str, ...], *, file: str) -> None:
    """Raise `UserError` if the columns are those of another kind of data."""
    names = {name.casefold(): name for name in table.columns}
    if texts == (TEXT_NAMES[0],):
        return
    shape = next((said for keys, said in _SHAPES if set(keys) <= names.keys()), None)
    if shape and not texts:
        what = f"this is {shape}; one label per text is wanted; the columns are {', '.join(table.columns[:_LISTED])}"
        fix = "--text-column NAME --label-column NAME, if there is a label for each text; `finewright tasks` lists other tasks"
        raise bad_file(what, file, fix)


@dataclass(frozen=True)
class _ColumnProfile:
    """What the values of a column look like. `text`: it may be the text, `label`: it may be the label."""

    length: float
    text: bool
    label: bool


def _profile_column(records: Sequence[Record], column: str) -> _ColumnProfile:
    values = [record.values.get(column) for record in records]
    shown = [str(value) for value in values if isinstance(value, str | int | float) and str(value).strip()]
    words = [value for value in values if isinstance(value, str)]
    if len(shown) * 2 < len(values) or not shown:
        return _ColumnProfile(0.0, text=False, label=False)
    length = sum(map(len, shown)) / len(shown)
    different = len(set(shown))
    few = 2 <= different <= min(_MOST_CLASSES, max(2, _MOST_CLASS_SHARE * len(shown)))
    text = length >= _LEAST_TEXT and len(words) * 2 > len(values) and different * 2 > len(shown)
    return _ColumnProfile(length, text=text, label=few and max(map(len, shown)) <= _MOST_LABEL)


def _profile_columns(table: FileTable) -> dict[str, _ColumnProfile]:
    sample = table.records[:: max(1, len(table.records) // SAMPLE_ROWS)]
    return {
        column: _profile_column(sample, column) for column in itertools.islice(table.columns, 200) if column not in table.repeated
    }


def _guess(table: FileTable, texts: tuple[str, ...], label_column: str, *, label: bool) -> tuple[tuple[str, ...], str]:
    """Return the columns, those that are missing by content if one clearly fits."""
    if texts and (label_column or not label):
        return texts, label_column
    profiles = {name: profile for name, profile in _profile_columns(table).items() if name not in (*texts, label_column)}
    if not texts:
        texts = _longest(profiles)
    if label and not label_column:
        fitting = [name for name, profile in profiles.items() if profile.label and name not in texts]
        called = [name for name in fitting if name.casefold().strip() in NUMBER_NAMES]
        label_column = next((one[0] for one in (fitting, called) if len(one) == 1), "")
    return texts, label_column


def _longest(profiles: dict[str, _ColumnProfile]) -> tuple[str, ...]:
    """Return the column of texts that are clearly longer than what all others hold."""
    ranked = sorted(profiles, key=lambda name: -profiles[name].length)
    if not ranked or not profiles[ranked[0]].text:
        return ()
    clear = len(ranked) == 1 or profiles[ranked[0]].length >= _CLEARLY_LONGER * profiles[ranked[1]].length
    return (ranked[0],) if clear else ()


def find_flags(table: FileTable, options: DataConfig) -> list[str]:
    """Return the columns that say yes or no of one label each; none if there is only one."""
    given = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    texts = _resolve_all(table, given, file="") or find_usual(table, TEXT_NAMES, file="") or _longest(_profile_columns(table))
    return _flags(table, None, texts)


def find_label_like(table: FileTable, *, but: Collection[str]) -> list[str]:
    """Return the columns with few values, as labels have, besides those that are named."""
    return [name for name, profile in _profile_columns(table).items() if profile.label and not profile.text and name not in but]


def _flags(table: FileTable, wanted: str | None, texts: Collection[str]) -> list[str]:
    """Return the columns that say yes or no of one label each, those that are `wanted` or all; none if there is only one."""
    names = [resolve_column(table, part.strip(), file="") for part in wanted.split(",")] if wanted else list(table.columns)
    if not all(names):
        return []
    sample = table.records[:SAMPLE_ROWS]
    values = {name: {str(one.values.get(name)).casefold() for one in sample} for name in names if name not in texts}
    flags = [name for name, found in values.items() if found <= _FLAGS]
    both = sum(len(values[name]) > 1 for name in flags)  # a rare label may be no in every row of the sample
    return flags if both > 1 and (not wanted or len(flags) == len(names)) else []


def _missing(
    table: FileTable,
    texts: tuple[str, ...],
    chosen: str,
    options: DataConfig,
    unknown: Sequence[str],
    *,
    file: str,
    label: bool,
) -> UserError:
    """Return the error that names what is missing, with what may be meant."""
    profiles = _profile_columns(table)
    if label and not chosen and (flags := _flags(table, options.label_column, {*texts, *_longest(profiles)})):
        what = f"several labels per text, one column each ({', '.join(flags[:_LISTED])})"
        return bad_file(what, file, f"--task multi-label-classification learns all of them, --label-column {flags[0]} that one")
    what = [f"no column {name!r}" for name in unknown]
    kinds, fixes = [], []
    if not texts:
        near = difflib.get_close_matches(next(iter(unknown), ""), table.columns, n=1, cutoff=0.5)
        kinds += [] if options.text_column else ["text"]
        near = (
            near
            if options.text_column
            else [max(profiles, key=lambda name: profiles[name].length)]
            if any(one.text for one in profiles.values())
            else []
        )
        fixes.append(f"--text-column NAME{f' (did you mean {near[0]!r}?)' if near else ''}")
    if label and not chosen:
        kinds += [] if options.label_column else ["label"]
        near = difflib.get_close_matches(options.label_column or "", table.columns, n=1, cutoff=0.5)
        few = [name for name, profile in profiles.items() if profile.label and name not in texts]
        said = f" (did you mean {near[0]!r}?)" if near else f" (few values: {', '.join(few[:5])})" if few else ""
        fixes.append(f"--label-column NAME{said}")
    what += [f"no {' and no '.join(kinds)} column"] if kinds else []
    listed = ", ".join(table.columns[:_LISTED])
    more = f" and {len(table.columns) - _LISTED:,} more" if len(table.columns) > _LISTED else ""
    return UserError(
        f"{', '.join(what)}; the columns are {listed}{more}", where=file, fix="  ".join(fixes), code=ExitCode.BAD_DATA
    )


def has_few_values(table: FileTable, column: str) -> bool:
    """Return whether a column holds few values, each many times, as labels do."""
    return bool(column) and _profile_column(table.records[:: max(1, len(table.records) // SAMPLE_ROWS)], column).label


def guess_label(table: FileTable, text: str) -> str:
    """Return the only column that looks like labels beside the text; nothing if there is none, or more than one."""
    return _guess(table, (text,), "", label=True)[1]


def holds_truth(table: FileTable, column: str, *, least: float = 1.0) -> bool:
    """Return whether at least this share of a column's values is true or false, or 1 or 0."""
    values = [str(record.values.get(column)).strip().casefold() for record in table.records[:SAMPLE_ROWS]]
    return sum(value in _FLAGS for value in values) >= least * len(values)
