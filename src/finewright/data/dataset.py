"""Labelled texts from files and hub data sets: columns, labels, splits."""

import difflib
import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.core.files import unchanged_while_reading
from finewright.data import readers
from finewright.data.readers import base
from finewright.data.readers import text as text_files
from finewright.data.readers.base import Record
from finewright.data.readers.hub import read_hub_records
from finewright.data.readers.text import split_lines
from finewright.data.splits import Example, hold_out
from finewright.data.tables import Table


@dataclass(frozen=True)
class Dataset:
    """`labels`: of training, in order; integers by size. `fingerprint`: SHA-256 of split, text and label of all rows in order."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    labels: tuple[str, ...]
    label_kind: Literal["text", "integer", "boolean"]
    notes: list[str]
    fingerprint: str


class DatasetCache:
    """Data sets and token ids that several runs share. Do not change what it returns."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str, DataConfig], Dataset] = {}
        self._ids: dict[str, dict[str, list[int]]] = {}

    def read(self, source: "Source", *, options: DataConfig, test: "Source | None" = None) -> Dataset:
        """Return `read_dataset`, read once for each source."""
        key = (str(source), str(test or ""), options)
        if key not in self._datasets:
            self._datasets[key] = read_dataset(source, options=options, test=test)
        return self._datasets[key]

    def ids(self, model: str) -> dict[str, list[int]]:
        """Return the uncut token ids of every text that a model's tokenizer has seen; `encode_texts` reads and fills them."""
        return self._ids.setdefault(model, {})


TEXT_NAMES = ("text", "sentence", "content", "review", "message", "question", "body", "document", "utterance", "query")
LABEL_NAMES = ("label", "labels", "category", "class", "target", "intent", "label_text", "topic", "sentiment", "team")
_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


Source = str | Path | Table
"""A path, a hub id, or rows in memory."""


def read_dataset(source: Source, *, options: DataConfig, test: Source | None = None) -> Dataset:
    """Read labelled texts from a file, a folder with splits, a hub id or memory. Hold out missing splits, stratified by label."""
    splits, notes = _read_splits(source, options=options)
    if test is not None:
        notes += [f"the data's own test rows ({len(splits['test']):,}) are replaced by {test}"] if "test" in splits else []
        splits["test"], more = read_rows(test, options=options)
        notes += more
    for name, fraction in (("test", options.test_fraction), ("validation", options.validation_fraction)):
        if not splits.get(name):
            splits["train"], splits[name], note = hold_out(splits["train"], fraction, seed=options.split_seed, name=name)
            notes.append(note)
    labels, kind = _sorted_labels({row.label for row in splits["train"]})
    if options.drop_unseen_labels:
        notes += _drop_unseen_labels(splits, labels)
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        for row in splits[name]:
            digest.update(f"{name}\0{row.text}\0{row.label}\n".encode())
    unique = list(dict.fromkeys(notes))  # files of one folder give the same notes
    return Dataset(splits["train"], splits["validation"], splits["test"], labels, kind, unique, digest.hexdigest())


def read_rows(source: Source, *, options: DataConfig) -> tuple[list[Example], list[str]]:
    """Return the labelled rows of one file or of a table in memory, and notes."""
    if isinstance(source, Table):
        records, notes = [record for split in source.splits.values() for record in split], list[str]()
        return _label_rows(records, options=options, file="data", notes=notes), notes
    path = find_existing(source)
    wanted = (options.text_column or TEXT_NAMES[0], options.label_column or LABEL_NAMES[0])
    with unchanged_while_reading(path):
        records, notes = readers.read_records(path, wanted=wanted)
    return _label_rows(records, options=options, file=path.name, notes=notes), notes


def read_texts(source: str | Path, *, options: DataConfig) -> list[str]:
    """Return the texts of one file, without labels; of `.txt` and unknown formats one per line that is not blank."""
    path = find_existing(source)
    with unchanged_while_reading(path):
        if readers.suffix(path) in ("", ".txt"):
            return [line.rstrip("\r\n") for line in split_lines(text_files.read_lines(path)) if line.strip()]
        records, notes = readers.read_records(path, wanted=(options.text_column or TEXT_NAMES[0],))
    column = _column(records, TEXT_NAMES, wanted=options.text_column, kind="text", file=path.name, notes=notes)
    read = [(record.where, *_text(record.values.get(column))) for record in records]
    faults = [f"{where}: {fault}" for where, _, fault in read if fault]
    if faults:
        raise base.combine_faults(faults, "correct these rows, or leave them out")
    return [text for _, text, _ in read]


def find_existing(source: str | Path) -> Path:
    """Return the path. Raise `UserError` with the nearest name in its folder if nothing is there."""
    path = Path(source)
    if os.path.exists(path):  # unlike `path.exists()`, without an error for a name that no file can have
        return path
    what = "a link that leads nowhere" if os.path.islink(path) else "no such file"
    raise base.bad_file(what, path, _did_you_mean(path) or "check the path")


def _did_you_mean(path: Path) -> str:
    near = difflib.get_close_matches(path.name, [name for name in _list_names(path.parent) if name != path.name], n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def _list_names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if os.access(folder, os.R_OK) and os.path.isdir(folder) else []


def _read_splits(source: Source, *, options: DataConfig) -> tuple[dict[str, list[Example]], list[str]]:
    if isinstance(source, Table):
        found = {name: read_rows(Table({name: records}), options=options) for name, records in source.splits.items()}
        return {name: rows for name, (rows, _) in found.items()}, [note for _, notes in found.values() for note in notes]
    path = Path(source)
    if not os.path.exists(path) and not os.path.islink(path) and _HUB_ID.fullmatch(str(source)) and not readers.suffix(path):
        return _read_hub(str(source), options=options)
    if not find_existing(source).is_dir():
        rows, notes = read_rows(path, options=options)
        return {"train": rows}, notes
    splits: dict[str, list[Example]] = {}
    notes: list[str] = []
    for split, names in _SPLIT_NAMES.items():
        files = [name for name in _list_names(path) if readers.suffix(Path(name)) and name.split(".")[0].lower() in names]
        if len(files) > 1:
            raise base.bad_file(f"several files for the {split} split: {', '.join(files)}", path, "keep one of them there")
        if files:
            splits[split], more = read_rows(path / files[0], options=options)
            notes += more
    if "train" not in splits:
        found = ", ".join(_list_names(path)[:10]) or "nothing that can be read"
        raise base.bad_file(f"no train file; the folder has {found}", path, "name it train.csv, train.jsonl or train.parquet")
    return splits, notes


def _read_hub(identity: str, *, options: DataConfig) -> tuple[dict[str, list[Example]], list[str]]:
    local = _did_you_mean(Path(identity)) or "or give a local file or folder"
    try:
        import datasets
    except ImportError:
        what = f"{identity!r} is no file here; as a hub data set it wants `datasets`"
        raise UserError(what, fix=f"pip install 'finewright[hub]', {local}") from None
    try:
        loaded: Any = datasets.load_dataset(identity)
        found = {split: next((name for name in names if name in loaded), None) for split, names in _SPLIT_NAMES.items()}
        records = {split: read_hub_records(loaded[name], file=f"{identity}/{name}") for split, name in found.items() if name}
    except Exception as error:  # the library and its network layer raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise base.bad_file(f"cannot load the data set: {reason}", identity, f"check the name and the network, {local}") from None
    if "train" not in records:
        raise base.bad_file(f"no train split, found {', '.join(loaded)}", identity, "another data set, or a local file")
    notes: list[str] = []
    return {
        name: _label_rows(rows, options=options, file=f"{identity}/{name}", notes=notes) for name, rows in records.items()
    }, notes


def _label_rows(records: list[Record], *, options: DataConfig, file: str, notes: list[str]) -> list[Example]:
    text_column = _column(records, TEXT_NAMES, wanted=options.text_column, kind="text", file=file, notes=notes)
    label_column = _column(records, LABEL_NAMES, wanted=options.label_column, kind="label", file=file, notes=notes)
    if text_column == label_column:
        raise base.bad_file(f"the column {text_column!r} cannot be both text and label", file, "--text-column, --label-column")
    values = [record.values.get(label_column) for record in records]
    rows, faults = [], []
    names: dict[str, str] = {}  # one string for all rows of a label
    for record, value in zip(records, values, strict=True):
        text, text_fault = _text(record.values.get(text_column))
        label, label_fault = _label(value)
        if text_fault or label_fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, label_fault)))}")
        else:
            rows.append(Example(text, names.setdefault(label, label), record.where))
    if faults and not options.skip_invalid_rows:
        raise base.combine_faults(faults, "correct these rows, or leave them out with --set data.skip_invalid_rows=true")
    if faults:
        notes.append(f"{len(faults):,} rows dropped: {'; '.join(faults[:5])}")
    if spaced := sum(isinstance(value, str) and value != value.strip() != "" for value in values):
        notes.append(f"{file}: {spaced:,} labels had spaces around them, which were removed")
    return rows


def _text(value: Any) -> tuple[str, str]:
    """Return (text, fault)."""
    if not isinstance(value, str):
        return "", "no text" if value is None else f"wanted text, found {type(value).__name__}"
    return value, _encoding_fault(value, kind="text") if value.strip() else "the text is empty"


def _encoding_fault(value: str, *, kind: str) -> str:
    if "\x00" in value:
        return f"a NUL character in the {kind}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"half of a surrogate pair: the {kind} was cut inside a character"
    return ""


def _label(value: Any) -> tuple[str, str]:
    """Return (label, fault). NA, None and null are labels like any other if they are written as text."""
    if _is_missing(value):
        return "", "no label"
    if isinstance(value, bool):
        return str(value).lower(), ""
    if not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
        return "", f"wanted one label, found {value!r:.60}"
    whole = isinstance(value, float) and float(value).is_integer() and abs(value) < 2**53  # 1.0 is the class 1, in every file
    name = str(int(value) if whole else value).strip()
    return name, _encoding_fault(name, kind="label")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def _column(records: list[Record], names: Sequence[str], *, wanted: str | None, kind: str, file: str, notes: list[str]) -> str:
    if not records:
        raise base.bad_file("no rows", file, "a header alone is not enough; add rows")
    found = list(dict.fromkeys(name for record in records for name in record.values))
    exact = wanted or names[0]
    if exact in found:
        return exact
    folded = {name.casefold().strip(): name for name in reversed(found)}
    guess = None if wanted else next((folded[name] for name in names if name in folded), None)
    if guess:
        notes.append(f"{kind} column: {guess!r} (guessed; --{kind}-column changes it)")
        return guess
    near = difflib.get_close_matches(exact, found, n=1, cutoff=0.5)
    listed = ", ".join(found[:20]) + (f" and {len(found) - 20:,} more" if len(found) > 20 else "")
    what = f"no column {wanted!r}" if wanted else f"no {kind} column"
    fix = f"--{kind}-column NAME{f'; did you mean {near[0]!r}?' if near else ''}"
    raise base.bad_file(f"{what}; the columns are {listed}", file, fix)


def _sorted_labels(labels: set[str]) -> tuple[tuple[str, ...], Literal["text", "integer", "boolean"]]:
    """Return (labels in order, their kind)."""
    if labels and all(map(_INTEGER.fullmatch, labels)):
        return tuple(sorted(labels, key=int)), "integer"
    return tuple(sorted(labels)), "boolean" if {label.casefold() for label in labels} == {"true", "false"} else "text"


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
    """Raise `UserError` that names every row whose label is not one of `labels`."""
    known = set(labels)
    faults = [f"{row.where}: the model does not know the label {row.label!r}" for row in rows if row.label not in known]
    if faults:
        raise base.combine_faults(faults, f"its labels are {', '.join(labels[:20])}")
