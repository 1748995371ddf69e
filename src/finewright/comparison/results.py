"""Finished runs → every method with its score, uncertainty and cost, and the rows of results.json."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from finewright import tasks
from finewright.comparison import confusions, scored_rows, statistics
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.schema import (
    BaselineFile,
    BaselineMetrics,
    BaselineResult,
    Curve,
    CurveRow,
    DisagreementRow,
    Kind,
    MethodRow,
    SpeedFile,
    SplitLine,
    TrainingCurves,
)
from finewright.comparison.scored_rows import ScoredRows
from finewright.comparison.spec import ComparisonSpec, RunSpec
from finewright.comparison.statistics import Pair, Predictions, Summary
from finewright.core.errors import ExitCode, UserError
from finewright.methods import get_method
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import MetricsLine, PredictionLine, RunResult, TimingsLine
from finewright.runs.split_metrics import ClassificationMetrics, SplitMetrics
from finewright.tasks import metrics
from finewright.tasks.measures import Metric

MOST_DISAGREEMENTS = 200
"""Rows of results.json."""


@dataclass(frozen=True)
class MethodResult:
    """One method or baseline on one size of the training set.

    `results`: one for each finished seed; `best_seconds` of each: when the saved weights were reached. `confidence`: probability
    of the predicted label, shape (seeds, rows). Without any finished seed `predictions` is None, and `reasons` says why.
    `answers`: where predictions are no classes, those of the first seed by the number of the row.
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
    answers: Mapping[int, str] = field(default_factory=dict)

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
            evaluated = [(line.epoch, line.validation) for line in lines if line.validation]
            curves = {
                f"validation_{name}": [(epoch, values[name]) for epoch, values in evaluated if name in values]
                for name in ("accuracy", "loss")
            }
            found.append(TrainingCurves(loss=loss, **curves))
        return found

    def calibration(self) -> Curve:
        """Return (mean probability, accuracy) of rows with about the same probability, all seeds together."""
        if self.confidence is None or self.predictions is None or self.predictions.chosen is None:
            return []
        return metrics.calibration_points(self.confidence.ravel(), self.predictions.right.ravel())

    def calibration_error(self) -> float | None:
        """Return the expected calibration error on the test rows, mean over seeds."""
        measured = map(_test_metrics, self.results)
        return _mean([one.calibration_error for one in measured if isinstance(one, ClassificationMetrics)])

    def test_metrics(self, names: Sequence[str]) -> dict[str, float]:
        """Return these metrics of the test rows, mean over seeds; without those that a seed does not have."""
        measured = [one.model_dump() for one in map(_test_metrics, self.results) if one is not None]
        means = {name: _mean([one[name] for one in measured if one.get(name) is not None]) for name in names}
        return {name: mean for name, mean in means.items() if mean is not None}

    def uncalibrated_error(self) -> float | None:
        """Return the same without temperature scaling, mean over the seeds that have it; None if no seed was scaled."""
        records = [record for record in self.values("calibration") if record.ece_before is not None]
        return _mean([record.ece_before for record in records])


def _test_metrics(result: RunResult | BaselineResult) -> SplitMetrics | ClassificationMetrics | BaselineMetrics | None:
    return result.metrics.test if isinstance(result, RunResult) else result.metrics


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class ComparisonResults:
    """`entries`: with the largest training set, the best first, what was not measured last. `curve`: with every size.

    `curve_summaries`: by (size, name). `one_class`: the label of all test rows, if it is the same. `metric`: the mean of the
    scores of the rows, by which all are compared. `more_metrics`: names of further metrics of the test rows. `rows`: the test
    rows that have a score, None for all.
    """

    labels: tuple[str, ...]
    entries: list[MethodResult]
    curve: list[MethodResult]
    summaries: dict[str, Summary]
    curve_summaries: dict[tuple[str, str], Summary]
    pairs: list[Pair]
    one_class: str | None
    metric: Metric
    more_metrics: tuple[str, ...] = ()
    rows: Sequence[int] | None = None
    numbers: Mapping[int, float] = field(default_factory=dict)
    """The true number of each test row that has a score, where predictions are numbers."""
    has_classes: bool = True
    """Whether each prediction is one of `labels`."""

    @property
    def measured(self) -> list[MethodResult]:
        """Entries with results, the best first."""
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
    test = folder.read_split(spec.main_size, "test")
    curve = []
    for size in spec.train_sizes:
        for name in spec.candidates:
            runs = [RunSpec(name, size, seed) for seed in spec.seeds]
            curve.append(_read_method(runs, folder, reasons=reasons, failures=failures))
        curve += [_read_baseline(name, size, folder, spec, failures=failures) for name in spec.baselines]
    if not labels or not spec.task.predicts_one_label:
        return replace(_score_rows(curve, spec, test), labels=tuple(labels) if spec.task.labels_texts else ())
    classes = {label: index for index, label in enumerate(labels)}
    targets = np.array([classes[line.label] for line in test])
    curve = [_with_classes(entry, targets=targets, classes=classes) for entry in curve]
    main = [entry for entry in curve if entry.size == spec.main_size]
    return build_results(main, curve, labels=labels, one_class=labels[targets[0]] if len(set(targets.tolist())) == 1 else None)


def build_results(
    main: Sequence[MethodResult],
    curve: Sequence[MethodResult],
    *,
    labels: Sequence[str],
    one_class: str | None,
    metric: Metric | None = None,
    more_metrics: Sequence[str] = (),
    rows: Sequence[int] | None = None,
) -> ComparisonResults:
    """Compute intervals and tests. `main`: with the largest training set; `curve`: with every size. The rest: see the result."""
    predictions = _predictions_by_name(main)
    summaries = statistics.summarise(predictions, num_labels=len(labels))
    curve_summaries: dict[tuple[str, str], Summary] = {}
    for size in dict.fromkeys(entry.size for entry in curve):
        same_size = _predictions_by_name([entry for entry in curve if entry.size == size])
        found = statistics.summarise(same_size, num_labels=len(labels))
        curve_summaries |= {(size, name): summary for name, summary in found.items()}
    return ComparisonResults(
        labels=tuple(labels),
        entries=sorted(main, key=lambda entry: _rank(entry, summaries.get(entry.name), by_loss=not labels)),
        curve=list(curve),
        summaries=summaries,
        curve_summaries=curve_summaries,
        pairs=statistics.compare_pairs({name: one.scores for name, one in predictions.items()}),
        one_class=one_class,
        metric=metric or tasks.get_task(tasks.DEFAULT).metric,
        more_metrics=tuple(more_metrics),
        rows=rows,
        has_classes=bool(labels),
    )


def _rank(entry: MethodResult, summary: Summary | None, *, by_loss: bool) -> tuple[float, float]:
    """Return what entries are sorted by: the score, of equal scores with `by_loss` the loss on the test rows."""
    loss = entry.test_metrics(("loss",)).get("loss", math.inf) if by_loss else 0.0
    return (1.0 if summary is None else -summary.score), loss


def _score_rows(curve: Sequence[MethodResult], spec: ComparisonSpec, test: Sequence[SplitLine]) -> ComparisonResults:
    """Compute the results where predictions are no classes, from the rows that every member has a score of."""
    members: dict[tuple[str, str], list[ScoredRows]] = {}
    for entry in curve:
        pairs = zip(entry.runs, entry.results, strict=False)
        members[entry.size, entry.name] = [
            scored_rows.read_run(run, result, task=spec.task, test=test) for run, result in pairs if isinstance(result, RunResult)
        ] + [scored_rows.read_baseline(one, task=spec.task) for one in entry.results if isinstance(one, BaselineResult)]
    metric, unlike = scored_rows.keep_same_metric({" ".join(key): seeds for key, seeds in members.items()})
    kept = {key: seeds for key, seeds in members.items() if seeds and " ".join(key) not in unlike}
    rows = scored_rows.common_rows([one for seeds in kept.values() for one in seeds])
    scored = []
    for entry in curve:
        key = entry.size, entry.name
        if key in kept and rows:
            predictions = scored_rows.build_predictions(kept[key], rows, seeded=entry.kind != "baseline")
            scored.append(replace(entry, predictions=predictions, answers=kept[key][0].answers))
            continue
        more = [unlike[" ".join(key)]] if " ".join(key) in unlike else []
        more += ["no test row has a score of every method"] if key in kept else []
        scored.append(replace(entry, reasons=[*entry.reasons, *more]))
    main = [entry for entry in scored if entry.size == spec.main_size]
    names = [name for name in spec.task.logged_metrics if metric is None or name != metric.name]
    found = build_results(main, scored, labels=(), one_class=None, metric=metric, more_metrics=names, rows=rows)
    return replace(found, numbers={row: float(test[row].label) for row in rows}) if spec.task.predicts_numbers else found


def _predictions_by_name(entries: Sequence[MethodResult]) -> dict[str, Predictions]:
    return {entry.name: entry.predictions for entry in entries if entry.predictions is not None}


def _read_method(
    specs: Sequence[RunSpec], folder: ComparisonFolder, *, reasons: Mapping[str, str], failures: Mapping[str, str]
) -> MethodResult:
    """Return the finished runs of a method, without their predictions."""
    name, size, method = specs[0].method, specs[0].size, get_method(specs[0].method)
    causes = [reasons[name]] if name in reasons else []
    runs, results, best_seconds = [], [], []
    for spec in specs if name not in reasons else ():
        run = RunFolder(folder.run(spec.name))
        if not run.complete:
            causes.append(failures.get(spec.name, f"seed {spec.seed} was not finished"))
            continue
        result = schema.read(RunResult, run.result)
        runs.append(run)
        results.append(result)
        best_seconds += _best_seconds(run, result)
    return MethodResult(
        name=name,
        kind="random" if method.weights == "random" else "pretrained",
        summary=method.summary,
        size=size,
        runs=runs,
        results=results,
        predictions=None,
        confidence=None,
        reasons=list(dict.fromkeys(causes)),
        speed=schema.read(SpeedFile, folder.speed(name)).texts_per_second if folder.speed(name).exists() else None,
        best_seconds=best_seconds,
    )


def _with_classes(entry: MethodResult, *, targets: np.ndarray, classes: Mapping[str, int]) -> MethodResult:
    """Return the entry with the labels that its runs, or the baseline, predict. `classes`: index of each label."""
    if not entry.results:
        return entry
    if isinstance(result := entry.results[0], BaselineResult):
        chosen = np.array([[classes[label] for label in result.predicted]])
        confidence = np.array([result.probability])
        return replace(entry, predictions=Predictions(chosen, targets, seeded=False), confidence=confidence)
    read = [_read_predictions(run, targets=targets, classes=classes) for run in entry.runs]
    chosen, scores, confidence = map(np.stack, zip(*read, strict=True))
    return replace(entry, predictions=Predictions(chosen, targets, row_scores=scores), confidence=confidence)


def _read_predictions(
    run: RunFolder, *, targets: np.ndarray, classes: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (class, score, probability of the class) for every test row. Raise `UserError` if the run has other test rows."""
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
    name: str, size: str, folder: ComparisonFolder, spec: ComparisonSpec, *, failures: Mapping[str, str]
) -> MethodResult:
    path = folder.baseline(name)
    result = schema.read(BaselineFile, path).sizes[size] if path.exists() else None
    return MethodResult(
        name=name,
        kind="baseline",
        summary=spec.baselines[name],
        size=size,
        runs=[],
        results=[result] if result else [],
        predictions=None,
        confidence=None,
        reasons=[] if result else [failures.get(name, "was not finished")],
    )


def build_method_rows(results: ComparisonResults, folder: ComparisonFolder) -> list[MethodRow]:
    """Build a row for each method and baseline with the largest training set, the best first."""
    best = results.measured[0].name if results.measured else None
    return [_build_method_row(results, entry, best=best, folder=folder) for entry in results.entries]


def _build_method_row(
    results: ComparisonResults, entry: MethodResult, *, best: str | None, folder: ComparisonFolder
) -> MethodRow:
    summary = results.summaries.get(entry.name)
    pair = results.pair(entry.name, best) if summary and best and best != entry.name else None
    score, interval = (summary.score, summary.score_ci95) if summary else (None, None)
    of_seeds = entry.predictions.scores.of_seeds.tolist() if entry.predictions else []
    is_accuracy = results.has_classes
    return MethodRow(
        method=entry.name,
        kind=entry.kind,
        summary=entry.summary,
        status="measured" if not entry.reasons else "partly measured" if summary else "not measured",
        message="; ".join(entry.reasons),
        score=score,
        score_ci95=interval,
        scores=of_seeds,
        test_metrics=entry.test_metrics(results.more_metrics),
        accuracy=score if is_accuracy else None,
        accuracy_ci95=interval if is_accuracy else None,
        macro_f1=summary.macro_f1 if summary else None,
        macro_f1_ci95=summary.macro_f1_ci95 if summary else None,
        accuracies=of_seeds if is_accuracy else None,
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
        confusion=confusions.list_matrix(entry, num_labels=len(results.labels)) if is_accuracy else None,
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
            row = CurveRow(method=entry.name, size=entry.size, num_train=entry.num_train, **vars(summary))
            accuracy = {"accuracy": row.score, "accuracy_ci95": row.score_ci95} if results.has_classes else {}
            rows.append(row.model_copy(update=accuracy))
    return rows


def build_disagreement_rows(results: ComparisonResults, folder: ComparisonFolder, spec: ComparisonSpec) -> list[DisagreementRow]:
    """Build the test rows that the methods (by most of their seeds) label differently, those with the most labels first.

    Where predictions are no classes: the rows on which the scores of the methods differ, the most different first.
    """
    if not results.has_classes:
        return _build_score_differences(results, folder, spec)
    predictions = _predictions_by_name([entry for entry in results.measured if entry.kind != "baseline"])
    if len(predictions) < 2:
        return []
    chosen = np.stack([_majority_of_seeds(one, num_labels=len(results.labels)) for one in predictions.values()])
    _, targets = next(iter(predictions.values())).classes
    found = []
    for index, row in enumerate(folder.read_split(spec.main_size, "test")):
        distinct = len(set(chosen[:, index].tolist()))
        if distinct > 1:
            accuracy = float((chosen[:, index] == targets[index]).mean())
            predicted = {name: results.labels[one] for name, one in zip(predictions, chosen[:, index], strict=True)}
            line = DisagreementRow(text=row.whole_text, label=row.label, place=row.place, predicted=predicted)
            found.append(((-distinct, abs(accuracy - 0.5), index), line))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def _build_score_differences(results: ComparisonResults, folder: ComparisonFolder, spec: ComparisonSpec) -> list[DisagreementRow]:
    entries = [entry for entry in results.measured if entry.kind != "baseline"]
    if len(entries) < 2 or results.rows is None:
        return []
    scores = {entry.name: entry.predictions.scores.values.mean(axis=0) for entry in entries if entry.predictions is not None}
    test, found = folder.read_split(spec.main_size, "test"), []
    for place, number in enumerate(results.rows):
        own = {name: float(values[place]) for name, values in scores.items()}
        apart = max(own.values()) - min(own.values())
        if apart > 0:
            said = {entry.name: entry.answers.get(number, "") for entry in entries}
            row = test[number]
            line = DisagreementRow(text=row.whole_text, label=row.label, place=row.place, predicted=said, scores=own)
            found.append(((-apart, number), line))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def _majority_of_seeds(predictions: Predictions, *, num_labels: int) -> np.ndarray:
    """Return what most seeds predict for each row; of several such labels the one with the lowest number."""
    return np.stack([(predictions.classes[0] == label).sum(axis=0) for label in range(num_labels)]).argmax(axis=0)


def build_notes(
    results: ComparisonResults, spec: ComparisonSpec, *, jobs: int, threads: int, num_test: int | None = None
) -> list[str]:
    """Describe what a reader must know to read the numbers correctly. `num_test`: all test rows."""
    notes = []
    if results.rows is not None and num_test is not None and len(results.rows) < num_test:
        what = f"Scores are of the {len(results.rows):,} of {num_test:,} test rows that all of them have a score of"
        notes.append(f"{what}; --set training.num_generated=N has more answers generated.")
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
