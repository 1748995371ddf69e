"""The embedded model on the embedded data, every way: what one learns from it in about two minutes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.comparison import compare
from finewright.comparison.compare import Comparison
from finewright.core import assets
from finewright.methods.base import Method
from finewright.models import hub
from finewright.runs.folder import new_folder
from finewright.runs.run import Run, open_run

DATA = assets.TICKETS
MESSAGES = (
    "The parcel says delivered but my porch is empty, can you find out where it went?",
    "you took the money twice for the same tent, please sort it",
)
_KNOBS = {"training.epochs": 2}
_SHORT = (
    "two passes over the messages for every way, to be done in two minutes: from random weights far more would come of eight, "
    "see docs/learning_rates.md"
)


@dataclass(frozen=True)
class Outcome:
    """What the demo made. `run`: the preferred way's, or the best of those that were trained; it made `predictions`."""

    comparison: Comparison
    run: Run
    predictions: list[dict[str, Any]]

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.comparison.path

    @property
    def picture(self) -> Path:
        """Accuracy against the share that is trained."""
        return self.comparison.folder.picture

    def as_json(self) -> dict[str, Any]:
        """Everything by name, JSON-ready."""
        paths = {"folder": str(self.folder), "picture": str(self.picture), "report": str(self.comparison.page)}
        return {**self.comparison.results, **paths, "run": str(self.run.path), "predictions": self.predictions}


def candidates() -> list[type[Method]]:
    """Every way that needs nothing beyond the plain installation, the preferred one first."""
    return [kind for kind in methods.methods_by_preference() if not kind.needs]


def play(*, out: Path | None = None, options: dict[str, Any] | None = None, on_event: Callable[[Any], None]) -> Outcome:
    """Compare every way on the same rows with one seed, then predict with the preferred one."""
    folder = new_folder(out=out, name="demo")
    named = [kind.name() for kind in candidates()]
    extra: dict[str, Any] = {"methods": named, "seeds": 1, "options": _KNOBS | (options or {})}
    on_event(_SHORT)
    found = compare.compare(DATA, model=hub.EMBEDDED, out=folder, on_event=on_event, **extra)
    trained = {line["method"]: line["runs"] for line in found.methods if line["runs"]}
    preferred = next(name for name in named if name in trained)
    chosen = open_run(folder / trained[preferred][0])
    return Outcome(found, chosen, chosen.predict(MESSAGES))
