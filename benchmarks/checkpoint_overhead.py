"""What reliability costs at its default cadence, beside the updates: GPT-2 small with random weights on the embedded rows.

    python benchmarks/checkpoint_overhead.py [--methods lora,full] [--seconds 900] [--tokens N] [--threads 1] [--model gpt2]

Trains for that long from its first update on, with everything as it is by default, then stops, and prints one JSON object for
each variant, in wall-clock seconds (a save waits for the disk, which processor time would not show):

- `updates`: the updates themselves; validation and planning are not counted anywhere;
- `saves`: commits by what they were for (`cadence`, `best`, `end`): hashing, writing, syncing, sealing logs, the search for
  numbers that are none;
- `per_step`: lines of the logs, the guards over gradients, the random numbers that are kept to repeat an update;
- `verifying`: finding the newest checkpoint and checking every byte of it, once in a life;
- `share_measured`: all but `verifying` as a share of the updates of this run, its last commit (because of the stop) aside;
- `share_at_cadence`: what a long run comes to: the steps' share, and a save every max(60 s, 67 saves' time);
- `share_with_best`: that, and a save for every look at validation, as if each did better than all before.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from plan_accuracy import TICKETS, build


class Stopwatch:
    """Seconds of every call of some functions, by a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.event: Any = None

    @contextlib.contextmanager
    def over(self, where: Any, name: str, label: Callable[[], str]) -> Iterator[None]:
        """Inside, calls of the function are timed."""
        honest = getattr(where, name)

        def timed(*args: Any, **extra: Any) -> Any:
            began = time.perf_counter()
            try:
                return honest(*args, **extra)
            finally:
                self.seconds[label()].append(time.perf_counter() - began)

        with mock.patch.object(where, name, timed):
            yield

    @contextlib.contextmanager
    def over_a_run(self) -> Iterator[None]:
        """Everything that is counted."""
        from finewright.runs import checkpoint_manager, folder, session
        from finewright.training import loop, step

        heard = session.Session.handle_event

        def hear(self_: Any, event: Any) -> None:
            self.event = event
            heard(self_, event)

        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(session.Session, "handle_event", hear))
            for where, name, label in (
                (step.UpdateAttempt, "made", "updates"),
                (step.UpdateAttempt, "__init__", "per_step"),
                (loop._GradientGuard, "check", "per_step"),
                (folder.RunFolder, "append", "per_step"),
                (loop, "_evaluate", "evaluations"),
            ):
                stack.enter_context(self.over(where, name, lambda label=label: label))
            stack.enter_context(self.over(checkpoint_manager.CheckpointManager, "commit", self._commit))
            yield

    def _commit(self) -> str:
        return {"StepCompleted": "cadence", "EvaluationCompleted": "best"}.get(type(self.event).__name__, "end")


def measure(model: str, method: str, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The line of one variant."""
    import finewright
    from finewright.core.interrupts import Interrupted, StopRequest
    from finewright.runs import checkpoint, checkpoint_manager

    watch, stop_request, began = Stopwatch(), StopRequest(), 0.0

    def on_event(event: Any) -> None:
        nonlocal began
        began = began or (time.monotonic() if type(event).__name__ == "StepCompleted" else 0.0)
        if began and time.monotonic() - began > arguments.seconds:
            stop_request.number = 15

    options = {"training.num_threads": arguments.threads, "training.early_stopping_patience": 0, "training.epochs": 1000}
    options |= {"training.tokens_per_micro_batch": arguments.tokens} if arguments.tokens else {}
    with watch.over_a_run(), contextlib.suppress(Interrupted):
        finewright.train(
            TICKETS, model=model, method=method, output_dir=out, options=options, callbacks=[on_event], stop=stop_request
        )
    found = time.perf_counter()
    newest = checkpoint.load_latest(out / "checkpoints", notify=print)
    verifying = time.perf_counter() - found
    assert newest is not None
    return {
        "method": method,
        **told(watch, least=checkpoint_manager.LEAST_SECONDS, most=checkpoint_manager.MOST_SHARE),
        "verifying": verifying,
    } | {"checkpoint_bytes": sum(file.stat().st_size for file in newest.path.iterdir())}


def told(watch: Stopwatch, *, least: float, most: float) -> dict[str, Any]:
    """The shares from what was timed; the last commit came from the stop."""
    kinds = {kind: [one for one in watch.seconds[kind] if one > 1e-4] for kind in ("cadence", "best", "end")}
    every = [one for kind in kinds.values() for one in kind]
    last = kinds["cadence"][-1] if kinds["cadence"] else 0.0
    updates, per_step, save = sum(watch.seconds["updates"]), sum(watch.seconds["per_step"]), statistics.median(every)
    at_cadence = per_step / updates + save / max(least, save / most)
    steps, evaluations = len(watch.seconds["updates"]), len(watch.seconds["evaluations"])
    return {
        "steps": steps,
        "evaluations": evaluations,
        "updates": updates,
        "per_step": per_step,
        "saves": {kind: {"number": len(times), "seconds": sum(times)} for kind, times in kinds.items()},
        "one_save": save,
        "share_measured": (per_step + sum(every) - last) / updates,
        "share_at_cadence": at_cadence,
        "share_with_best": at_cadence + evaluations * save / updates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="gpt2", help="a shape of the catalogue, or mini")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = build(arguments.model, Path(place))
        for method in arguments.methods.split(","):
            print(json.dumps(measure(model, method, Path(place) / method, arguments)), flush=True)


if __name__ == "__main__":
    main()
