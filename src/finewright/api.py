"""The verbs for Python: train, open a run, predict."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.core import config
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.core.interrupts import StopRequest
from finewright.data.dataset import DatasetCache
from finewright.methods.base import Method
from finewright.planning import method_plan, report
from finewright.runs import pipeline
from finewright.runs.run import Run, open_run


def _settings(model: str | Path, options: Mapping[str, Any] | None) -> tuple[RunConfig, dict[str, Any]]:
    """All knobs but the way's, and the way's."""
    tree: dict[str, Any] = {}
    for key, value in (options or {}).items():
        config.set_option(tree, key, value)
    method_options = tree.pop("method", {})
    return config.build_options(RunConfig, {"model": str(model), **tree}), method_options


def train(  # noqa: PLR0913  one keyword for each thing a run can be given
    source: str | Path,
    *,
    model: str | Path = config.DEFAULT_MODEL,
    method: Method | type[Method] | str = methods.AUTO,
    test: str | Path | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    shared: DatasetCache | None = None,
    on_event: Callable[[Any], None] = lambda event: None,
    stop: StopRequest | None = None,
) -> Run:
    """Fine-tune `model` on labelled text.

    `knobs`: dotted or nested names, for instance `{"training.learning_rate": 1e-4, "seed": 1}`.

    With `out`, an unfinished run of the same order goes on, and a finished one is handed back. `shared`: rows and token ids
    that other runs of this process need too.
    """
    settings, method_options = _settings(model, options)
    for name, value in (("data", str(source)), ("model", settings.model)):
        if not value.strip() or "\0" in value:
            raise UserError(f"wanted the {name}, found {value!r}", where=name, fix="a path or a hub id")
    if isinstance(method, str):
        candidates = method_plan.candidate_methods(method, options=method_options)
    elif method_options:
        raise UserError(
            "knobs of the method are given twice", where="method", fix="give them to its class, or name the method by a string"
        )
    else:
        candidates = [method() if isinstance(method, type) else method]
    place = Path(out) if out else None
    extra: dict[str, Any] = {"shared": shared, "on_event": on_event, "stop": stop}
    return Run(pipeline.train(source, settings=settings, candidates=candidates, test=test, out=place, **extra))


def resume(
    path: str | Path,
    *,
    changes: Sequence[str] = (),
    on_event: Callable[[Any], None] = lambda event: None,
    stop: StopRequest | None = None,
) -> Run:
    """Go on with the unfinished run at `path`. `changes`: `knob=value` for what may change inside a run, such as `lr=1e-4`."""
    return Run(pipeline.resume(Path(path), changes=changes, on_event=on_event, stop=stop))


def plan(
    source: str | Path | None = None,
    *,
    model: str | Path = config.DEFAULT_MODEL,
    method: Method | type[Method] | str = "all",
    num_labels: int = 2,
    options: Mapping[str, Any] | None = None,
    looking: Callable[[str, int, int], None] = lambda way, number, total: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> report.PlanReport:
    """What every way (or one) would cost, and which fits: from the model's config alone, nothing is loaded.

    `knobs={"memory_budget": "8GB"}`: memory that may be taken; without it, what this machine has free.
    """
    settings, method_options = _settings(model, options)
    if isinstance(method, str):
        kinds = methods.methods_by_preference() if method in ("all", methods.AUTO) else [methods.get_method(method)]
        if len(kinds) > 1 and method_options:
            raise UserError("knobs of a way want one way", where="method", fix="--method NAME, see `finewright methods`")
        candidates = [methods.build_method(kind.name(), method_options) for kind in kinds]
    else:
        candidates = [method() if isinstance(method, type) else method]
    return report.plan_methods(
        source, candidates=candidates, settings=settings, num_labels=num_labels, looking=looking, progress=progress
    )


def predict(path: str | Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Predictions of the run at `path`."""
    return open_run(path).predict(texts)
