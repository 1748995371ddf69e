"""The files of a folder, by split: names, shards, saved data sets, one folder for each class."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.data import readers
from finewright.data.readers import text
from finewright.data.readers.base import SPLIT_NAMES, FileFormat, FileTable, InputFile, ReadOptions, Record, bad_file
from finewright.data.readers.source import READ_ERRORS

_SHARD = re.compile(r"(?P<name>.*?)[-_.]?(?P<number>\d+)(?:-of-(?P<of>\d+))?(?:-[0-9a-f]{8,})?")
"""A name such as `train-00000-of-00002`, with the fingerprint that the hub once added."""
_WORDS = re.compile(r"[^a-z]+")
_DATA_FOLDERS = ("data", "default")
_LISTED = 10
_SHOWN = 5
_LABELLED = ".labelled"
"""What `predict` adds to the name of its input."""
_ERRORS = re.compile(r"(.*[^a-z])?errors")
"""Usual names for the output of `evaluate`."""
_COLUMNS = {
    "evaluate": {"predicted", "confidence", "right"},
    "predict": {"label", "confidence", "second_label", "second_confidence", "needs_review"},
}
"""Columns that an output of a command has, whatever was read: others may have the names of such files too."""
_ADDED = re.compile(r"_predicted( \d+)?$| \d+$")
"""What is added to the name of such a column if the file that was read had one of that name."""
_HEADER_BYTES = 1 << 16
_LEAST_CLASSES = 2


@dataclass
class FolderSplits:
    """Tables by split, the shards of one in order; or rows, where each text is a file of its own."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    tables: dict[str, FileTable] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_splits(folder: Path, *, with_texts: bool = False) -> FolderSplits:
    """Return the splits in a folder; a note names the files if it has others too.

    `with_texts`: a folder without a table may have `train.txt`, one text a line, or else `.txt` files of one text each.

    Raise `UserError` if it has none, several files for one that are not its shards, or tables that may be meant beside a folder
    with splits.
    """
    if with_texts and (found := _texts_alone(folder)) is not None:
        return found
    return _note_files(_find_splits(folder), folder)


def _find_splits(folder: Path) -> FolderSplits:
    names = _list_inputs(folder)
    for find in (_saved_dataset, _named_splits, _folders_of_classes, _only_table):
        if (found := find(folder, names)) is not None:
            return found
    below = [name for name in names if (folder / name).is_dir() and _holds_splits(folder / name)]
    usual = [name for name in below if name in _DATA_FOLDERS] or below
    loose = _tables(folder, names)
    if len(usual) == 1 and loose and usual[0] not in _DATA_FOLDERS:
        what = f"{len(loose):,} tables are here ({_shorten(loose)}), and {usual[0]} below has splits of its own"
        raise bad_file(what, folder, f"give the one that is meant, such as {folder / usual[0]} or {folder / loose[0]}")
    if len(usual) == 1:
        return _find_splits(folder / usual[0])
    if usual:
        what, fix = (
            f"several data sets in this folder: {', '.join(usual[:_LISTED])}",
            f"give one of them, such as {folder / usual[0]}",
        )
        raise bad_file(what, folder, fix)
    found = ", ".join(names[:_LISTED]) or "nothing that can be read"
    raise bad_file(f"no train file; the folder has {found}", folder, "name it train.csv, train.jsonl or train.parquet")


def list_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder; none if it cannot be listed."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _shorten(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"


def _tables(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if readers.is_table(name) and not (folder / name).is_dir()]


def _bare_name(name: str) -> str:
    """Return `a.b` for `a.b.csv.gz`."""
    path = Path(name)
    return name[: len(name) - len(readers.packing(path)) - len(readers.suffix(path))].lower()


def _list_inputs(folder: Path) -> list[str]:
    """Return the names in a folder without what `predict` and `evaluate` wrote beside their input."""
    outputs = _find_outputs(folder)
    return [name for name in list_names(folder) if name not in outputs]


def _find_outputs(folder: Path) -> dict[str, str]:
    """Return the tables that look like outputs, with the command: `a.labelled.csv` beside a table or texts `a`, or with the
    columns of `predict`; `errors.csv` with those of `evaluate`. The only table of a folder is its data."""
    names = list_names(folder)
    known = {_bare_name(name) for name in names if readers.suffix(Path(name))}
    tables = _tables(folder, names)
    found, alike = {}, {}
    for name in tables:
        bare = _bare_name(name)
        command = "predict" if bare.endswith(_LABELLED) else "evaluate" if _ERRORS.fullmatch(bare) else ""
        if bare.removesuffix(_LABELLED) in known - {bare}:
            found[name] = command
        elif command and _COLUMNS[command] <= _read_columns(folder / name, _changed_at(folder / name)):
            alike[name] = command
    return found | alike if len(found) + len(alike) < len(tables) else found


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=_LISTED)
def _read_columns(path: Path, changed_at: int) -> set[str]:
    """Return the names of the columns of a table, without what is added to those that were taken. `changed_at`: for the cache."""
    return {_ADDED.sub("", name) for name in _read_header(path)}


def _read_header(path: Path) -> set[str]:
    """Return the names of the columns of a table as we write it; what reads like names in the first row of another."""
    suffix = readers.suffix(path)
    if suffix in (".csv", ".tsv", ".json", ".jsonl", ".ndjson"):
        try:
            with InputFile(path).open() as handle:
                head = handle.read(_HEADER_BYTES).replace(b"\0", b"").decode("utf-8", "replace").lstrip("\ufeff\ufffd[ \r\n")
        except (UserError, *READ_ERRORS):
            return set()
        first = head.partition("\n")[0].strip().rstrip(",")
        return {*re.findall(r'"(\w+)":', first)} if first.startswith("{") else {*re.split(r'["\',;|\t\r]+', first)}
    try:
        return {*readers.read_file(path, ReadOptions(wanted=_COLUMNS["evaluate"])).columns}
    except UserError:
        return set()  # whoever reads it says so


def _note_files(found: FolderSplits, folder: Path) -> FolderSplits:
    """Add a note of the files that are read, if the folder has other tables or they lie below it, and of outputs left out."""
    paths = [path for files in found.files.values() for path in files]
    for place in dict.fromkeys([folder, *(path.parent for path in paths)]):
        if outputs := _find_outputs(place):
            commands = " or ".join(sorted({*outputs.values()}, reverse=True))
            found.notes.append(f"{place}: {_shorten(sorted(outputs))} left out: looks like an output of {commands}")
    read = {path.name for path in paths if path.parent == folder}
    others = [name for name in _tables(folder, _list_inputs(folder)) if name not in read]
    usual = {folder, *(folder / name for names in SPLIT_NAMES.values() for name in names)}
    if paths and (others or any(path.parent not in usual for path in paths)):
        splits = [
            f"{split} is {_shorten([str(path.relative_to(folder)) for path in some])}" for split, some in found.files.items()
        ]
        more = (
            f"; {len(others):,} other table{'s belong' if len(others) > 1 else ' belongs'} to no split ({_shorten(others)})"
            if others
            else ""
        )
        found.notes.append(f"{folder}: {'; '.join(splits)}{more}")
    return found


def _holds_splits(folder: Path) -> bool:
    names = _list_inputs(folder)
    return any(find(folder, names) is not None for find in (_saved_dataset, _named_splits))


def _saved_dataset(folder: Path, names: Sequence[str]) -> FolderSplits | None:
    """The splits of a folder that `save_to_disk` of `datasets` wrote."""
    if "dataset_dict.json" in names:
        named = _read_json(folder / "dataset_dict.json").get("splits", [])
        found = {split: next((name for name in named if name in known), None) for split, known in SPLIT_NAMES.items()}
        files = {split: _saved_files(folder / name) for split, name in found.items() if name}
        if "train" not in files:
            raise bad_file(f"no train split, found {', '.join(map(str, named))}", folder, "another data set, or a local file")
        return FolderSplits(files)
    return FolderSplits({"train": _saved_files(folder)}) if "state.json" in names and "dataset_info.json" in names else None


def _saved_files(folder: Path) -> list[Path]:
    files = [folder / str(one["filename"]) for one in _read_json(folder / "state.json").get("_data_files", [])]
    inside = [path for path in files if path.parent == folder]
    if not inside or len(inside) < len(files):
        raise bad_file("no Arrow files are named here", folder / "state.json", "save the data set again with save_to_disk")
    return inside


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise bad_file(f"cannot be read: {error}", path, "save the data set again with save_to_disk") from None
    if not isinstance(value, dict):
        raise bad_file(f"wanted an object, found {type(value).__name__}", path, "save the data set again with save_to_disk")
    return value


def _named_splits(folder: Path, names: Sequence[str]) -> FolderSplits | None:
    """The tables whose names tell their split: `train.csv`, `train-00000-of-00002.parquet`, `tickets_train.csv`, `train/…`."""
    tables = _tables(folder, names)
    for belongs in (_is_named, _is_shard, _ends_with):
        files = {split: [folder / name for name in tables if belongs(name, split)] for split in SPLIT_NAMES}
        if files["train"]:
            return FolderSplits({split: _check_shards(folder, split, paths) for split, paths in files.items() if paths})
    inside: dict[str, list[Path]] = {}
    for split, known in SPLIT_NAMES.items():
        for name in names:
            shards = [path for path in _list_inputs(folder / name) if readers.is_table(path)]
            if name.lower() in known and shards:
                inside[split] = _check_shards(folder / name, split, [folder / name / path for path in shards])
    return FolderSplits(inside) if "train" in inside else None


def _stem(name: str) -> str:
    return name.split(".")[0].lower()


def _is_named(name: str, split: str) -> bool:
    return _stem(name) in SPLIT_NAMES[split]


def _is_shard(name: str, split: str) -> bool:
    found = _SHARD.fullmatch(_stem(name))
    return found is not None and found["name"] in SPLIT_NAMES[split]


def _ends_with(name: str, split: str) -> bool:
    """Return whether the first or last word of a name is that of this split, and no other word is one."""
    plain = name.lower().removesuffix(readers.packing(Path(name))).removesuffix(readers.suffix(Path(name)))
    words = [word for word in _WORDS.split(plain) if word]
    of = [one for word in words for one, known in SPLIT_NAMES.items() if word in known]
    return of == [split] and ({words[0], words[-1]} & set(SPLIT_NAMES[split])) != set()


def _check_shards(folder: Path, split: str, paths: list[Path]) -> list[Path]:
    """Return the files of one split in order. Raise `UserError` if they are several, but not the shards of one table."""
    if len(paths) == 1 and not _SHARD.fullmatch(_stem(paths[0].name)):
        return paths
    found = [_SHARD.fullmatch(_stem(path.name)) for path in paths]
    if any(one is None for one in found) or len({(one["name"], one["of"]) for one in found if one}) > 1:
        what = f"several files for the {split} split: {', '.join(path.name for path in paths)}"
        raise bad_file(what, folder, "keep one of them there")
    numbers = {int(one["number"]): path for one, path in zip(found, paths, strict=True) if one}
    of = next((one["of"] for one in found if one), None)
    missing = sorted(set(range(int(of))) - set(numbers)) if of else []
    if missing or len(numbers) < len(paths):
        what = (
            f"part {missing[0]} of {of} of the {split} split is missing" if missing else f"two parts of {split} have one number"
        )
        raise bad_file(what, folder, "download all parts")
    return [path for _, path in sorted(numbers.items())]


def _only_table(folder: Path, names: Sequence[str]) -> FolderSplits | None:
    tables = _tables(folder, names)
    if len(tables) != 1:
        return None
    return FolderSplits({"train": [folder / tables[0]]}, notes=[f"{folder}: the one table in it is {tables[0]}"])


def _folders_of_classes(folder: Path, names: Sequence[str]) -> FolderSplits | None:
    """Rows of `label/name.txt`, or of `train/label/name.txt` and `test/label/name.txt`."""
    parts: dict[str, Path] = {}
    for split, known in SPLIT_NAMES.items():
        found = [name for name in names if name.lower() in known and len(_classes(folder / name)) >= _LEAST_CLASSES]
        parts |= {split: folder / found[0]} if found else {}
    if "train" not in parts:
        if len(_classes(folder)) < _LEAST_CLASSES:
            return None
        parts = {"train": folder}
    found = FolderSplits()
    for split, place in parts.items():
        classes = _classes(place)
        records = [record for name in classes for record in _read_class(place / name)]
        found.tables[split] = FileTable(records, ("text", "label"), FileFormat(".txt"), header=("text", "label"))
        found.notes.append(f"{place}: each text is a file, its label the name of its folder: {', '.join(classes[:_LISTED])}")
    return found


def _classes(folder: Path) -> list[str]:
    """Return the folders that hold texts and no tables."""

    def holds_texts(name: str) -> bool:
        inside = itertools.islice((folder / name).iterdir(), 100) if (folder / name).is_dir() else ()
        return bool(names := [path.suffix.lower() for path in inside]) and set(names) == {".txt"}

    return [name for name in list_names(folder) if holds_texts(name)]


def _read_class(folder: Path, read: Callable[[Path], Any] = text.read_lines) -> list[Record]:
    names = [name for name in list_names(folder) if name.lower().endswith(".txt")]
    return [
        Record(f"{folder.name}/{name}", {"text": "".join(read(folder / name)).strip(), "label": folder.name}) for name in names
    ]


def _texts_alone(folder: Path) -> FolderSplits | None:
    """The `.txt` files of a folder without labels: one text a line where names tell a split, else one text a file."""
    names = list_names(folder)
    if _tables(folder, names) or any((folder / name).is_dir() and _holds_splits(folder / name) for name in names):
        return None  # a text beside them is about them
    if _saved_dataset(folder, names) is not None or _folders_of_classes(folder, names) is not None:
        return None
    names = [name for name in names if name.lower().endswith(".txt") and not (folder / name).is_dir()]
    named = {split: [folder / name for name in names if _is_named(name, split)] for split in SPLIT_NAMES}
    if named["train"]:
        return FolderSplits({split: _check_shards(folder, split, paths) for split, paths in named.items() if paths})
    if not names:
        return None
    records = [Record(name, {"text": "".join(text.read_lines(folder / name)).strip()}) for name in names]
    table = FileTable(records, ("text",), FileFormat(".txt"), header=("text",))
    return FolderSplits(tables={"train": table}, notes=[f"{folder}: each of {len(names):,} .txt files is one text"])
