"""How the methods of a comparison do on entities of each type."""

from finewright.comparison.results import MethodResult
from finewright.runs.schema import RunResult

Counts = dict[str, dict[str, float]]


def average_f1(entry: MethodResult) -> dict[str, float]:
    """Return the F1 of the entities of each type, mean over seeds; empty where there are no entities."""
    found = _read(entry, "per_type")
    names = dict.fromkeys(name for one in found for name in one)
    return {name: sum(one.get(name, {}).get("f1", 0.0) for one in found) / len(found) for name in names}


def average_confusion(entry: MethodResult) -> Counts:
    """Return how often entities of a type are predicted as which, mean over seeds."""
    found = _read(entry, "type_confusion")
    counts: Counts = {}
    for one in found:
        for label, values in one.items():
            own = counts.setdefault(label, {})
            for name, count in values.items():
                own[name] = own.get(name, 0.0) + count / len(found)
    return counts


def _read(entry: MethodResult, name: str) -> list[Counts]:
    """Return this metric of the test rows of each seed that has it."""
    measured = [one.metrics.test if isinstance(one, RunResult) else one.metrics for one in entry.results]
    dumped = [one.model_dump() for one in measured if one is not None]
    return [one[name] for one in dumped if one.get(name)]
