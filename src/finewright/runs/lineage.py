"""The runs that a model went through before the one that trains it now, the first one first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.inference.base_run import find_run
from finewright.runs import schema
from finewright.runs.schema import Artifact, RunConfigFile, RunResult


class EarlierRun(Artifact):
    """A run that a model went through before it was trained on. `objective`: the loss of preference tuning, by name, else empty.
    `loss`: on its test rows, else on its validation rows."""

    run: str
    task: str
    method: str
    model: str
    data: str
    data_fingerprint: str = ""
    objective: str = ""
    loss: float | None = None

    def describe(self) -> str:
        """Return one line about it."""
        measured = "" if self.loss is None else f", loss {self.loss:.4g}"
        task = f"{self.task}, {self.objective}," if self.objective else self.task
        return f"{self.run} ({task} by {self.method} on {self.data}{measured})"


def read_lineage(model: str) -> list[dict[str, Any]]:
    """Return the runs behind a model, by its name, as config.json and result.json hold them; none if it is no finished run's.

    No path of this machine is part of it.
    """
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
    return [*result.lineage, schema.dump(found)]


def _objective(config: RunConfigFile) -> str:
    """Return the loss of preference tuning, as asked for or chosen; empty in other runs."""
    if config.task != "preference":
        return ""
    asked = (config.settings.get("preference") or {}).get("loss")
    return str(asked or next((choice.value for choice in config.choices if choice.option == "preference.loss"), ""))


def describe_lineage(lineage: Sequence[Mapping[str, Any]]) -> str:
    """Return the line of the model card's table; empty without earlier runs."""
    if not lineage:
        return ""
    runs = "; ".join(EarlierRun.model_validate(one).describe() for one in lineage)
    return f"| trained before | {runs} |\n"
