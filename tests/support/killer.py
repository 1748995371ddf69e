"""Runs that are killed at random instants, again and again, until they finish: what must come out equal, and how often it does.

    python tests/support/killer.py KILLS [SEED] [labels | language | preference]

The last word says what the runs learn: labels, answers, or which of two answers is preferred. Everything is imported once; each
session is a fork that a SIGKILL ends. Prints one JSON object.
"""

import contextlib
import functools
import gc
import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from finewright.runs.folder import RunFolder
from finewright.training import memory_meter
from support import chats, preferred, sessions

METHODS = ("freeze", "lora", "prompt", "full")
MOST_KILLS = 4
"""A run is killed at most so often; then it may finish."""


def _place(kind: str, root: Path) -> Path:
    """A model and data of a kind."""
    if kind == "preference":
        return preferred.place(root)
    sessions.place(root)
    chats.folder(root / "chats")
    return root


def _train(kind: str, root: Path, out: Path, **options: Any) -> None:
    """One session of a run. Those of language models are evaluated before the first update, and answer test prompts."""
    if kind == "preference":
        preferred.train(root, out, **options)
    elif kind == "language":
        sessions.train(root, out, source="chats", **options | {"max_steps": 6, "tokens_per_micro_batch": 400, "num_generated": 2})
    else:
        sessions.train(root, out, **options | {"early_stopping_patience": 3})


@contextlib.contextmanager
def unwatched(device: str) -> Iterator[memory_meter.MemoryReading]:
    """The profiler has threads, which a fork does not take along."""
    yield memory_meter.MemoryReading()


def run_session(work: Callable[[], Any], *, seconds: float | None) -> int | None:
    """Return the exit code of a forked session, None if it was killed after `seconds`."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if seconds is not None:
        ended = os.pidfd_open(child)
        if not select.select([ended], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(ended)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def run_with_kills(
    work: Callable[[], Any], *, instants: Iterable[float], counts: dict[str, int], reached: Callable[[], int]
) -> int | None:
    """Return the exit code of a run's last session, after sessions that are killed at these instants; count them in `counts`."""
    before, code = 0, None
    for seconds in itertools.chain(instants, [None]):
        code = run_session(work, seconds=seconds)
        if code is not None:
            break
        step = reached()
        counts["kills"] += 1
        counts["stepped_back"] += step < before
        counts["gone_on" if step else "begun_again"] += 1
        before = step
    counts["runs"] += 1
    counts["lost"] += code != 0
    return code


class KillExperiment:
    """Kills one run after the other and counts."""

    def __init__(self, root: Path, *, seed: int, kind: str) -> None:
        self.root, self.dice, self.kind = _place(kind, root), random.Random(seed), kind
        self.counts = dict.fromkeys(("kills", "runs", "lost", "different", "stepped_back", "gone_on", "begun_again"), 0)
        self.expected: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}

    def train(self, out: Path, *, method_name: str, save_steps: int | None) -> None:
        """One session of a run with an accumulated update."""
        _train(self.kind, self.root, out, method_name=method_name, save_steps=save_steps, gradient_accumulation_steps=2)

    def reference(self, method_name: str) -> None:
        """Compute the result of an uninterrupted run of a method, and the duration of a session in a fork."""
        whole, again = (RunFolder(self.root / f"{name}-{method_name}") for name in ("whole", "again"))
        self.train(whole.path, method_name=method_name, save_steps=None)
        began = time.monotonic()
        assert run_session(lambda: self.train(again.path, method_name=method_name, save_steps=1), seconds=None) == 0
        self.seconds[method_name] = time.monotonic() - began
        self.expected[method_name] = sessions.made(whole)
        assert sessions.made(again) == self.expected[method_name]

    def run(self, method_name: str, *, kills: int) -> None:
        """One run, killed at most so often, then left to finish."""
        if method_name not in self.expected:  # few kills hit runs of the first methods alone
            self.reference(method_name)
        folder, counts = RunFolder(self.root / "run"), self.counts
        work = functools.partial(self.train, folder.path, method_name=method_name, save_steps=self.dice.choice([1, 2, 3, None]))
        instants = (self.dice.uniform(0, self.seconds[method_name]) for _ in range(kills))  # drawn as sessions start
        code = run_with_kills(work, instants=instants, counts=counts, reached=lambda: folder.committed_step)
        counts["different"] += code == 0 and sessions.made(folder) != self.expected[method_name]
        shutil.rmtree(folder.path)


def run_experiment(root: Path, *, kills: int, seed: int, kind: str) -> dict[str, int]:
    """Kill runs below `root` until so many kills have hit, of each method in turn."""
    work = KillExperiment(root, seed=seed, kind=kind)
    names = METHODS if kind == "labels" else ("lora", "full")
    while work.counts["kills"] < kills:
        work.run(names[work.counts["runs"] % len(names)], kills=min(MOST_KILLS, kills - work.counts["kills"]))
    return work.counts


def main() -> None:
    """The command."""
    kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    kind = sys.argv[3] if len(sys.argv) > 3 else "labels"
    memory_meter.measure_memory = unwatched
    gc.freeze()  # what is imported by now is for ever, here and in every fork
    with tempfile.TemporaryDirectory() as place, sessions.quickly():
        counts = run_experiment(Path(place), kills=kills, seed=seed, kind=kind)
    print(json.dumps({"seed": seed, "kind": kind, **counts}))


if __name__ == "__main__":
    main()
