"""Finished runs → every method with its accuracy, uncertainty and cost, and the rows of results.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from finewright.comparison import statistics
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.schema import (
    BaselineFile,
    BaselineResult,
    Curve,
    CurveRow,
    DisagreementRow,
    Kind,
    MethodRow,
    SpeedFile,
    TrainingCurves,
)
from finewright.comparison.spec import BASELINES, ComparisonSpec, RunSpec
from finewright.comparison.statistics import Pair, Predictions, Summary
from finewright.core.errors import ExitCode, UserError
from finewright.methods import get_method
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import ClassificationMetrics, MetricsLine, PredictionLine, RunResult, TimingsLine
from finewright.tasks import metrics

MOST_DISAGREEMENTS = 200
"""Rows of results.json."""


@dataclass(frozen=True)
class MethodResult:
    """One method or baseline on one size of the training set.

    `results`: one for each finished seed; `best_seconds` of each: when the saved weights were reached. `confidence`: probability
    of the predicted label, shape (seeds, rows). Without any finished seed `predictions` is None, and `reasons` says why.
    """

    name: str
    kind: Kind
    summary: str
    size: str
    runs: list[RunFolder]
    results: Sequence[RunResult | BaselineResult]
    predictions: Predictions | None
    confidence: np.ndarray | None
    reasons: list[str]
    speed: float | None = None
    best_seconds: Sequence[float] = ()

    @property
    def num_train(self) -> int | None:
        """Number of training rows."""
        return self.results[0].num_train if self.results else None

    def values(self, name: str) -> list[Any]:
        """Return a field of the results of all seeds, without those that have none."""
        found = (getattr(result, name, None) for result in self.results)
        return [value for value in found if value is not None]

    def mean(self, name: str) -> float | None:
        """Return the mean of a field over seeds, None if no seed has it."""
        return _mean(self.values(name))

    def largest(self, name: str) -> Any:
        """Return the largest value of a field over seeds, None if no seed has it."""
        return max(self.values(name), default=None)

    @cached_property
    def training(self) -> list[TrainingCurves]:
        """The curves of every run that has a log. Each log is read once."""
        found = []
        for run in self.runs:
            if not run.metrics.exists():
                continue
            lines = schema.read_lines(MetricsLine, run.metrics)
            loss = [(line.epoch, line.loss) for line in lines if line.loss is not None]
            accuracy = [(line.epoch, line.validation["accuracy"]) for line in lines if line.validation]
            found.append(TrainingCurves(loss=loss, validation_accuracy=accuracy))
        return found

    def confusion(self, *, num_labels: int) -> np.ndarray:
        """Count test rows by label and predicted label, mean over seeds, shape (labels, labels)."""
        assert self.predictions is not None
        counts = np.zeros((num_labels, num_labels))
        for chosen in self.predictions.chosen:
            np.add.at(counts, (self.predictions.targets, chosen), 1)
        return counts / len(self.predictions.chosen)

    def calibration(self) -> Curve:
        """Return (mean probability, accuracy) of rows with about the same probability, all seeds together."""
        if self.confidence is None or self.predictions is None:
            return []
        return metrics.calibration_points(self.confidence.ravel(), self.predictions.right.ravel())

    def calibration_error(self) -> float | None:
        """Return the expected calibration error on the test rows, mean over seeds."""
        return _mean([measured.calibration_error for measured in map(_test_metrics, self.results) if measured])

    def uncalibrated_error(self) -> float | None:
        """Return the same without temperature scaling, mean over the seeds that have it; None if no seed was scaled."""
        records = [record for record in self.values("calibration") if record.ece_before is not None]
        return _mean([record.ece_before for record in records])


def _test_metrics(result: RunResult | BaselineResult) -> ClassificationMetrics | None:
    measured = result.metrics.test if isinstance(result, RunResult) else result.metrics
    return measured if isinstance(measured, ClassificationMetrics) else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class ComparisonResults:
    """`entries`: with the largest training set, the most accurate first, what was not measured last. `curve`: with every size.

    `curve_summaries`: by (size, name). `one_class`: the label of all test rows, if it is the same.
    """

    labels: tuple[str, ...]
    entries: list[MethodResult]
    curve: list[MethodResult]
    summaries: dict[str, Summary]
    curve_summaries: dict[tuple[str, str], Summary]
    pairs: list[Pair]
    one_class: str | None

    @property
    def measured(self) -> list[MethodResult]:
        """Entries with results, the most accurate first."""
        return [entry for entry in self.entries if entry.predictions is not None]

    def pair(self, first: str, second: str) -> Pair:
        """Return the tested pair. The difference is the first minus the second."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.second, pair.first) == (first, second):
                return Pair(first, second, -pair.difference, pair.p_value)
        raise KeyError((first, second))


def read_results(
    spec: ComparisonSpec,
    folder: ComparisonFolder,
    *,
    labels: Sequence[str],
    reasons: Mapping[str, str],
    failures: Mapping[str, str],
) -> ComparisonResults:
    """Read everything that is finished. `reasons`: why a method is not run; `failures`: why a run or baseline failed."""
    targets = _read_targets(folder, spec, labels=labels)
    curve = []
    for size in spec.train_sizes:
        for name in spec.candidates:
            runs = [RunSpec(name, size, seed) for seed in spec.seeds]
            curve.append(_read_method(runs, folder, targets=targets, labels=labels, reasons=reasons, failures=failures))
        curve += [_read_baseline(name, size, folder, targets=targets, labels=labels, failures=failures) for name in BASELINES]
    main = [entry for entry in curve if entry.size == spec.main_size]
    return build_results(main, curve, labels=labels, one_class=labels[targets[0]] if len(set(targets.tolist())) == 1 else None)


def build_results(
    main: Sequence[MethodResult], curve: Sequence[MethodResult], *, labels: Sequence[str], one_class: str | None
) -> ComparisonResults:
    """Compute intervals and tests. `main`: with the largest training set; `curve`: with every size."""
    predictions = _predictions_by_name(main)
    summaries = statistics.summarise(predictions, num_labels=len(labels))
    curve_summaries: dict[tuple[str, str], Summary] = {}
    for size in dict.fromkeys(entry.size for entry in curve):
        same_size = _predictions_by_name([entry for entry in curve if entry.size == size])
        found = statistics.summarise(same_size, num_labels=len(labels))
        curve_summaries |= {(size, name): summary for name, summary in found.items()}
    return ComparisonResults(
        labels=tuple(labels),
        entries=sorted(main, key=lambda entry: -summaries[entry.name].accuracy if entry.name in summaries else 1.0),
        curve=list(curve),
        summaries=summaries,
        curve_summaries=curve_summaries,
        pairs=statistics.compare_pairs({name: one.scores for name, one in predictions.items()}),
        one_class=one_class,
    )


def _predictions_by_name(entries: Sequence[MethodResult]) -> dict[str, Predictions]:
    return {entry.name: entry.predictions for entry in entries if entry.predictions is not None}


def _read_targets(folder: ComparisonFolder, spec: ComparisonSpec, *, labels: Sequence[str]) -> np.ndarray:
    classes = {label: index for index, label in enumerate(labels)}
    return np.array([classes[line.label] for line in folder.read_split(spec.main_size, "test")])


def _read_method(
    specs: Sequence[RunSpec],
    folder: ComparisonFolder,
    *,
    targets: np.ndarray,
    labels: Sequence[str],
    reasons: Mapping[str, str],
    failures: Mapping[str, str],
) -> MethodResult:
    name, size, method = specs[0].method, specs[0].size, get_method(specs[0].method)
    causes = [reasons[name]] if name in reasons else []
    runs, results, best_seconds, read = [], [], [], []
    for spec in specs if name not in reasons else ():
        run = RunFolder(folder.run(spec.name))
        if not run.complete:
            causes.append(failures.get(spec.name, f"seed {spec.seed} was not finished"))
            continue
        read.append(_read_predictions(run, targets=targets, labels=labels))
        result = schema.read(RunResult, run.result)
        runs.append(run)
        results.append(result)
        best_seconds += _best_seconds(run, result)
    chosen, scores, confidence = map(np.stack, zip(*read, strict=True)) if read else (None, None, None)
    return MethodResult(
        name=name,
        kind="random" if method.weights == "random" else "pretrained",
        summary=method.summary,
        size=size,
        runs=runs,
        results=results,
        predictions=Predictions(chosen, targets, row_scores=scores) if chosen is not None else None,
        confidence=confidence,
        reasons=list(dict.fromkeys(causes)),
        speed=schema.read(SpeedFile, folder.speed(name)).texts_per_second if folder.speed(name).exists() else None,
        best_seconds=best_seconds,
    )


def _read_predictions(run: RunFolder, *, targets: np.ndarray, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (class, score, probability of the class) for every test row. Raise `UserError` if the run has other test rows."""
    classes = {label: index for index, label in enumerate(labels)}
    lines = schema.read_lines(PredictionLine, run.predictions)
    if [classes.get(line.label) for line in lines] != targets.tolist():
        what = "this run was measured on other test rows than the comparison's"
        raise UserError(what, where=str(run.path), fix="remove it and compare again", code=ExitCode.MISMATCH)
    rows = [(classes[str(line.predicted)], line.row_score, line.probability) for line in lines]
    chosen, scores, confidence = map(np.array, zip(*rows, strict=True))
    return chosen, scores, confidence


def _best_seconds(run: RunFolder, result: RunResult) -> list[float]:
    """Return when the saved weights were reached, interpolated between logged times; nothing without a log."""
    if not run.timings.exists():
        return []
    lines = [(0, 0.0), *((line.step, line.seconds) for line in schema.read_lines(TimingsLine, run.timings))]
    steps, seconds = zip(*sorted(lines), strict=True)
    return [float(np.interp(result.best_step, steps, seconds))]


def _read_baseline(
    name: str, size: str, folder: ComparisonFolder, *, targets: np.ndarray, labels: Sequence[str], failures: Mapping[str, str]
) -> MethodResult:
    path, classes = folder.baseline(name), {label: index for index, label in enumerate(labels)}
    result = schema.read(BaselineFile, path).sizes[size] if path.exists() else None
    chosen = np.array([[classes[label] for label in result.predicted]]) if result else None
    return MethodResult(
        name=name,
        kind="baseline",
        summary=BASELINES[name],
        size=size,
        runs=[],
        results=[result] if result else [],
        predictions=Predictions(chosen, targets, seeded=False) if chosen is not None else None,
        confidence=np.array([result.probability]) if result else None,
        reasons=[] if result else [failures.get(name, "was not finished")],
    )


def build_method_rows(results: ComparisonResults, folder: ComparisonFolder) -> list[MethodRow]:
    """Build a row for each method and baseline with the largest training set, the most accurate first."""
    best = results.measured[0].name if results.measured else None
    return [_build_method_row(results, entry, best=best, folder=folder) for entry in results.entries]


def _build_method_row(
    results: ComparisonResults, entry: MethodResult, *, best: str | None, folder: ComparisonFolder
) -> MethodRow:
    summary = results.summaries.get(entry.name)
    pair = results.pair(entry.name, best) if summary and best and best != entry.name else None
    return MethodRow(
        method=entry.name,
        kind=entry.kind,
        summary=entry.summary,
        status="measured" if not entry.reasons else "partly measured" if summary else "not measured",
        message="; ".join(entry.reasons),
        accuracy=summary.accuracy if summary else None,
        accuracy_ci95=summary.accuracy_ci95 if summary else None,
        macro_f1=summary.macro_f1 if summary else None,
        macro_f1_ci95=summary.macro_f1_ci95 if summary else None,
        accuracies=entry.predictions.scores.of_seeds.tolist() if entry.predictions else [],
        seeds=entry.values("seed"),
        difference_to_best=pair.difference if pair else None,
        p_value=pair.p_value if pair else None,
        differs_from_best=pair.is_significant if pair else None,
        num_train=entry.num_train,
        trainable_parameters=entry.largest("trainable_parameters"),
        total_parameters=entry.largest("total_parameters"),
        trainable_fraction=entry.largest("trainable_fraction"),
        predict_texts_per_second=entry.speed,
        chosen=entry.largest("chosen"),
        confusion=entry.confusion(num_labels=len(results.labels)).tolist() if entry.predictions else None,
        calibration=entry.calibration(),
        calibration_error=entry.calibration_error(),
        uncalibrated_error=entry.uncalibrated_error(),
        training=entry.training,
        runs=[str(run.path.relative_to(folder.path)) for run in entry.runs],
        train_seconds=entry.mean("train_seconds"),
        best_seconds=_mean(entry.best_seconds),
        planned_seconds=entry.mean("planned_seconds_for_steps"),
        peak_memory_bytes=entry.largest("peak_memory_bytes"),
        planned_peak_memory_bytes=entry.largest("planned_peak_memory_bytes"),
        artifact_bytes=entry.largest("artifact_bytes"),
    )


def build_curve_rows(results: ComparisonResults) -> list[CurveRow]:
    """Build a row for each method and baseline at each size of the training set."""
    rows = []
    for entry in results.curve:
        if summary := results.curve_summaries.get((entry.size, entry.name)):
            rows.append(CurveRow(method=entry.name, size=entry.size, num_train=entry.num_train, **vars(summary)))
    return rows


def build_disagreement_rows(results: ComparisonResults, folder: ComparisonFolder, spec: ComparisonSpec) -> list[DisagreementRow]:
    """Build the test rows that the methods (by most of their seeds) label differently, those with the most labels first."""
    predictions = _predictions_by_name([entry for entry in results.measured if entry.kind != "baseline"])
    if len(predictions) < 2:
        return []
    chosen = np.stack([_majority_of_seeds(one, num_labels=len(results.labels)) for one in predictions.values()])
    targets = next(iter(predictions.values())).targets
    found = []
    for index, row in enumerate(folder.read_split(spec.main_size, "test")):
        distinct = len(set(chosen[:, index].tolist()))
        if distinct > 1:
            accuracy = float((chosen[:, index] == targets[index]).mean())
            predicted = {name: results.labels[one] for name, one in zip(predictions, chosen[:, index], strict=True)}
            line = DisagreementRow(text=row.text, label=row.label, place=row.place, predicted=predicted)
            found.append(((-distinct, abs(accuracy - 0.5), index), line))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def _majority_of_seeds(predictions: Predictions, *, num_labels: int) -> np.ndarray:
    """Return what most seeds predict for each row; of several such labels the one with the lowest number."""
    return np.stack([(predictions.chosen == label).sum(axis=0) for label in range(num_labels)]).argmax(axis=0)


def build_notes(results: ComparisonResults, spec: ComparisonSpec, *, jobs: int, threads: int) -> list[str]:
    """Describe what a reader must know to read the numbers correctly."""
    notes = []
    if len(spec.seeds) == 1:
        notes.append("One seed: intervals and tests are over the test rows alone. Another seed may change every number.")
    short = [entry for entry in results.measured if entry.kind != "baseline" and len(entry.results) < len(spec.seeds)]
    if short:
        notes.append(f"With fewer seeds than the others: {', '.join(entry.name for entry in short)}.")
    if results.one_class is not None:
        notes.append(f"Every test row has the label {results.one_class!r}.")
    if jobs > 1:
        notes.append(f"{jobs} runs at a time, each with {threads} of the threads: seconds and memory are those of such runs.")
    return notes
