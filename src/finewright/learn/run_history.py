"""The learner's finished runs: which of them can be compared, as tables and sentences."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from finewright import methods
from finewright.core.errors import UserError
from finewright.learn.course import Figure, Lesson, SuggestedCommand
from finewright.runs import request, schema
from finewright.runs.folder import RunFolder, list_runs
from finewright.runs.schema import MetricsLine, PlanFile, RunConfigFile, RunResult
from finewright.runs.split_metrics import ClassificationMetrics

MEMORY_PARTS = ("weights", "gradients", "optimizer", "activations", "other", "frozen cache")
"""Parts of a plan's memory at its peak. The last is `trunk` in plan.json."""
MOST_RUNS = 12


@dataclass(frozen=True)
class FinishedRun:
    """A finished run. `label`: distinguishes it from the others; `plan`: bytes by part, empty if there is no plan.

    `measured`: the metrics on `split`: on test, or on validation if there was no test.
    `losses`: (step, training loss); `validations`: (step, validation accuracy, validation loss).
    """

    folder: RunFolder
    result: RunResult
    config: RunConfigFile
    split: str
    measured: ClassificationMetrics
    plan: dict[str, int]
    losses: list[tuple[int, float]]
    validations: list[tuple[int, float, float]]
    label: str = ""

    @property
    def name(self) -> str:
        """Return the path of its folder from here, or its name if it lies elsewhere: nothing about the machine."""
        path = self.folder.path
        if not path.is_absolute():
            return str(path)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name

    @property
    def title(self) -> str:
        """Return its name with the label."""
        return f"{self.name} ({self.label})"

    @property
    def share(self) -> float:
        """Return the trained fraction of the parameters, the head included."""
        return self.result.trainable_parameters / self.result.total_parameters

    @property
    def from_random(self) -> bool:
        """Return whether it started from random weights; False for an unknown method."""
        return self._method is not None and self._method.weights == "random"

    @property
    def adds_parameters(self) -> bool:
        """Return whether the method adds parameters to the model; False for an unknown method."""
        return self._method is not None and self._method.saves == "adapter"

    @property
    def _method(self) -> type[methods.Method] | None:
        try:
            return methods.get_method(self.result.method)
        except UserError:
            return None

    def correct_rows(self) -> list[bool] | None:
        """Return for every test row whether the prediction is right; None if predictions cannot be read."""
        try:
            lines = self.folder.read_lines(self.folder.predictions)
            return [line["label"] == line["predicted"] for line in lines]
        except (UserError, KeyError, TypeError):
            return None


def find_runs(root: Path) -> list[FinishedRun]:
    """Return every finished run in `root`, its subfolders and comparisons, newest first. Damaged runs are skipped."""
    folders = [folder for place in (root, *_subfolders(root)) for folder in list_runs(place) if folder.complete]
    folders.sort(key=lambda folder: folder.result.stat().st_mtime, reverse=True)
    return [one for one in map(_open, folders) if one]


def _subfolders(root: Path) -> list[Path]:
    runs = {folder.path for folder in list_runs(root)}
    places = [path for path in sorted(root.glob("*")) if path.is_dir() and path not in runs]
    return [*places, *(path / "runs" for path in places)]  # a comparison keeps its runs in a subfolder


def _open(folder: RunFolder) -> FinishedRun | None:
    """Return the run; None if a file is damaged or something that lessons need is missing."""
    try:
        result, config = schema.read(RunResult, folder.result), schema.read(RunConfigFile, folder.config)
        if request.is_baseline(config.request):
            return None  # lessons are about training a network
        plan = schema.read(PlanFile, folder.plan).memory if folder.plan.exists() else {}
        plan = {MEMORY_PARTS[-1] if part == "trunk" else part: size for part, size in plan.items()}
        raw = folder.read_lines(folder.metrics) if folder.metrics.exists() else []
        lines = [schema.parse(MetricsLine, line, where=folder.metrics) for line in raw]
        validations = [(line.step, line.validation["accuracy"], line.validation["loss"]) for line in lines if line.validation]
    except (UserError, KeyError):
        return None
    split = "test" if result.metrics.test else "validation"
    measured = result.metrics.test or result.metrics.validation
    if not (config.labels and config.data_fingerprint and isinstance(measured, ClassificationMetrics)):
        return None
    losses = [(line.step, line.loss) for line in lines if line.loss is not None]
    return FinishedRun(folder, result, config, split, measured, plan, losses, validations)


def choose_comparable(runs: Sequence[FinishedRun], *, candidates: Sequence[str] = ()) -> list[FinishedRun]:
    """Return runs with the same model and data: of several groups the one with the most methods, then the newest.

    `candidates`: only these methods count, all when empty. At most the newest `MOST_RUNS` are returned.
    """
    groups: dict[tuple[str, str, str], list[FinishedRun]] = defaultdict(list)
    for one in runs:
        if not candidates or one.result.method in candidates:
            groups[one.config.data_fingerprint, one.result.model, one.split].append(one)
    chosen = max(groups.values(), key=lambda group: len({one.result.method for one in group}), default=[])
    return add_labels(chosen[:MOST_RUNS])


def add_labels(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs with labels: the method, and the options that differ among runs of the same method."""
    named = []
    for one in runs:
        same = [other for other in runs if other.result.method == one.result.method]
        options = [_label_options(other) for other in same]
        differing = [key for key in options[0] if any(other.get(key) != options[0][key] for other in options)]
        mine = _label_options(one)
        more = ", ".join(f"{key} {mine[key]}" for key in differing if mine.get(key) is not None)
        twice = len({tuple(str(other.get(key)) for key in differing) for other in options}) < len(same)
        label = " ".join(part for part in (one.result.method, more, f"({one.folder.path.name})" if twice else "") if part)
        named.append(replace(one, label=label))
    return named


def _label_options(one: FinishedRun) -> dict[str, Any]:
    training = one.config.settings.get("training", {})
    return {
        **one.config.method_options,
        "seed": one.result.seed,
        **{key: training.get(key) for key in ("epochs", "learning_rate")},
    }


class Table(BaseModel):
    """Results of the learner's runs. `says`: the same in a sentence, for those who cannot see a picture."""

    model_config = ConfigDict(strict=True)

    headings: list[str]
    rows: list[list[str]]
    says: str


def missing_commands(lesson: Lesson, shown: Sequence[FinishedRun], everything: Sequence[FinishedRun]) -> list[SuggestedCommand]:
    """Return the lesson's commands whose runs do not exist yet. `shown`: runs that the lesson shows; `everything`: all runs.

    A run belongs to a command only if method and options match: runs of lesson 1 do not hide the commands of other lessons.
    """
    return [make for make in lesson.about.make if not _is_made(make, shown, everything)]


def _is_made(make: SuggestedCommand, shown: Sequence[FinishedRun], everything: Sequence[FinishedRun]) -> bool:
    if make.leaves:
        return any(one.folder.path.parent.parent.name.startswith(make.leaves) for one in everything)
    return any(make.method == one.result.method and make.options.items() <= one.config.method_options.items() for one in shown)


def build_table(figure: Figure, runs: Sequence[FinishedRun]) -> Table:
    """Return the numbers behind a figure."""
    kinds = {"curves": _curves, "share": _share, "memory": _memory, "intervals": _intervals}
    return kinds[figure](runs)


def _accuracy(one: FinishedRun) -> list[str]:
    low, high = one.measured.accuracy_ci95
    return [f"{one.measured.accuracy:.1%}", f"{low:.1%} to {high:.1%}"]


def _share(runs: Sequence[FinishedRun]) -> Table:
    ordered = sorted(runs, key=lambda one: one.share)
    rows = [[one.label, f"{one.result.trainable_parameters:,}", f"{one.share:.2%}", *_accuracy(one)] for one in ordered]
    pretrained = [one for one in ordered if not one.from_random] or ordered
    says = "; ".join(
        f"{one.label}: {one.share:.2%} trained, {one.measured.accuracy:.0%} right"
        for one in [pretrained[0], *pretrained[1:][-1:]]
    )
    return Table(headings=["method", "trained", "share", f"{runs[0].split} accuracy", "95% interval"], rows=rows, says=says)


def _curves(runs: Sequence[FinishedRun]) -> Table:
    rows = []
    for one in runs:
        losses, best, held_out = one.losses, "", ""
        first, last = (f"{losses[0][1]:.2f}", f"{losses[-1][1]:.2f}") if losses else ("", "")
        if evaluations := one.validations:
            best, held_out = (
                f"{max(values[1] for values in evaluations):.1%}",
                f"{evaluations[0][2]:.2f} to {evaluations[-1][2]:.2f}",
            )
        rows.append([one.label, first, last, held_out, best, _accuracy(one)[0]])
    headings = ["method", "first loss", "last loss", "validation loss", "best validation", f"{runs[0].split} accuracy"]
    says = "Best validation accuracy: " + "; ".join(f"{row[0]} {row[4]}" for row in rows)
    return Table(headings=headings, rows=rows, says=says)


def _memory(runs: Sequence[FinishedRun]) -> Table:
    ordered = sorted(runs, key=lambda one: one.result.planned_peak_memory_bytes)
    names = [part for part in MEMORY_PARTS if any(one.plan.get(part) for one in runs)]
    rows = []
    for one in ordered:
        parts = [f"{one.plan.get(part, 0) / 1e6:,.1f}" for part in names]
        totals = [f"{size / 1e6:,.0f}" for size in (one.result.planned_peak_memory_bytes, one.result.peak_memory_bytes)]
        rows.append([one.label, *parts, *totals])
    says = f"Least planned: {rows[0][0]}, {rows[0][-2]} MB; most: {rows[-1][0]}, {rows[-1][-2]} MB."
    return Table(headings=["method, MB", *names, "planned", "measured"], rows=rows, says=says)


def _intervals(runs: Sequence[FinishedRun]) -> Table:
    ordered = sorted(runs, key=lambda one: one.measured.accuracy, reverse=True)
    rows = []
    for one in ordered:
        num_right = round(one.measured.accuracy * one.measured.num_rows)
        rows.append([one.label, f"{num_right:,} of {one.measured.num_rows:,}", *_accuracy(one), f"{one.measured.macro_f1:.1%}"])
    says = f"Highest: {rows[0][0]}, {rows[0][2]} ({rows[0][3]}); lowest: {rows[-1][0]}, {rows[-1][2]} ({rows[-1][3]})."
    return Table(headings=["method", "right", f"{runs[0].split} accuracy", "95% interval", "macro F1"], rows=rows, says=says)
