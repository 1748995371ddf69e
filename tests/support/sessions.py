"""Short runs that are stopped and resumed, and what must be equal at their end."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finewright import methods
from finewright.core import events, interrupts
from finewright.core.config import RunConfig, build_options
from finewright.inference import predictor
from finewright.planning import estimator
from finewright.runs import pipeline, verify
from finewright.runs.folder import RunFolder
from support import tiny

OPTIONS = {
    "max_steps": 12,
    "tokens_per_micro_batch": 120,
    "precision": "float32",
    "num_threads": 1,
    "logging_steps": 1,
    "evals_per_epoch": 2,
}


@contextmanager
def quickly():
    """Verify in this process instead of a new one, and make each plan once: neither affects what is saved."""
    honest: Any = estimator.estimate_cost
    plans: dict[Any, Any] = {}

    def cached(prepared_model: Any, **extra: Any) -> Any:
        key = (extra["method"], prepared_model.num_trainable(), len(extra["workload"].steps))
        if key not in plans:
            plans[key] = honest(prepared_model, **extra)
        return plans[key]

    def in_this_process(trained: predictor.Predictor, folder: Path, probes: Any) -> Any:
        again = predictor.Predictor.load(
            folder,
            task=trained.task.name,
            limit=trained.limit,
            keep_end=trained.keep_end,
            bfloat16=trained.prepared_model.runtime.bfloat16,
        )
        return again.score(probes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_in_new_process", in_this_process)
        patch.setattr(estimator, "estimate_cost", cached)
        yield


def place(root: Path) -> Path:
    """A model and data to train on."""
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


def settings(root: Path, **changes: Any) -> RunConfig:
    """Twelve updates over more than one epoch, validation evaluated twice in each."""
    seed = changes.pop("seed", 0)
    data = changes.pop("data", {})
    return build_options(RunConfig, {"model": str(root / "gpt2"), "seed": seed, "training": {**OPTIONS, **changes}, "data": data})


def train(
    root: Path,
    out: Path,
    *,
    method_name: str = "freeze",
    source: str = "tickets.csv",
    options: Any = None,
    on_event: Any = None,
    stop_request: Any = None,
    **changes: Any,
):
    """A run, or the next session of one."""
    method = methods.build_method(method_name, options or {})
    extra = {"on_event": on_event or (lambda event: None), "stop": stop_request}
    return pipeline.train(root / source, settings=settings(root, **changes), candidates=[method], out=out, **extra)


def cut_short(root: Path, out: Path, *, after: int, **extra: Any) -> None:
    """A session that is stopped after so many updates."""
    stop_request = interrupts.StopRequest()

    def on_event(event: Any) -> None:
        if isinstance(event, events.StepCompleted) and event.step == after:
            stop_request.number = 15

    with pytest.raises(interrupts.Interrupted):
        train(root, out, on_event=on_event, stop_request=stop_request, **extra)


def made(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of all that must not depend on how often a run was cut short: weights, optimizer, random numbers, log,
    predictions, metrics."""
    last = max(folder.checkpoints.glob("step-*"))
    state = [last / "trained.safetensors", last / "state.safetensors"]
    files = [folder.metrics, folder.predictions, *folder.model.glob("*.safetensors"), *state]
    found = {str(path.relative_to(folder.path)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
    result = json.loads(folder.result.read_text())
    compared = {key: result[key] for key in ("metrics", "steps", "best_step", "epochs", "verification_difference")}
    return found | {"result": json.dumps(compared, sort_keys=True)}
