"""The demo on the embedded model and data: what a few labelled messages are enough for, or all methods on all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.comparison import compare
from finewright.comparison.compare import Comparison
from finewright.comparison.spec import ALL
from finewright.core import assets
from finewright.core.events import Notice
from finewright.inference.model import Prediction
from finewright.methods.base import Method
from finewright.models import hub
from finewright.runs.folder import new_folder
from finewright.runs.run import Run, open_run

DATA = assets.TICKETS
FEW_ROWS = 56
"""Labelled messages of the short demo: eight for each of the seven labels on average."""
MESSAGES = (
    "The parcel says delivered but my porch is empty, can you find out where it went?",
    "you took the money twice for the same tent, please sort it",
)
_OPTIONS_OF_ALL = {"training.epochs": 2}
_NOTE = (
    "two epochs per method, to finish in two minutes; training from random weights would gain much from eight, "
    "see docs/explanation/learning-rates.md"
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo produced. `run`: of the most preferred method that was trained; it made `predictions`."""

    comparison: Comparison
    run: Run
    predictions: "list[Prediction]"

    @property
    def folder(self) -> Path:
        """Folder of all files."""
        return self.comparison.path

    @property
    def picture(self) -> Path:
        """Plot of accuracy against the trained fraction of the parameters."""
        return self.comparison.folder.picture

    def as_json(self) -> dict[str, Any]:
        """Return everything by name, JSON-ready."""
        paths = {"folder": str(self.folder), "picture": str(self.picture), "report": str(self.comparison.page)}
        return {**self.comparison.results, **paths, "run": str(self.run.path), "predictions": self.predictions}


def demo_methods() -> list[type[Method]]:
    """Return the methods that need no optional package, the preferred one first."""
    return [kind for kind in methods.methods_by_preference() if not kind.needs]


def run_demo(
    *,
    every_method: bool = False,
    out: Path | None = None,
    options: dict[str, Any] | None = None,
    on_event: Callable[[Any], None],
) -> DemoResult:
    """Compare methods on the same rows with one seed, then predict with the preferred one.

    `every_method`: all of them on all rows, not the one for few rows, the preferred one and training from scratch on FEW_ROWS.
    """
    folder = new_folder(out=out, name="demo-methods" if every_method else "demo")
    kinds = demo_methods()
    if not every_method:
        for_few_rows = next(kind for kind in kinds if kind.objective == "pairs")
        kinds = [for_few_rows, kinds[0], next(kind for kind in kinds if kind.weights == "random")]
    named = [kind.name() for kind in kinds]
    if every_method:
        on_event(Notice(_NOTE))
    comparison = compare.compare(
        DATA,
        model=hub.EMBEDDED,
        output_dir=folder,
        methods=named,
        seeds=1,
        train_sizes=[ALL if every_method else FEW_ROWS],
        options=(_OPTIONS_OF_ALL if every_method else {}) | (options or {}),
        callbacks=[on_event],
    )
    trained = {row.method: row.runs for row in comparison.methods if row.runs}
    preferred = next(name for name in named if name in trained)
    chosen = open_run(folder / trained[preferred][0])
    return DemoResult(comparison, chosen, chosen.predict(MESSAGES))
