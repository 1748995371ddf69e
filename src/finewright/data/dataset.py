"""Labelled texts from files and hub data sets: columns, labels, splits."""

import contextlib
import difflib
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finewright.core import assets
from finewright.core.config import DataConfig
from finewright.core.errors import UserError, first_line
from finewright.core.files import unchanged_while_reading
from finewright.data import folders, labels, readers
from finewright.data.columns import NO_COLUMNS, Columns, choose_columns, reuse_columns, wanted_columns
from finewright.data.readers import base
from finewright.data.readers.base import SPLIT_NAMES, TEXT_NAMES, FileFormat, FileTable, ReadOptions, Record
from finewright.data.readers.hub import check_reachable, read_hub_records
from finewright.data.splits import Example, hold_out, hold_out_validation
from finewright.data.tables import Table


@dataclass(frozen=True)
class Dataset:
    """`labels`: of training, in order; integers by size. `fingerprint`: SHA-256 of split, text and label of all rows in order.

    `columns`: those that the training rows were read from. `trains_on_all`: so few rows that none is held out to validate.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    labels: tuple[str, ...]
    label_kind: Literal["text", "integer", "boolean"]
    notes: list[str]
    fingerprint: str
    columns: Columns = NO_COLUMNS
    trains_on_all: bool = False


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one table that have a text and a label. `records`: the whole row of each, `table`: where they come from."""

    rows: list[Example]
    records: list[Record]
    table: FileTable
    columns: Columns
    notes: list[str]


class DatasetCache:
    """Data sets and token ids that several runs share. Do not change what it returns."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str, DataConfig], Dataset] = {}
        self._ids: dict[str, dict[str, list[int]]] = {}
        self._read_seconds = 0.0

    def read(self, source: "Source", *, options: DataConfig, test: "Source | None" = None) -> Dataset:
        """Return `read_dataset`, read once for each source."""
        key = (str(source), str(test or ""), options)
        if key not in self._datasets:
            began = time.monotonic()
            self._datasets[key] = read_dataset(source, options=options, test=test)
            self._read_seconds += time.monotonic() - began
        return self._datasets[key]

    def take_read_seconds(self) -> float:
        """Return how long reading took since the last call: a run counts what its caller read for it."""
        seconds, self._read_seconds = self._read_seconds, 0.0
        return seconds

    def ids(self, model: str) -> dict[str, list[int]]:
        """Return the uncut token ids of every text that a model's tokenizer has seen; `encode_texts` reads and fills them."""
        return self._ids.setdefault(model, {})


_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_ADDRESS = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
_HUB_ADDRESS = re.compile(r"(?:huggingface\.co/)?datasets/([\w.-]+/[\w.-]+)/?")
_PACKAGED = {"tickets": assets.TICKETS, "requests": assets.REQUESTS}
"""Data sets that come with the program, by name."""
_BLANK = "".join(map(chr, [*range(9, 14), 0x20, 0x85, 0xA0, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD]))
"""White space and characters that nothing shows of."""
_MOST_LABELS = 10
"""Labels that a message names."""


Source = str | Path | Table
"""A path, a hub id, or rows in memory."""
_Splits = tuple[dict[str, list[Example]], list[str], Columns]
"""Rows by split, notes, and the columns of the training rows."""


def read_dataset(source: Source, *, options: DataConfig, test: Source | None = None) -> Dataset:
    """Read labelled texts from a file, a folder with splits, a hub id or memory. Hold out missing splits, stratified by label."""
    splits, notes, columns = _read_splits(source, options=options)
    if "train" not in splits:
        raise base.bad_file(f"no rows to train on, only {' and '.join(splits)} rows", str(source), "give them under `train`")
    if test is not None:
        notes += [f"the data's own test rows ({len(splits['test']):,}) are replaced by {test}"] if "test" in splits else []
        splits["test"], more = read_rows(test, options=options)
        notes += more
    if options.merge_similar_labels:
        splits, more = labels.merge_similar_labels(splits)
        notes += more
    if not splits.get("test"):
        splits["train"], splits["test"], note = hold_out(
            splits["train"], options.test_fraction, seed=options.split_seed, name="test"
        )
        notes.append(note)
    if not splits.get("validation"):
        splits["train"], splits["validation"], note = hold_out_validation(
            splits["train"], options.validation_fraction, seed=options.split_seed
        )
        notes.append(note)
    trains_on_all = options.validation_fraction is None and not splits["validation"]
    names, kind = labels.sort_labels({row.label for row in splits["train"]})
    for name in ("validation", "test"):
        splits[name] = labels.spell_truth_values(splits[name], names)
    if options.drop_unseen_labels:
        notes += _drop_unseen_labels(splits, names)
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        for row in splits[name]:
            digest.update(f"{name}\0{row.text}\0{row.label}\n".encode())
    unique = list(dict.fromkeys(notes))  # files of one folder give the same notes
    columns = replace(columns, notes=())
    parts = (splits["train"], splits["validation"], splits["test"])
    return Dataset(*parts, names, kind, unique, digest.hexdigest(), columns, trains_on_all)


def read_rows(source: Source, *, options: DataConfig) -> tuple[list[Example], list[str]]:
    """Return the labelled rows of one file or of a table in memory, and notes."""
    if isinstance(source, Table):
        found = _label_rows(_in_memory(source.all_records(), source.repeated), options=options, file="data")
    else:
        path = find_existing(source)
        found = _label_rows(_read_file(path, options), options=options, file=shown_name(path))
    return found.rows, found.notes


def read_rows_for_model(source: Source, *, options: DataConfig, trained: Columns, labels: Sequence[str]) -> LabelledRows:
    """Return the labelled rows of one file or of a table in memory with all their columns, to evaluate a model on them.

    Parameters
    ----------
    options
        Columns that are given go before those of training. Labels are merged or left out as the options say.
    trained
        Columns that the model's training rows were read from.
    labels
        Labels that the model knows; empty if the task has none.

    Raises
    ------
    UserError
        If a row has no text or no label, or one that the model does not know.
    """
    if isinstance(source, Table):
        table, file = _in_memory(source.all_records(), source.repeated), "data"
    else:
        path = find_existing(source)
        file, how = shown_name(path), ReadOptions(encoding=options.encoding, no_header=options.no_header)
        with _reading(path):
            table = readers.read_file(path, how, form=options.format)
    options, notes = reuse_columns(table, options, trained, file=file)
    found = _label_rows(table, options=options, file=file)
    if not found.rows:
        raise base.bad_file("no row has a text and a label", file, "add rows, or name the columns")
    return _fit_labels(replace(found, notes=[*notes, *found.notes]), labels, options) if labels else found


def _fit_labels(found: LabelledRows, known: Sequence[str], options: DataConfig) -> LabelledRows:
    """Merge labels and leave rows out as the options say; raise `UserError` for labels that are still unknown."""
    rows, records, notes = labels.spell_truth_values(found.rows, known), found.records, list(found.notes)
    if options.merge_similar_labels:
        merged, more = labels.merge_similar_labels({"test": rows}, known=known)
        rows, notes = merged["test"], [*notes, *more]
    if options.drop_unseen_labels:
        chosen = [place for place, row in enumerate(rows) if row.label in set(known)]
        unseen = sorted({row.label for row in rows} - set(known))
        if unseen:
            notes.append(f"{len(rows) - len(chosen):,} of {len(rows):,} rows left out: labels unseen in training {_list(unseen)}")
        rows, records = [rows[place] for place in chosen], [records[place] for place in chosen]
        if not rows:
            raise base.bad_file("no row has a label that the model knows", "data", f"its labels are {', '.join(known[:20])}")
    check_known_labels(rows, known)
    return replace(found, rows=rows, records=records, notes=notes)


def _list(names: Sequence[str]) -> str:
    return f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"


def read_table(source: str | Path, *, options: DataConfig | None = None, text_names: Collection[str] = ()) -> FileTable:
    """Return all rows and columns of one file as they are, to label them and to write them again.

    Blank lines between rows are rows without a text. Cells may be empty. `notes` says what was found out about the file,
    `format` how it is written, `Record.where` the place of each row.

    Parameters
    ----------
    source
        A table or a file with one text a line, packed or not, a pipe, or `-` for standard input.
    options
        Format, encoding and header where they shall not be found out, and the text column.
    text_names
        Further names of text columns: a `.txt` file with one of them in its first row is a table.

    Raises
    ------
    UserError
        If the file cannot be read. It names file and line.
    """
    options = options or DataConfig()
    path = find_existing(source)
    how = ReadOptions(encoding=options.encoding, no_header=options.no_header, keep_blank=True)
    with _reading(path):
        return readers.read_file(path, how, form=options.format, texts=(*_text_names(options), *text_names))


def find_texts(table: FileTable, *, options: DataConfig | None = None, file: str = "data") -> tuple[list[str | None], list[str]]:
    """Return the text of each row, None where there is none that a model could read, and notes for the user.

    Raises
    ------
    UserError
        If the columns of the text are not told, or a text is damaged: it names the row.
    """
    options = options or DataConfig()
    columns = choose_columns(table, options, file=file, label=False)
    read = [(record.where, *read_text(record, columns, options)) for record in table.records]
    faults = [f"{where}: {fault}" for where, text, fault in read if fault and text]
    if faults:
        raise base.combine_faults(faults, "correct these rows, or leave them out")
    return [None if fault else text for _, text, fault in read], list(columns.notes)


def _read_options(options: DataConfig) -> ReadOptions:
    return ReadOptions(wanted=wanted_columns(options), encoding=options.encoding, no_header=options.no_header)


def _text_names(options: DataConfig) -> tuple[str, ...]:
    given = options.text_column or TEXT_NAMES
    return (given,) if isinstance(given, str) else given


def _read_file(path: Path, options: DataConfig) -> FileTable:
    with _reading(path):
        return readers.read_file(path, _read_options(options), form=options.format)


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    """Refuse a file that changes while it is read; what comes through a pipe is read once and cannot."""
    return unchanged_while_reading(path) if path.is_file() else contextlib.nullcontext()


def shown_name(path: Path) -> str:
    """Return the name of a file in messages."""
    return "standard input" if str(path) == readers.STANDARD_INPUT else path.name


def _in_memory(records: list[Record], repeated: Mapping[str, str] | None = None) -> FileTable:
    columns = base.find_columns(records)
    return FileTable(records, columns, FileFormat(""), header=columns, repeated=dict(repeated or {}))


def find_existing(source: str | Path) -> Path:
    """Return the path. Raise `UserError` with the nearest name in its folder if nothing is there."""
    path = Path(source)
    if str(source) == readers.STANDARD_INPUT or os.path.exists(path):  # unlike `path.exists()`, without an error for any name
        return path
    if address := _ADDRESS.fullmatch(str(source)):
        raise _is_address(address, shown=str(source))
    what = "a link that leads nowhere" if os.path.islink(path) else "no such file"
    raise base.bad_file(what, path, _did_you_mean(path) or "check the path")


def find_local(source: str) -> Path | None:
    """Return where rows can be read from again at any time: a file, a folder, or a data set of the program; None if nowhere."""
    path = _PACKAGED.get(source, Path(source))
    return path if os.path.isfile(path) or os.path.isdir(path) else None


def _is_address(address: re.Match[str], *, shown: str) -> UserError:
    """Return the error for an address in place of a path, with the way to its data."""
    kind, rest = address["kind"].casefold(), address["rest"]
    whole = f"{kind}://{rest}"
    if kind == "file":
        fix = f"give the path: /{rest}"
    elif hub := _HUB_ADDRESS.fullmatch(rest):
        fix = f"give the hub id: {hub[1]}"
    else:
        fix = f"download it first, such as with `curl -LO {whole}`" if kind in ("http", "https") else "download it first"
    return base.bad_file("addresses are not read", whole if "://" in whole else shown, fix)


def _did_you_mean(path: Path) -> str:
    near = difflib.get_close_matches(path.name, [name for name in folders.list_names(path.parent) if name != path.name], n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def _read_splits(source: Source, *, options: DataConfig) -> _Splits:
    if isinstance(source, Table):
        tables = {name: _in_memory(rows, source.repeated) for name, rows in source.splits.items()}
        return _label_splits(tables, options, file="data")
    path = Path(source)
    if not os.path.exists(path) and not os.path.islink(path) and str(source) != readers.STANDARD_INPUT:
        if str(source) in _PACKAGED:
            splits, notes, columns = _read_folder(_PACKAGED[str(source)], options=options)
            return splits, [f"{str(source)!r} is the data set of that name that comes with finewright", *notes], columns
        if _HUB_ID.fullmatch(str(source)) and not readers.suffix(path) and not readers.packing(path):
            return _read_hub(str(source), options=options)
    if find_existing(source).is_dir():
        return _read_folder(path, options=options)
    table = _read_file(path, options)
    if not table.splits:
        return _label_splits({"train": table}, options, file=shown_name(path))
    return _label_splits({name: table.of_split(name) for name in table.splits}, options, file=shown_name(path))


def _read_folder(path: Path, *, options: DataConfig) -> _Splits:
    found = folders.find_splits(path)
    tables = {
        split: base.join_tables([_read_file(file, options) for file in files]) for split, files in found.files.items()
    } | found.tables
    names = {split: files[0].name for split, files in found.files.items()}
    splits, notes, columns = _label_splits(tables, options, file=path.name, names=names)
    return splits, [*found.notes, *notes], columns


def _label_splits(
    tables: dict[str, FileTable], options: DataConfig, *, file: str, names: Mapping[str, str] | None = None
) -> _Splits:
    """Return rows by split, notes, and the columns of the training rows. `names`: of the files by split, where they differ."""
    splits: dict[str, list[Example]] = {}
    notes: list[str] = []
    columns = NO_COLUMNS
    for split, table in tables.items():
        found = _label_rows(table, options=options, file=(names or {}).get(split, file))
        splits[split], notes = found.rows, [*notes, *found.notes]
        columns = found.columns if split == "train" else columns
    return splits, notes, columns


def _read_hub(identity: str, *, options: DataConfig) -> _Splits:
    local = _did_you_mean(Path(identity)) or "or give a local file or folder"
    try:
        import datasets
    except ImportError:
        what = f"{identity!r} is no file here; as a hub data set it wants `datasets`"
        raise UserError(what, fix=f"pip install 'finewright[hub]', {local}") from None
    check_reachable(identity, cache=Path(datasets.config.HF_DATASETS_CACHE), fix=f"check the network, {local}")
    try:
        loaded: Any = datasets.load_dataset(identity)
        found = {split: next((name for name in names if name in loaded), None) for split, names in SPLIT_NAMES.items()}
        records = {split: read_hub_records(loaded[name], file=f"{identity}/{name}") for split, name in found.items() if name}
    except Exception as error:  # the library and its network layer raise many kinds
        reason = first_line(error)
        raise base.bad_file(f"cannot load the data set: {reason}", identity, f"check the name and the network, {local}") from None
    if "train" not in records:
        raise base.bad_file(f"no train split, found {', '.join(loaded)}", identity, "another data set, or a local file")
    return _label_splits({name: _in_memory(rows) for name, rows in records.items()}, options, file=identity)


def _label_rows(table: FileTable, *, options: DataConfig, file: str) -> LabelledRows:
    """Return the rows with a text and a label."""
    if not table.records:
        raise base.bad_file("no rows", file, "a header alone is not enough; add rows")
    columns = choose_columns(table, options, file=file)
    _refuse_lists(table, columns.label, file=file)
    if not table.format.suffix and not options.merge_similar_labels:  # in a file, the type is how somebody wrote it
        _refuse_two_types(table, columns.label)
    notes = [*table.notes, *columns.notes]
    rows, records, faults = [], [], []
    names: dict[str, str] = {}  # one string for all rows of a label
    num_spaced = 0
    for record in table.records:
        value = record.values.get(columns.label)
        text, text_fault = read_text(record, columns, options)
        label, label_fault = labels.read_label(value)
        label_fault = label_fault or _encoding_fault(label, kind="label")
        num_spaced += isinstance(value, str) and value != label != ""
        if text_fault or label_fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, label_fault)))}")
        else:
            rows.append(Example(text, names.setdefault(label, label), record.where))
            records.append(record)
    if faults and not options.skip_invalid_rows:
        raise base.combine_faults(faults, "correct these rows, or leave them out with --set data.skip_invalid_rows=true")
    if faults:
        notes.append(f"{len(faults):,} rows dropped: {'; '.join(faults[:5])}")
    if num_spaced:
        notes.append(f"{file}: {num_spaced:,} label{'' if num_spaced == 1 else 's'} had spaces around, which were removed")
    if whole := labels.find_whole_numbers(names):
        rows = [Example(row.text, whole.get(row.label, row.label), row.where) for row in rows]
        notes.append(
            f"{file}: labels such as {next(iter(whole))!r} are whole numbers, and are read as {next(iter(whole.values()))!r}"
        )
    return LabelledRows(rows, records, table, columns, notes)


def _refuse_lists(table: FileTable, column: str, *, file: str) -> None:
    """Raise one `UserError` if most labels are lists; a few are faults of their rows."""
    lists = [record for record in table.records if isinstance(record.values.get(column), list | tuple | dict)]
    if 2 * len(lists) > len(table.records):
        shown = (
            f"{len(lists):,} of {len(table.records):,} rows have a list in {column!r}, such as {lists[0].values[column]!r:.60}"
        )
        fix = "write one label for each text, such as the most important one, or take another --label-column"
        raise base.bad_file(f"several labels per text are not supported: {shown}", lists[0].where, fix)


def _refuse_two_types(table: FileTable, column: str) -> None:
    """Raise `UserError` if a label is text in one row and a number or a truth value in another: one of the two is a mistake."""
    known: dict[tuple[str, bool], Record] = {}
    for record in table.records:
        value = record.values.get(column)
        label, is_text = labels.read_label(value)[0], isinstance(value, str)
        name = label.casefold() if label.casefold() in ("true", "false") else label
        known.setdefault((name, is_text), record)
        if label and (other := known.get((name, not is_text))):
            one = known[name, is_text]
            first, second = (f"{found.values[column]!r} ({found.where})" for found in (other, one))
            what = f"the labels {first} and {second} differ only in type"
            raise base.bad_file(what, "data", "give all labels in one type, or set data.merge_similar_labels")


def read_text(record: Record, columns: Columns, options: DataConfig) -> tuple[str, str]:
    """Return (text, fault) of a row. The text is empty if there is none, and not if it is damaged."""
    if len(columns.texts) == 1:
        return _text(record.values.get(columns.texts[0]))
    parts = [_text(record.values.get(name)) for name in columns.texts]
    fault = next((fault for text, fault in parts if fault and text), "") or (
        "the text is empty" if not any(text for text, _ in parts) else ""
    )
    return options.text_separator.join(text for text, _ in parts if text), fault


def _text(value: Any) -> tuple[str, str]:
    """Return (text, fault). Numbers are texts, as they are in files that have no types."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, int | float) and value == value:
        value = str(int(value) if float(value).is_integer() and abs(value) < 2**53 else value)
    if not isinstance(value, str):
        return "", "no text" if value is None or value != value else f"wanted text, found {type(value).__name__}"
    return ("", "the text is empty") if is_blank(value) else (str(value), _encoding_fault(value, kind="text"))


def is_blank(text: str) -> bool:
    """Return whether nothing of a text shows."""
    return not (text.strip(_BLANK) and text.strip())


def _encoding_fault(value: str, *, kind: str) -> str:
    if "\x00" in value:
        return f"a NUL character in the {kind}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"half of a surrogate pair: the {kind} was cut inside a character"
    return ""


def _drop_unseen_labels(splits: dict[str, list[Example]], labels: tuple[str, ...]) -> list[str]:
    notes, known = [], set(labels)
    for name in ("validation", "test"):
        unseen = [row.label for row in splits[name] if row.label not in known]
        if unseen:
            listed = ", ".join(sorted(set(unseen))[:5])
            notes.append(f"{len(unseen):,} {name} rows left out: labels unseen in training ({listed})")
            splits[name] = [row for row in splits[name] if row.label in known]
    return notes


def check_known_labels(rows: Sequence[Example], labels: Sequence[str]) -> None:
    """Raise `UserError` that counts the labels of rows that are not among `labels`."""
    known = set(labels)
    unknown = [row for row in rows if row.label not in known]
    if not unknown:
        return
    counts = Counter(row.label for row in unknown).most_common()
    what = f"the model does not know the label {counts[0][0]!r}"
    if len(unknown) > 1:
        listed = ", ".join(f"{label!r:.60} ({count:,})" for label, count in counts[:_MOST_LABELS])
        more = f" and {len(counts) - _MOST_LABELS:,} more" if len(counts) > _MOST_LABELS else ""
        what = f"{len(unknown):,} of {len(rows):,} rows, from here on, have labels that the model does not know: {listed}{more}"
    shown = f"{', '.join(labels[:_MOST_LABELS])}{', …' if len(labels) > _MOST_LABELS else ''}"
    fix = f"its labels are {shown}; --set data.drop_unseen_labels=true leaves these rows out"
    raise base.bad_file(what, unknown[0].where, fix)
