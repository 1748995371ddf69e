"""The process in which a learner's file is judged: limits first, then the file, then the check. Run by `judge`.

Standard input brings one JSON object: `{"jobs": [{"file", "check"}], "results", "cpu_seconds", "memory_bytes"}`. One JSON
line a job goes to the file `results`; what the learner's code prints goes where it would go anyway.
"""

import contextlib
import importlib.util
import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from finewright.learn.grading.expectations import Check, Expect

LARGEST_FILE_BYTES = 1 << 30
_NETWORK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind")


class Learner:
    """The learner's module; a name that is not there is a `Missing`, which says so."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self._module)[name]
        except KeyError:
            raise Missing(name) from None


class Missing(Exception):
    """The file lacks a function that the check calls."""


def main() -> None:
    """Judge every job that standard input names."""
    request = json.load(sys.stdin)
    _limit(cpu_seconds=request["cpu_seconds"], memory_bytes=request["memory_bytes"])
    sys.addaudithook(_no_network)
    warnings.simplefilter("ignore")
    with open(request["results"], "a", encoding="utf-8") as results:
        for job in request["jobs"]:
            outcome = judge(Path(job["file"]), Path(job["check"]))
            results.write(json.dumps(outcome) + "\n")
            results.flush()


def judge(file: Path, check: Path) -> dict[str, Any]:
    """Claims and notes of one check over one file; whatever the file does, an answer comes back."""
    started, expect, known = time.monotonic(), Expect(), set(sys.modules)
    sys.path.insert(0, str(file.parent))
    try:
        with _silent():  # libraries have things to say when they are imported; the learner's own words are what matters
            judging = _load(check, "finewright_check")
        _seed()
        judging.check(Learner(_load(file, "learner")), expect)
    except BaseException as error:  # exit() in the file, Ctrl-C and the like are answers too
        expect.claims.append(_claim(error, file))
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(f"{file.parent}{os.sep}"):
                del sys.modules[name]
    claims = [claim.as_json() for claim in expect.claims]
    return {"claims": claims, "notes": expect.notes, "seconds": time.monotonic() - started}


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their own module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing reaches standard output or error, not even from compiled code."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(kept, start=1):
            os.dup2(old, number)
            os.close(old)
        os.close(nowhere)


def _seed() -> None:
    """The same numbers at every check."""
    random.seed(0)
    torch = sys.modules.get("torch")
    if torch:
        torch.manual_seed(0)
        torch.set_num_threads(1)


def _claim(error: BaseException, file: Path) -> Check:
    """What stopped the check, said at the learner's own line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    place = f"line {frames[-1].lineno}, in {frames[-1].name}" if frames else ""
    if isinstance(error, Missing):
        return Check(f"the file has `{error}`", False, "a function or class of that name", "none")
    if isinstance(error, SyntaxError):
        return Check("Python can read the file", False, "Python", f"line {error.lineno}: {error.msg}")
    if isinstance(error, NotImplementedError) and frames:
        where = f"`{frames[-1].name}` (line {frames[-1].lineno})"
        return Check(f"{where} is written", False, "a body in place of NotImplementedError", "not written yet")
    if isinstance(error, SystemExit):
        return Check("the file does not end the program", False, "no exit()", f"exit at {place or 'some place'}")
    said = f"{type(error).__name__}: {error}"[:400]
    if frames:
        return Check("your code runs to its end", False, "no error", f"{place}: {said}")
    return Check("the check can use what your code gives back", False, "values as the docstring says", said)


def _limit(*, cpu_seconds: int, memory_bytes: int) -> None:
    """What the kernel holds the process to, where it can: time, memory, file size."""
    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES)]
    if sys.platform == "linux":  # private memory; address space would count what is merely mapped
        wanted.append((resource.RLIMIT_DATA, memory_bytes))
    for kind, value in wanted:
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, hard))


def _no_network(event: str, _: tuple[Any, ...]) -> None:
    """Python's own sockets are refused, for good: an audit hook cannot be taken away."""
    if event in _NETWORK:
        raise PermissionError(f"a check runs without a network ({event})")


if __name__ == "__main__":
    main()
