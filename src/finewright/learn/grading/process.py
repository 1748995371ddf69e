"""The process that grades a learner's file: limits first, then the file, then the check. Run by `grader`.

Standard input brings one JSON object: `{"jobs": [{"file", "check"}], "results", "cpu_seconds", "memory_bytes"}`. One JSON
line per job goes to the file `results`; the learner's code prints to standard output as usual.
"""

import contextlib
import gc
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
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from finewright.learn.grading.expectations import Check, Expect

LARGEST_FILE_BYTES = 1 << 30
_NETWORK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind")


class Learner:
    """The learner's module. A missing name raises `MissingName`."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self._module)[name]
        except KeyError:
            raise MissingName(name) from None


class MissingName(Exception):
    """The file lacks a function that the check calls."""


def main() -> None:
    """Grade every job that standard input names."""
    request = json.load(sys.stdin)
    _set_limits(cpu_seconds=request["cpu_seconds"], memory_bytes=request["memory_bytes"])
    sys.addaudithook(_no_network)
    warnings.simplefilter("ignore")
    with open(request["results"], "a", encoding="utf-8") as results:
        for number, job in enumerate(request["jobs"]):
            outcome = grade_file(Path(job["file"]), Path(job["check"]))
            results.write(json.dumps(outcome) + "\n")
            results.flush()
            if number == 0:
                gc.freeze()  # the libraries that the first check loaded stay for the others: collecting walks past them


def grade_file(file: Path, check: Path) -> dict[str, Any]:
    """Return claims and notes of one check of one file, whatever the file does."""
    started, expect, known = time.monotonic(), Expect(), set(sys.modules)
    sys.path.insert(0, str(file.parent))
    try:
        with _silenced():  # hide what libraries print on import; only the learner's output matters
            judging = _load(check, "finewright_check")
        _seed()
        judging.check(Learner(_load(file, "learner")), expect)
    except BaseException as error:  # exit() and KeyboardInterrupt are results too
        expect.claims.append(_claim(error, file))
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(f"{file.parent}{os.sep}"):
                del sys.modules[name]
    claims = [asdict(claim) for claim in expect.claims]
    return {"claims": claims, "notes": expect.notes, "seconds": time.monotonic() - started}


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Redirect standard output and error to the null device, for compiled code too."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(saved, start=1):
            os.dup2(old, number)
            os.close(old)
        os.close(null)


def _seed() -> None:
    """Seed the random generators."""
    random.seed(0)
    torch = sys.modules.get("torch")
    if torch:
        torch.manual_seed(0)
        torch.set_num_threads(1)


def _claim(error: BaseException, file: Path) -> Check:
    """Return a failed claim for an error, with the line of the learner's file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    place = f"line {frames[-1].lineno}, in {frames[-1].name}" if frames else ""
    if isinstance(error, MissingName):
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
    return Check("the check can use what your code gives back", False, "values as described in the docstring", said)


def _set_limits(*, cpu_seconds: int, memory_bytes: int) -> None:
    """Limit time, memory and file size, as far as the kernel can."""
    wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES)]
    if sys.platform == "linux":  # private memory; address space would count mapped files
        wanted.append((resource.RLIMIT_DATA, memory_bytes))
    for kind, value in wanted:
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, hard))


def _no_network(event: str, _: tuple[Any, ...]) -> None:
    """Refuse Python's sockets. An audit hook cannot be removed."""
    if event in _NETWORK:
        raise PermissionError(f"a check runs without a network ({event})")


if __name__ == "__main__":
    main()
