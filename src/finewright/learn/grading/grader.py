"""Grade a learner's file in its own process, with limits on time, memory and network."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from finewright.learn.grading.expectations import Check

KEPT_OUTPUT = 8000
_WITHOUT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "CUDA_VISIBLE_DEVICES": ""}
_QUIET = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Attempt:
    """A file and the check that grades it."""

    file: Path
    check: Path


@dataclass(frozen=True)
class GradeResult:
    """The result of a check. `output`: the end of what the file printed."""

    claims: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    output: str = ""

    @property
    def passed(self) -> bool:
        """Return whether there are claims and all hold."""
        return bool(self.claims) and all(claim.ok for claim in self.claims)

    @property
    def wrong(self) -> str:
        """Return the first known mistake that a claim revealed."""
        return next((claim.wrong for claim in self.claims if claim.wrong), "")

    def as_json(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        claims = [asdict(claim) for claim in self.claims]
        return {"passed": self.passed, "wrong": self.wrong, "claims": claims, "notes": self.notes, "seconds": self.seconds}


def grade(jobs: Sequence[Attempt], *, seconds: int, memory_mb: int) -> list[GradeResult]:
    """Return one result per job, in order. Jobs share a process, so torch is imported once; `seconds` is for all of them."""
    with tempfile.TemporaryDirectory(prefix="finewright-check-") as place:
        results = Path(place) / "results.jsonl"
        request = {
            "jobs": [{"file": str(job.file.resolve()), "check": str(job.check.resolve())} for job in jobs],
            "results": str(results),
            "cpu_seconds": seconds,
            "memory_bytes": memory_mb << 20,
        }
        output, ending = _run(json.dumps(request), place=place, seconds=seconds)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    grades = []
    for line in lines:
        read = json.loads(line)
        claims = [Check(**claim) for claim in read["claims"]]
        grades.append(GradeResult(claims, read["notes"], read["seconds"], output))
    stopped = Check("the check comes to its end", False, f"within {seconds} s and {memory_mb:,} MB", ending)
    return grades + [GradeResult([stopped], output=output)] * (len(jobs) - len(grades))


def _run(request: str, *, place: str, seconds: int) -> tuple[str, str]:
    """Return (the end of what was printed, how the process ended)."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "finewright.learn.grading.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=place,
        env={"HOME": place, **os.environ, **_WITHOUT, **_QUIET},
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    kept = bytearray()
    reader = threading.Thread(target=_keep_end, args=(child.stdout, kept), daemon=True)
    reader.start()
    try:
        child.stdin.write(request.encode())
        child.stdin.close()
        code = child.wait(timeout=seconds)
        ending = _ending(code)
    except subprocess.TimeoutExpired:
        ending = f"stopped after {seconds} s: an endless loop?"
    except BrokenPipeError:
        ending = "the process could not start"
    finally:
        _end(child)  # also processes that the learner's code started
    reader.join(timeout=2)
    return bytes(kept).decode("utf-8", "replace"), ending


def _ending(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "too much processor time: an endless loop?"
    if code == -signal.SIGKILL:
        return "killed, most likely for its memory"
    return f"the process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    """Read a stream so that its pipe never fills up, and keep its end."""
    with stream:
        while piece := os.read(stream.fileno(), 4096):  # returns what is available
            kept += piece
            del kept[:-KEPT_OUTPUT]
