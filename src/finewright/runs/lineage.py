"""The runs that a model went through before the one that trains it now, the first one first."""

from collections.abc import Sequence
from pathlib import Path

from finewright.core.errors import UserError
from finewright.planning.base_run import find_run
from finewright.runs import schema
from finewright.runs.schema import EarlierRun, RunConfigFile, RunResult


def read_lineage(model: str) -> list[EarlierRun]:
    """Return the runs behind a model, by its name; none if it is no finished run's. No path of this machine is part of it."""
    place = find_run(model)
    if place is None:
        return []
    try:
        config, result = schema.read(RunConfigFile, place / "config.json"), schema.read(RunResult, place / "result.json")
    except UserError:
        return []  # a folder that only looks like a run
    measured = result.metrics.test or result.metrics.validation
    found = EarlierRun(
        run=place.resolve().name,
        task=result.task,
        method=result.method,
        model=Path(result.model).name if Path(result.model).is_absolute() else result.model,
        data=Path(config.request.source).name,
        data_fingerprint=config.data_fingerprint,
        objective=_objective(config),
        loss=None if measured is None else measured.loss,
    )
    return [*result.lineage, found]


def _objective(config: RunConfigFile) -> str:
    """Return the loss of preference tuning, as asked for or chosen; empty in other runs."""
    if config.task != "preference":
        return ""
    asked = (config.settings.get("preference") or {}).get("loss")
    return str(asked or next((choice.value for choice in config.choices if choice.option == "preference.loss"), ""))


def describe_lineage(lineage: Sequence[EarlierRun]) -> str:
    """Return the line of the model card's table; empty without earlier runs."""
    if not lineage:
        return ""
    runs = "; ".join(one.describe() for one in lineage)
    return f"| trained before | {runs} |\n"
