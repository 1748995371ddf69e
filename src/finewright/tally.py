"""What a comparison found, as plain numbers for results.json."""

from typing import Any

import numpy as np

from finewright.dossier import Folder
from finewright.roster import Spec
from finewright.run import RunFolder
from finewright.standings import Entry, Standings

MOST_DISAGREEMENTS = 200
_MEASURED = ("train_seconds", "best_seconds", "planned_seconds")
_LARGEST = ("peak_memory_bytes", "planned_peak_memory_bytes", "artifact_bytes")


def methods(standings: Standings, folder: Folder) -> list[dict[str, Any]]:
    """Every way and baseline at the main size, the most accurate first; what was not measured is None."""
    best = standings.measured[0].name if standings.measured else None
    return [_line(standings, entry, best=best, folder=folder) for entry in standings.entries]


def _line(standings: Standings, entry: Entry, *, best: str | None, folder: Folder) -> dict[str, Any]:
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


def _pictures(entry: Entry, *, num_labels: int) -> dict[str, Any]:
    """What the page draws: rows by label (down) and predicted label, points (mean probability, share that is right), and for
    every run points (passes over the training rows, value)."""
    return {
        "confusion": entry.confusion(num_labels=num_labels).tolist() if entry.predictions else None,
        "calibration": entry.calibration(),
        "calibration_error": entry.calibration_error(),
        "training": [{"loss": one.loss, "validation_accuracy": one.accuracy} for one in entry.training],
    }


def curve(standings: Standings) -> list[dict[str, Any]]:
    """Accuracy and macro F1 of everything at every size of the training set."""
    lines = []
    for entry in standings.curve:
        summary = standings.curve_summaries.get((entry.size, entry.name))
        if summary:
            numbers = {"accuracy": summary.accuracy, "accuracy_ci95": list(summary.accuracy_ci95)}
            numbers |= {"macro_f1": summary.macro_f1, "macro_f1_ci95": list(summary.macro_f1_ci95)}
            lines.append({"method": entry.name, "size": entry.size, "num_train": entry.num_train, **numbers})
    return lines


def disagreements(standings: Standings, folder: Folder, spec: Spec) -> dict[str, Any]:
    """Test rows that the ways label differently (by most of their seeds), the most divided first, and how many there are."""
    ways = [entry for entry in standings.measured if entry.kind != "baseline" and entry.predictions is not None]
    if len(ways) < 2:
        return {"disagreements": [], "num_disagreements": 0}
    place = RunFolder(folder.data(spec.main_size))
    rows = place.read_lines(place.path / "test.jsonl")
    said = np.stack([_most_seeds(entry, num_labels=len(standings.labels)) for entry in ways])
    targets = ways[0].predictions.targets  # type: ignore[union-attr]
    divided = []
    for index, row in enumerate(rows):
        distinct = len(set(said[:, index].tolist()))
        if distinct > 1:
            right = float((said[:, index] == targets[index]).mean())
            named = {entry.name: standings.labels[pick] for entry, pick in zip(ways, said[:, index], strict=True)}
            line = {"text": row["text"], "label": row["label"], "from": row["from"], "predicted": named}
            divided.append(((-distinct, abs(right - 0.5), index), line))
    lines = [line for _, line in sorted(divided, key=lambda pair: pair[0])]
    return {"disagreements": lines[:MOST_DISAGREEMENTS], "num_disagreements": len(lines)}


def _most_seeds(entry: Entry, *, num_labels: int) -> np.ndarray:
    """What most seeds predict for every row; of several the label with the lowest number."""
    assert entry.predictions is not None
    return np.stack([(entry.predictions.chosen == label).sum(axis=0) for label in range(num_labels)]).argmax(axis=0)


def notes(standings: Standings, spec: Spec, *, jobs: int, threads: int) -> list[str]:
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
