"""The folder of a comparison: its files and splits, and what may not change between two starts of the same one."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finewright.comparison.spec import ALL, ComparisonSpec, dotted
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset
from finewright.data.splits import Example, nested_order
from finewright.runs.folder import RunFolder

SPLITS = ("train", "validation", "test")
_PLACES = ("asked.data", "asked.test", "asked.model")
"""The same rows and weights may lie elsewhere: they are known by their content."""


class ComparisonFolder:
    """The folder of a comparison; it owns every file name in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "compare.json"
        self.plans = path / "plans.json"
        self.machine = path / "machine.json"
        self.searched = path / "search.json"
        self.results = path / "results.json"
        self.page = path / "report.html"
        self.text = path / "report.md"
        self.picture = path / "accuracy.svg"
        self.log = path / "log.txt"
        self._own = RunFolder(path)

    def open(self) -> None:
        """Make it, and hold it for this process; a folder with other things in it is a `UserError`."""
        try:
            if self.path.exists() and not self.spec.exists() and not (self.path.is_dir() and _hardly_begun(self.path)):
                raise UserError("the folder is not empty, and no comparison", where=str(self.path), fix="choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
            self._own.lock()
        except OSError as error:
            raise UserError(f"cannot write here: {error.strerror}", where=str(self.path), fix="choose another --out") from None

    def close(self) -> None:
        """Let others have it."""
        self._own.release()

    def write_json(self, path: Path, value: Any) -> None:
        """Whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._own.write_json(path, value)

    def write_text(self, path: Path, text: str) -> None:
        """Whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(path)

    def read_json(self, path: Path) -> Any:
        """Absent or broken is a `UserError`."""
        return self._own.read_json(path)

    def data(self, size: str) -> Path:
        """The splits with a training set of this size."""
        return self.path / "splits" / size

    @property
    def search_data(self) -> Path:
        """The splits without the test rows."""
        return self.path / "splits" / "search"

    def plan(self, way: str) -> Path:
        """What planning a way came to, until all of them are in `plans`."""
        return self.path / f"plan-{way}.json"

    def run(self, member: str) -> Path:
        """A member's run folder."""
        return self.path / "runs" / member

    def trial(self, way: str, number: int) -> Path:
        """The run folder of a trial."""
        return self.path / "search" / way / f"trial{number:02d}"

    def baseline(self, name: str) -> Path:
        """What a baseline predicted."""
        return self.path / "baselines" / f"{name}.json"

    def speed(self, member: str) -> Path:
        """How fast a member predicts."""
        return self.path / "speeds" / f"{member}.json"

    def write_splits(self, spec: ComparisonSpec, dataset: Dataset) -> None:
        """The splits as files: every member reads the same rows, and so does whoever trains one of them again."""
        order = nested_order(dataset.train, seed=0)
        for size in {*spec.train_sizes, ALL}:
            rows = dataset.train if size == ALL else [dataset.train[index] for index in sorted(order[: int(size)])]
            self._write(self.data(size), {"train": rows, "validation": dataset.validation, "test": dataset.test})
            if spec.search and size == spec.main_size:
                self._write(self.search_data, {"train": rows, "validation": dataset.validation})

    def _write(self, folder: Path, splits: Mapping[str, Sequence[Example]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in splits.items():
            if rows:
                lines = [{"text": row.text, "label": row.label, "from": row.where} for row in rows]
                self._own.write_lines(folder / f"{name}.jsonl", lines)


def _hardly_begun(path: Path) -> bool:
    """What a comparison leaves that was stopped before its settings were written."""
    return {item.name for item in path.iterdir() if not item.name.endswith(".partial")} <= {".lock", "log.txt", "splits"}


def fixed(spec: ComparisonSpec, dataset: Dataset, *, model: Mapping[str, str]) -> dict[str, Any]:
    """What compare.json holds of a comparison; all but the paths of the data may not change in it."""
    rows = {name: len(getattr(dataset, name)) for name in SPLITS}
    data = {"fingerprint": dataset.fingerprint, "rows": rows, "labels": list(dataset.labels)}
    return {"asked": asdict(spec), "data": data, "model": dict(model)}


def check_same_comparison(folder: ComparisonFolder, wanted: Mapping[str, Any], dataset: Dataset) -> None:
    """A comparison that was begun with other settings or other data is a `UserError` that shows every difference."""
    kept = folder.read_json(folder.spec)
    try:
        before, now = (dotted(json.loads(json.dumps({key: one[key] for key in wanted}))) for one in (kept, wanted))
    except (KeyError, TypeError, AttributeError) as error:
        what = f"not a comparison's settings: {error}"
        raise UserError(what, where=str(folder.spec), fix="choose another --out", code=ExitCode.MISMATCH) from None
    lines = [
        f"{key.removeprefix('asked.')}: {_short(before.get(key), key)} → {_short(now.get(key), key)}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key) and key not in _PLACES
    ]
    if any(line.startswith("data.fingerprint") for line in lines):
        lines += _changed_rows(folder, dataset)
    if lines:
        what = "begun with other settings or data:\n  " + "\n  ".join(lines)
        fix = "bring back what it was, or choose another --out for a new comparison"
        raise UserError(what, where=str(folder.path), fix=fix, code=ExitCode.MISMATCH)


def _short(value: Any, key: str = "") -> str:
    if key == "data.fingerprint" or key.endswith(".safetensors"):
        return str(value)[:12]
    text = "not given" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:60]} …"


def _changed_rows(folder: ComparisonFolder, dataset: Dataset) -> list[str]:
    """What is gone and what is new, split by split, the first rows of each in words."""
    lines = []
    for split in SPLITS:
        path = folder.data(ALL) / f"{split}.jsonl"
        if not path.is_file():
            continue
        old = Counter((line["text"], line["label"]) for line in RunFolder(path.parent).read_lines(path))
        new = Counter((row.text, row.label) for row in getattr(dataset, split))
        for sign, changed in (("-", old - new), ("+", new - old)):
            if changed:
                shown = "; ".join(f"{_short(text)!r} ({label})" for text, label in list(changed)[:3])
                lines.append(f"{sign} {changed.total():,} of {split}: {shown}")
    return lines
