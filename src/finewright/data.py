"""Files and hub data sets → rows; the text and label columns; splits."""

import difflib
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import formats
from finewright.config import DataKnobs
from finewright.errors import ExitCode, UserError
from finewright.formats import Record

TEXT_NAMES = ("text", "sentence", "content", "review", "message", "question", "body", "document", "utterance", "query")
LABEL_NAMES = ("label", "labels", "category", "class", "target", "intent", "label_text", "topic", "sentiment", "team")
_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Row:
    """A labelled text; `where` names its place, such as `tickets.csv:17`."""

    text: str
    label: str
    where: str


@dataclass(frozen=True)
class Dataset:
    """Rows of every split. `labels`: names in training, numbers in order of size. `fingerprint`: SHA-256 of all rows."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    labels: tuple[str, ...]
    notes: list[str]
    fingerprint: str


def read(source: str | Path, *, knobs: DataKnobs, test: str | Path | None = None) -> Dataset:
    """Labelled text from a file, a folder with splits or a hub id; missing splits are held out, stratified by label."""
    splits, notes = _read_splits(source, knobs=knobs)
    if test is not None:
        splits["test"], more = read_rows(test, knobs=knobs)
        notes += more
    for name in ("test", "validation"):
        fraction = knobs.test_fraction if name == "test" else knobs.validation_fraction
        if name not in splits:
            splits["train"], splits[name], said = hold_out(splits["train"], fraction, seed=knobs.split_seed, name=name)
            notes.append(said)
    labels = _sorted_labels({row.label for row in splits["train"]})
    if knobs.ignore_unseen:
        notes += _leave_out_unseen(splits, labels)
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        for row in splits[name]:
            digest.update(f"{name}\0{row.text}\0{row.label}\n".encode())
    return Dataset(splits["train"], splits["validation"], splits["test"], labels, _once(notes), digest.hexdigest())


def read_rows(source: str | Path, *, knobs: DataKnobs) -> tuple[list[Row], list[str]]:
    """Labelled rows of one file, and notes."""
    path = existing(source)
    records, notes = formats.read(path)
    return _label_rows(records, knobs=knobs, file=path.name, notes=notes), notes


def read_texts(source: str | Path, *, knobs: DataKnobs) -> list[str]:
    """Texts of one file, without labels; a file of an unknown kind is one text a line."""
    path = existing(source)
    if not formats.suffix(path):
        return [line for line in formats.read_text(path).splitlines() if line.strip()]
    records, notes = formats.read(path)
    column = _column(records, TEXT_NAMES, wanted=knobs.text_column, kind="text", file=path.name, notes=notes)
    return [str(record.values[column]) for record in records]


def stratified_split(labels: Sequence[str], fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers (kept, held out); each label gives `fraction` of its rows, rounded, and keeps at least one.

    Both lists are in ascending order. A pure function of its arguments.
    """
    by_label: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        by_label.setdefault(label, []).append(index)
    held: set[int] = set()
    for label, indices in by_label.items():
        shuffled = indices[:]
        random.Random(f"{seed}:{label}").shuffle(shuffled)
        held.update(shuffled[: min(round(len(indices) * fraction), len(indices) - 1)])
    return [index for index in range(len(labels)) if index not in held], sorted(held)


def hold_out(rows: list[Row], fraction: float, *, seed: int, name: str) -> tuple[list[Row], list[Row], str]:
    """(kept, held out, what was done); a text that stands in both parts goes back to the kept ones."""
    kept, held = stratified_split([row.label for row in rows], fraction, seed=seed)
    known = {normalised(rows[index].text) for index in kept}
    back = {index for index in held if normalised(rows[index].text) in known}
    held = [index for index in held if index not in back]
    kept = sorted([*kept, *back])
    said = f"no {name} file: {len(held):,} of {len(rows):,} rows held out, stratified by label, seed {seed}"
    if back:
        said += f"; {len(back)} rows whose text is also kept for training went back to it"
    return [rows[index] for index in kept], [rows[index] for index in held], said


def normalised(text: str) -> str:
    """What two texts share when they are the same but for case and white space."""
    return " ".join(text.casefold().split())


def existing(source: str | Path) -> Path:
    """The path, or a `UserError` with the nearest name in its folder."""
    path = Path(source)
    if path.exists():
        return path
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    raise formats.bad("no such file", path, f"did you mean {path.parent / near[0]}?" if near else "check the path")


def _read_splits(source: str | Path, *, knobs: DataKnobs) -> tuple[dict[str, list[Row]], list[str]]:
    path = Path(source)
    if not path.exists() and _HUB_ID.fullmatch(str(source)) and not formats.suffix(path):
        return _read_hub(str(source), knobs=knobs)
    if not existing(source).is_dir():
        rows, notes = read_rows(path, knobs=knobs)
        return {"train": rows}, notes
    splits: dict[str, list[Row]] = {}
    notes: list[str] = []
    for split, names in _SPLIT_NAMES.items():
        files = [file for file in sorted(path.iterdir()) if formats.suffix(file) and file.name.split(".")[0].lower() in names]
        if len(files) > 1:
            found = ", ".join(file.name for file in files)
            raise formats.bad(f"several files for the {split} split: {found}", path, "keep one of them there")
        if files:
            splits[split], more = read_rows(files[0], knobs=knobs)
            notes += more
    if "train" not in splits:
        found = ", ".join(sorted(file.name for file in path.iterdir())[:10]) or "nothing"
        raise formats.bad(f"no train file; the folder has {found}", path, "name it train.csv, train.jsonl or train.parquet")
    return splits, notes


def _read_hub(identity: str, *, knobs: DataKnobs) -> tuple[dict[str, list[Row]], list[str]]:
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{identity!r} is no file here; as a hub data set it wants `datasets`", fix="pip install 'finewright[hub]'"
        ) from None
    try:
        loaded: Any = datasets.load_dataset(identity)
    except Exception as error:  # the library and its network layer raise many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        fix = "check the name and the network, or give a local file or folder"
        raise UserError(f"cannot load the data set: {reason}", where=identity, fix=fix, code=ExitCode.BAD_DATA) from None
    splits, notes = {}, []
    for split, names in _SPLIT_NAMES.items():
        name = next((name for name in names if name in loaded), None)
        if name is not None:
            records = _hub_records(loaded[name], file=f"{identity}/{name}")
            splits[split] = _label_rows(records, knobs=knobs, file=f"{identity}/{name}", notes=notes)
    if "train" not in splits:
        raise formats.bad(f"no train split, found {', '.join(loaded)}", identity, "another data set, or a local file")
    return splits, notes


def _hub_records(split: Any, *, file: str) -> list[Record]:
    """Rows with class numbers turned into their names."""
    named = {name: feature for name, feature in split.features.items() if hasattr(feature, "int2str")}
    records = []
    for index, values in enumerate(split):
        names = {key: feature.int2str(values[key]) for key, feature in named.items() if values[key] not in (None, -1)}
        records.append(Record(f"{file}: row {index + 1}", {**values, **names}))
    return records


def _label_rows(records: list[Record], *, knobs: DataKnobs, file: str, notes: list[str]) -> list[Row]:
    text_column = _column(records, TEXT_NAMES, wanted=knobs.text_column, kind="text", file=file, notes=notes)
    label_column = _column(records, LABEL_NAMES, wanted=knobs.label_column, kind="label", file=file, notes=notes)
    whole = _all_whole([record.values.get(label_column) for record in records])
    rows, faults = [], []
    for record in records:
        text, text_fault = _text(record.values.get(text_column))
        label, label_fault = _label(record.values.get(label_column), whole=whole)
        if text_fault or label_fault:
            faults.append(f"{record.where}: {text_fault or label_fault}")
        else:
            rows.append(Row(text, label, record.where))
    if faults and not knobs.drop_bad:
        raise formats.together(faults, "mend these rows, or leave them out with --set data.drop_bad=true")
    if faults:
        notes.append(f"{len(faults)} rows dropped: {'; '.join(faults[:5])}")
    return rows


def _text(value: Any) -> tuple[str, str]:
    if not isinstance(value, str):
        return "", "no text" if value is None else f"wanted text, found {type(value).__name__}"
    if not value.strip():
        return "", "the text is empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "", "half of a surrogate pair: the text was cut inside a character"
    return value, ""


def _label(value: Any, *, whole: bool) -> tuple[str, str]:
    """The label's name; NA, None and null are names like any other when they are written as text."""
    if value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and value != value):
        return "", "no label"
    if isinstance(value, bool):
        return str(value).lower(), ""
    if isinstance(value, float) and whole:
        return str(int(value)), ""
    if isinstance(value, str | int | float):
        return str(value).strip(), ""
    return "", f"wanted one label, found {type(value).__name__}"


def _all_whole(values: list[Any]) -> bool:
    return all(value.is_integer() for value in values if isinstance(value, float) and value == value)


def _column(records: list[Record], names: Sequence[str], *, wanted: str | None, kind: str, file: str, notes: list[str]) -> str:
    if not records:
        raise formats.bad("no rows", file, "a header alone is not enough; add rows")
    found = list(records[0].values)
    if wanted is not None:
        if wanted in found:
            return wanted
        near = difflib.get_close_matches(wanted, found, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of them"
        raise formats.bad(f"no column {wanted!r}; the columns are {', '.join(found)}", file, hint)
    folded = {name.casefold().strip(): name for name in reversed(found)}
    for name in names:
        if name in folded:
            if folded[name] != names[0]:
                notes.append(f"{kind} column: {folded[name]!r} (guessed; --{kind}-column changes it)")
            return folded[name]
    raise formats.bad(f"no {kind} column; the columns are {', '.join(found)}", file, f"--{kind}-column NAME")


def _sorted_labels(labels: set[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted(labels, key=int))
    except ValueError:
        return tuple(sorted(labels))


def _leave_out_unseen(splits: dict[str, list[Row]], labels: tuple[str, ...]) -> list[str]:
    notes = []
    for name in ("validation", "test"):
        kept = [row for row in splits[name] if row.label in labels]
        if len(kept) < len(splits[name]):
            unseen = ", ".join(sorted({row.label for row in splits[name]} - set(labels))[:5])
            notes.append(f"{len(splits[name]) - len(kept)} {name} rows left out: labels unseen in training ({unseen})")
        splits[name] = kept
    return notes


def _once(notes: list[str]) -> list[str]:
    return list(dict.fromkeys(notes))


def by_text(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows grouped by their normalised text."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[normalised(row.text)].append(row)
    return groups


def require_known(rows: Sequence[Row], labels: Sequence[str]) -> None:
    """Every label must be one of `labels`; the rows where it is not are named."""
    strange = [row for row in rows if row.label not in labels]
    if strange:
        faults = [f"{row.where}: the model does not know the label {row.label!r}" for row in strange]
        raise formats.together(faults, f"its labels are {', '.join(labels[:20])}")
