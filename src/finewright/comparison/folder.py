"""The folder of a comparison: its files and splits, and what may not change between two starts of the same comparison."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from finewright import methods
from finewright.comparison.schema import ComparisonPart, ComparisonSpecFile, SpecData, SplitLine, SplitRows
from finewright.comparison.spec import ALL, ComparisonSpec
from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.data.conversations import Conversation, Message
from finewright.data.dataset import Dataset
from finewright.data.multi_label_rows import MultiLabelExample
from finewright.data.multi_label_splits import nested_order_of_sets
from finewright.data.preferences import Preference
from finewright.data.splits import Example, nested_order
from finewright.data.tagged_tokens import TaggedText
from finewright.runs import schema
from finewright.runs.housekeeping import TAGS
from finewright.runs.locked_folder import LOCK, LockedFolder, check_no_file
from finewright.runs.request import flatten

SPLITS = ("train", "validation", "test")
_PATHS = ("asked.data", "asked.test", "asked.model")
"""The same rows and weights may lie elsewhere: they are compared by content."""


COMPARISON_FILES = {LOCK, TAGS, "compare.json", "plans.json", "machine.json", "search.json", "results.json", "report.html"}
COMPARISON_FILES |= {"report.md", "accuracy.svg", "score.svg", "log.txt", "splits", "runs", "search", "baselines", "speeds"}
"""Files that a comparison may leave, besides a plan of each method."""


class ComparisonFolder(LockedFolder):
    """The folder of a comparison. It owns every file name in it."""

    owner: ClassVar[str] = ComparisonPart.owner

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.spec = path / "compare.json"
        self.plans = path / "plans.json"
        self.machine = path / "machine.json"
        self.searched = path / "search.json"
        self.results = path / "results.json"
        self.page = path / "report.html"
        self.text = path / "report.md"
        self.picture = path / "accuracy.svg"
        self.score_picture = path / "score.svg"
        self.log = path / "log.txt"

    @property
    def file_names(self) -> set[str]:
        """Names of all files and folders that a comparison may have here."""
        return COMPARISON_FILES | {self.plan(name).name for name in methods.method_names()}

    def open(self) -> None:
        """Create the folder and lock it for this process. Raise `UserError` if it holds something else."""
        try:
            check_no_file(self.path)
            if self.path.exists() and not self.spec.exists() and not _is_hardly_begun(self.path):
                raise UserError("the folder is not empty, and no comparison", where=str(self.path), fix="choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
        except OSError as error:
            raise UserError(f"cannot write here: {error.strerror}", where=str(self.path), fix="choose another --out") from None

    def data(self, size: str) -> Path:
        """The splits with a training set of this size."""
        return self.path / "splits" / size

    @property
    def search_data(self) -> Path:
        """The splits without the test rows."""
        return self.path / "splits" / "search"

    def plan(self, method: str) -> Path:
        """The plan of one method, until the plans of all are in `plans`."""
        return self.path / f"plan-{method}.json"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.path / "runs" / name

    def trial(self, method: str, number: int) -> Path:
        """The run folder of a trial."""
        return self.path / "search" / method / f"trial{number:02d}"

    def baseline(self, name: str) -> Path:
        """The predictions of a baseline."""
        return self.path / "baselines" / f"{name}.json"

    def speed(self, method: str) -> Path:
        """How fast a method predicts."""
        return self.path / "speeds" / f"{method}.json"

    def write_splits(self, spec: ComparisonSpec, dataset: Dataset) -> None:
        """Write the splits as files: all runs read the same rows, and so does whoever repeats one of them."""
        if dataset.has_label_sets:
            order = nested_order_of_sets([row.own_labels() for row in dataset.train], seed=0)
        else:
            order = nested_order(dataset.train, seed=0, has_labels=bool(dataset.labels) or spec.task.predicts_numbers)
        for size in {*spec.train_sizes, ALL}:
            rows = dataset.train if size == ALL else [dataset.train[index] for index in sorted(order[: int(size)])]
            self._write_split_files(self.data(size), {"train": rows, "validation": dataset.validation, "test": dataset.test})
            if spec.search and size == spec.main_size:
                self._write_split_files(self.search_data, {"train": rows, "validation": dataset.validation})

    def _write_split_files(self, folder: Path, splits: Mapping[str, Sequence[Example]]) -> None:
        files.make_folder(folder)
        for name, rows in splits.items():
            if rows:
                self.write_lines(folder / f"{name}.jsonl", map(_split_line, rows))

    def read_split(self, size: str, name: str) -> list[SplitLine]:
        """Read one of the splits with a training set of this size."""
        return schema.read_lines(SplitLine, self.data(size) / f"{name}.jsonl")


def _split_line(row: Example) -> SplitLine:
    """Return the line of a row: what is read from it is the row again, but for its place."""
    given: dict[str, Any] = {"text": row.text, "label": row.label, "from": row.where}
    if row.pair is not None:
        given["text"], given["text_pair"] = row.pair
    if isinstance(row, Conversation):
        parts = {"messages": [one.as_json() for one in row.messages], "tools": list(row.tools), "choices": list(row.choices)}
        parts |= {"input_ids": list(row.ids), "completion_mask": [int(one) for one in row.trained]}
        given |= {name: value for name, value in parts.items() if value}
    elif isinstance(row, MultiLabelExample):
        given["labels"] = list(row.labels)
    elif isinstance(row, Preference):
        given |= _preference_parts(row)
    elif isinstance(row, TaggedText):
        given |= {"tokens": list(row.tokens), "tags": list(row.tags)}
    return SplitLine.model_validate(given)


def _preference_parts(row: Preference) -> dict[str, Any]:
    """Return the keys of a pair, or of an answer that was judged alone."""
    tools = {"tools": list(row.tools)} if row.tools else {}
    if not row.is_pair:
        (answer,) = row.answers
        return {**tools, "prompt": _as_json(row.prompt), "completion": _as_json(answer), "kto_tag": row.is_wanted}
    if all(answer[0].role in ("user", "system") for answer in row.answers):  # such answers are read with their prompt before them
        return {**tools, "chosen": _as_json(row.prompt + row.chosen), "rejected": _as_json(row.prompt + row.rejected)}
    parts = {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected}
    return {**tools, **{name: _as_json(messages) for name, messages in parts.items()}}


def _as_json(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [one.as_json() for one in messages]


def find_comparisons(root: Path) -> list[ComparisonFolder]:
    """Return every comparison below `root` at any depth, by path. Links are not followed."""
    found = []
    for place, names, files_here in os.walk(root):
        if "compare.json" in files_here and Path(place) != root:
            names.clear()
            found.append(ComparisonFolder(Path(place)))
        names[:] = sorted(name for name in names if not name.startswith("."))
    return sorted(found, key=lambda folder: folder.path)


def _is_hardly_begun(path: Path) -> bool:
    """Whether there is nothing but what a comparison leaves that was stopped before its settings were written."""
    return {item.name for item in path.iterdir() if not item.name.startswith(files.DRAFT)} <= {LOCK, "log.txt", "splits"}


def build_spec_file(spec: ComparisonSpec, dataset: Dataset, *, model: Mapping[str, str]) -> ComparisonSpecFile:
    """Build the content of compare.json."""
    rows = SplitRows(train=len(dataset.train), validation=len(dataset.validation), test=len(dataset.test))
    data = SpecData(fingerprint=dataset.fingerprint, rows=rows, labels=dataset.labels)
    return ComparisonSpecFile(asked=spec, data=data, model=dict(model))


def check_same_comparison(folder: ComparisonFolder, wanted: ComparisonSpecFile, dataset: Dataset) -> None:
    """Raise `UserError`, which shows every difference, if the folder's comparison has other settings or other data."""
    before, now = (flatten(schema.dump(one)) for one in (schema.read(ComparisonSpecFile, folder.spec), wanted))
    lines = [
        f"{key.removeprefix('asked.')}: {_shorten(before.get(key), key)} → {_shorten(now.get(key), key)}"
        for key in sorted({*before, *now} - {"schema_version"})
        if before.get(key) != now.get(key) and key not in _PATHS
    ]
    if any(line.startswith("data.fingerprint") for line in lines):
        lines += _describe_changed_rows(folder, dataset)
    if lines:
        what = "begun with other settings or data:\n  " + "\n  ".join(lines)
        fix = "restore them, or choose another --out for a new comparison"
        raise UserError(what, where=str(folder.path), fix=fix, code=ExitCode.MISMATCH)


def _shorten(value: Any, key: str = "") -> str:
    if key == "data.fingerprint" or key.endswith(".safetensors"):
        return str(value)[:12]
    text = "not given" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:60]} …"


def _describe_changed_rows(folder: ComparisonFolder, dataset: Dataset) -> list[str]:
    """Return, for each split, how many rows are gone and how many are new, with the first three of each."""
    lines = []
    for split in SPLITS:
        if not (folder.data(ALL) / f"{split}.jsonl").is_file():
            continue
        old = Counter((line.whole_text, line.label) for line in folder.read_split(ALL, split))
        new = Counter((row.text, row.label) for row in getattr(dataset, split))
        for sign, changed in (("-", old - new), ("+", new - old)):
            if changed:
                shown = "; ".join(f"{_shorten(text)!r} ({label})" for text, label in list(changed)[:3])
                lines.append(f"{sign} {changed.total():,} of {split}: {shown}")
    return lines
