"""Finished members → every way with its accuracy, its uncertainty and its price; who can be told apart from whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from finewright.comparison import spec as comparison_spec
from finewright.comparison import statistics
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.spec import BASELINES, ComparisonSpec, RunSpec
from finewright.comparison.statistics import Pair, Predictions, Summary
from finewright.core.errors import ExitCode, UserError
from finewright.methods import get_method
from finewright.runs.folder import RunFolder
from finewright.tasks import metrics

Kind = Literal["pretrained", "random", "baseline"]
Curve = list[tuple[float, float]]
"""Points (x, y); of training, x is passes over the training rows."""
_NEW_SHARE = 0.3


@dataclass(frozen=True)
class TrainingCurve:
    """What was seen while a run was trained: loss on training batches and accuracy on validation."""

    loss: Curve
    accuracy: Curve

    def smooth_loss(self) -> Curve:
        """Running mean in which a new value has a weight of 0.3."""
        smoothed, mean = [], self.loss[0][1] if self.loss else 0.0
        for at, value in self.loss:
            mean += _NEW_SHARE * (value - mean)
            smoothed.append((at, mean))
        return smoothed


@dataclass(frozen=True)
class MethodResult:
    """One way (or baseline) on one size of the training set.

    `results`: of each finished seed; `confidence`: probability of what was predicted, shape (seeds, rows). Without any
    finished seed `predictions` is None and `reasons` says why.
    """

    name: str
    kind: Kind
    summary: str
    size: str
    runs: list[RunFolder]
    results: list[dict[str, Any]]
    predictions: Predictions | None
    confidence: np.ndarray | None
    reasons: list[str]
    speed: float | None = None

    @property
    def num_train(self) -> int | None:
        """Rows it was trained on."""
        return self.results[0]["num_train"] if self.results else None

    def mean(self, key: str) -> float | None:
        """Mean of a number of the results over seeds; None where there is none."""
        values = [result[key] for result in self.results if result.get(key) is not None]
        return sum(values) / len(values) if values else None

    @cached_property
    def training(self) -> list[TrainingCurve]:
        """Of every run that has its log; read once for all that show it."""
        found = []
        for run in self.runs:
            if not run.metrics.exists():
                continue
            lines = run.read_lines(run.metrics)
            loss = [(line["epoch"], line["loss"]) for line in lines if "loss" in line]
            seen = [(line["epoch"], line["validation"]["accuracy"]) for line in lines if "validation" in line]
            found.append(TrainingCurve(loss, seen))
        return found

    def confusion(self, *, num_labels: int) -> np.ndarray:
        """Test rows by label and predicted label, mean over seeds, shape (labels, labels)."""
        assert self.predictions is not None
        counts = np.zeros((num_labels, num_labels))
        for chosen in self.predictions.chosen:
            np.add.at(counts, (self.predictions.targets, chosen), 1)
        return counts / len(self.predictions.chosen)

    def calibration(self) -> Curve:
        """(mean probability, share that is right) of rows that were about equally sure, all seeds together."""
        if self.confidence is None or self.predictions is None:
            return []
        return metrics.calibration_points(self.confidence.ravel(), self.predictions.right.ravel())

    def calibration_error(self) -> float | None:
        """Expected calibration error on the test rows, mean over seeds."""
        tests = [result["metrics"].get("test", result["metrics"]) for result in self.results if "metrics" in result]
        return sum(test["calibration_error"] for test in tests) / len(tests) if tests else None

    def most(self, key: str) -> Any:
        """The largest over seeds."""
        return max((result[key] for result in self.results if result.get(key) is not None), default=None)


@dataclass(frozen=True)
class ComparisonResults:
    """`entries`: at the main size, the most accurate first, what was not measured last; `curve`: at every size."""

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
        """The tested pair, the difference seen from the first."""
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
    """Everything that is finished, measured on the same test rows."""
    targets = _targets(folder, spec, labels=labels)
    curve = []
    for size in spec.train_sizes:
        for name in spec.candidates:
            members = [RunSpec(name, size, seed) for seed in spec.seeds]
            curve.append(_way(members, folder, targets=targets, labels=labels, reasons=reasons, failures=failures))
        curve += [_baseline(name, size, folder, targets=targets, labels=labels, failures=failures) for name in BASELINES]
    main = [entry for entry in curve if entry.size == spec.main_size]
    found = {entry.name: entry.predictions for entry in main if entry.predictions is not None}
    summaries = statistics.summarise(found, num_labels=len(labels))
    order = {name: -summary.accuracy for name, summary in summaries.items()}
    main.sort(key=lambda entry: order.get(entry.name, 1.0))
    present = {labels[target] for target in set(targets.tolist())}
    return ComparisonResults(
        labels=tuple(labels),
        entries=main,
        curve=curve,
        summaries=summaries,
        curve_summaries=_along(curve, num_labels=len(labels)),
        pairs=statistics.compare_pairs(found),
        one_class=present.pop() if len(present) == 1 else None,
    )


def _along(curve: Sequence[MethodResult], *, num_labels: int) -> dict[tuple[str, str], Summary]:
    """Summaries at every size, by (size, name)."""
    found: dict[tuple[str, str], Summary] = {}
    for size in dict.fromkeys(entry.size for entry in curve):
        here = {entry.name: entry.predictions for entry in curve if entry.size == size and entry.predictions is not None}
        summaries = statistics.summarise(here, num_labels=num_labels)
        found |= {(size, name): summary for name, summary in summaries.items()}
    return found


def _targets(folder: ComparisonFolder, spec: ComparisonSpec, *, labels: Sequence[str]) -> np.ndarray:
    place = RunFolder(folder.data(spec.main_size))
    numbers = {label: index for index, label in enumerate(labels)}
    return np.array([numbers[line["label"]] for line in place.read_lines(place.path / "test.jsonl")])


def _way(
    members: Sequence[RunSpec],
    folder: ComparisonFolder,
    *,
    targets: np.ndarray,
    labels: Sequence[str],
    reasons: Mapping[str, str],
    failures: Mapping[str, str],
) -> MethodResult:
    name, size, kind = members[0].way, members[0].size, get_method(members[0].way)
    told = [reasons[name]] if name in reasons else []
    runs, results, chosen, confidence = [], [], [], []
    for member in members if name not in reasons else ():
        run = RunFolder(folder.run(member.name))
        if not run.complete:
            told.append(failures.get(member.name, f"seed {member.seed} was not finished"))
            continue
        predicted, sure = _predictions(run, targets=targets, labels=labels)
        result = run.read_json(run.result)
        runs.append(run)
        results.append(result | {"best_seconds": best_seconds(run, result)})
        chosen.append(predicted)
        confidence.append(sure)
    speed = folder.read_json(folder.speed(name))["texts_per_second"] if folder.speed(name).exists() else None
    return MethodResult(
        name=name,
        kind="random" if kind.weights == "random" else "pretrained",
        summary=kind.summary,
        size=size,
        runs=runs,
        results=results,
        predictions=Predictions(np.stack(chosen), targets) if chosen else None,
        confidence=np.stack(confidence) if confidence else None,
        reasons=list(dict.fromkeys(told)),
        speed=speed,
    )


def _predictions(run: RunFolder, *, targets: np.ndarray, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(class number, its probability) of every test row; a run on other rows is a `UserError`."""
    numbers, lines = {label: index for index, label in enumerate(labels)}, run.read_lines(run.predictions)
    if [numbers.get(line["label"]) for line in lines] != targets.tolist():
        what = "this run was measured on other test rows than the comparison's"
        raise UserError(what, where=str(run.path), fix="take it away and compare again", code=ExitCode.MISMATCH)
    return np.array([numbers[line["predicted"]] for line in lines]), np.array([line["probability"] for line in lines])


def best_seconds(run: RunFolder, result: Mapping[str, Any]) -> float | None:
    """When the weights that were kept had been reached, between the two nearest times that were logged."""
    if not run.timings.exists():
        return None
    lines = [(0, 0.0), *((line["step"], line["seconds"]) for line in run.read_lines(run.timings))]
    steps, seconds = zip(*sorted(lines), strict=True)
    return float(np.interp(result["best_step"], steps, seconds))


def _baseline(
    name: str, size: str, folder: ComparisonFolder, *, targets: np.ndarray, labels: Sequence[str], failures: Mapping[str, str]
) -> MethodResult:
    path, numbers = folder.baseline(name), {label: index for index, label in enumerate(labels)}
    made = folder.read_json(path)["sizes"][size] if path.exists() else None
    return MethodResult(
        name=name,
        kind="baseline",
        summary=comparison_spec.BASELINES[name],
        size=size,
        runs=[],
        results=[made] if made else [],
        predictions=_once([numbers[label] for label in made["predicted"]], targets) if made else None,
        confidence=np.array([made["probability"]]) if made else None,
        reasons=[] if made else [failures.get(name, "was not finished")],
    )


def _once(chosen: Sequence[int], targets: np.ndarray) -> Predictions:
    """Of a baseline, which no seed could move."""
    return Predictions(np.array([chosen]), targets, seeded=False)


MOST_DISAGREEMENTS = 200
_MEASURED = ("train_seconds", "best_seconds", "planned_seconds")
_LARGEST = ("peak_memory_bytes", "planned_peak_memory_bytes", "artifact_bytes")


def method_rows(standings: ComparisonResults, folder: ComparisonFolder) -> list[dict[str, Any]]:
    """Every way and baseline at the main size, the most accurate first; what was not measured is None."""
    best = standings.measured[0].name if standings.measured else None
    return [_line(standings, entry, best=best, folder=folder) for entry in standings.entries]


def _line(standings: ComparisonResults, entry: MethodResult, *, best: str | None, folder: ComparisonFolder) -> dict[str, Any]:
    summary = standings.summaries.get(entry.name)
    pair = standings.pair(entry.name, best) if summary and best and best != entry.name else None
    first = entry.results[0] if entry.results else {}
    line: dict[str, Any] = {
        "method": entry.name,
        "kind": entry.kind,
        "summary": entry.summary,
        "status": "measured" if not entry.reasons else "partly measured" if summary else "not measured",
        "message": "; ".join(entry.reasons),
        "accuracy": summary and summary.accuracy,
        "accuracy_ci95": summary and list(summary.accuracy_ci95),
        "macro_f1": summary and summary.macro_f1,
        "macro_f1_ci95": summary and list(summary.macro_f1_ci95),
        "accuracies": entry.predictions.right.mean(axis=1).tolist() if entry.predictions else [],
        "seeds": [result["seed"] for result in entry.results if "seed" in result],
        "difference_to_best": pair and pair.difference,
        "p_value": pair and pair.p_value,
        "told_apart_from_best": pair and pair.told_apart,
        "num_train": entry.num_train,
        "trainable_parameters": first.get("trainable_parameters", first.get("parameters")),
        "total_parameters": first.get("total_parameters"),
        "trainable_fraction": first.get("trainable_fraction"),
        "predict_texts_per_second": entry.speed,
        "chosen": first.get("chosen"),
        **_pictures(entry, num_labels=len(standings.labels)),
        "runs": [str(run.path.relative_to(folder.path)) for run in entry.runs],
    }
    return line | {key: entry.mean(key) for key in _MEASURED} | {key: entry.most(key) for key in _LARGEST}


def _pictures(entry: MethodResult, *, num_labels: int) -> dict[str, Any]:
    """What the page draws: rows by label (down) and predicted label, points (mean probability, share that is right), and for
    every run points (passes over the training rows, value)."""
    return {
        "confusion": entry.confusion(num_labels=num_labels).tolist() if entry.predictions else None,
        "calibration": entry.calibration(),
        "calibration_error": entry.calibration_error(),
        "training": [{"loss": one.loss, "validation_accuracy": one.accuracy} for one in entry.training],
    }


def curve_rows(standings: ComparisonResults) -> list[dict[str, Any]]:
    """Accuracy and macro F1 of everything at every size of the training set."""
    lines = []
    for entry in standings.curve:
        summary = standings.curve_summaries.get((entry.size, entry.name))
        if summary:
            numbers = {"accuracy": summary.accuracy, "accuracy_ci95": list(summary.accuracy_ci95)}
            numbers |= {"macro_f1": summary.macro_f1, "macro_f1_ci95": list(summary.macro_f1_ci95)}
            lines.append({"method": entry.name, "size": entry.size, "num_train": entry.num_train, **numbers})
    return lines


def disagreement_rows(standings: ComparisonResults, folder: ComparisonFolder, spec: ComparisonSpec) -> dict[str, Any]:
    """Test rows that the ways label differently (by most of their seeds), the most divided first, and how many there are."""
    candidates = [entry for entry in standings.measured if entry.kind != "baseline" and entry.predictions is not None]
    if len(candidates) < 2:
        return {"disagreements": [], "num_disagreements": 0}
    place = RunFolder(folder.data(spec.main_size))
    rows = place.read_lines(place.path / "test.jsonl")
    said = np.stack([_most_seeds(entry, num_labels=len(standings.labels)) for entry in candidates])
    targets = candidates[0].predictions.targets  # type: ignore[union-attr]
    divided = []
    for index, row in enumerate(rows):
        distinct = len(set(said[:, index].tolist()))
        if distinct > 1:
            right = float((said[:, index] == targets[index]).mean())
            named = {entry.name: standings.labels[pick] for entry, pick in zip(candidates, said[:, index], strict=True)}
            line = {"text": row["text"], "label": row["label"], "from": row["from"], "predicted": named}
            divided.append(((-distinct, abs(right - 0.5), index), line))
    lines = [line for _, line in sorted(divided, key=lambda pair: pair[0])]
    return {"disagreements": lines[:MOST_DISAGREEMENTS], "num_disagreements": len(lines)}


def _most_seeds(entry: MethodResult, *, num_labels: int) -> np.ndarray:
    """What most seeds predict for every row; of several the label with the lowest number."""
    assert entry.predictions is not None
    return np.stack([(entry.predictions.chosen == label).sum(axis=0) for label in range(num_labels)]).argmax(axis=0)


def result_notes(standings: ComparisonResults, spec: ComparisonSpec, *, jobs: int, threads: int) -> list[str]:
    """What a reader must know to read the numbers right."""
    told = []
    if len(spec.seeds) == 1:
        told.append("One seed: intervals and tests are over the test rows alone. Another seed may move every number.")
    short = [entry for entry in standings.measured if entry.kind != "baseline" and len(entry.results) < len(spec.seeds)]
    if short:
        told.append(f"With fewer seeds than the others: {', '.join(entry.name for entry in short)}.")
    if standings.one_class is not None:
        told.append(f"Every test row has the label {standings.one_class!r}.")
    if jobs > 1:
        told.append(f"{jobs} runs went side by side, each with {threads} of the threads: seconds and memory are of such runs.")
    return told
