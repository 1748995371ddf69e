"""Verify a saved model: load it in a new process and compare its scores with the trained model's."""

import contextlib
import gc
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from finewright.core import quiet
from finewright.core.errors import RESUME, ExitCode, UserError
from finewright.inference.predictor import Predictor
from finewright.runs import new_interpreter
from finewright.runs.workers.clean_process import CleanProcess

TOLERANCE = 1e-5
"""Largest relative difference of scores where the saved weights are a conversion of the trained ones."""


def verify_saved_model(trained: Predictor, folder: Path, probes: Sequence[Any]) -> float:
    """Return the largest difference between the scores of the trained model and of the one that a new process loads.

    Raise `UserError` if it is not 0 (or above TOLERANCE where the method saves a conversion): the run is not finished then.
    `probes`: inputs of the task, JSON-ready.
    The process holds the model a second time, beside the trained one; a lack of memory for it is a `UserError` of its own.
    """
    ours = trained.score(probes)
    theirs = _in_new_process(trained, folder, probes)
    found = trained.task.compare_outputs(ours, theirs)
    difference = found.largest
    bound = 0.0 if trained.prepared_model.exact_reload else TOLERANCE * max(1.0, found.scale)
    if trained.prepared_model.runtime.bfloat16 and not trained.prepared_model.exact_reload:
        bound *= 1000  # the conversion moves the frozen part, which bfloat16 then rounds again
    if not difference <= bound:
        raise UserError(
            f"scores of the saved model differ by {difference:.2e} from the trained one's (allowed: {bound:.0e})",
            where=str(folder),
            fix="the run is not finished; please report this with the command",
            code=ExitCode.MISMATCH,
        )
    return difference


def _in_new_process(trained: Predictor, folder: Path, probes: Sequence[Any]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "scores.safetensors"
        request = {
            "folder": str(folder),
            "task": trained.task.name,
            "data_options": trained.task.data_options(),
            "inputs": list(probes),
            "limit": trained.limit,
            "keep_end": trained.keep_end,
            "bfloat16": trained.prepared_model.runtime.bfloat16,
            "threads": torch.get_num_threads(),
            "device": str(trained.prepared_model.network.device),
            "out": str(out),
        }
        try:
            _answer_in_process.get()(request)
        except UserError as error:
            raise _memory_error(folder) if error.code == ExitCode.OUT_OF_MEMORY else error from None
        return load_file(out)["scores"].numpy()


def _memory_error(folder: Path) -> UserError:
    what = "the model is trained and saved, but memory ran out while it was loaded once more to verify it"
    fix = f"free some memory, then `{RESUME}` repeats the verification; nothing is trained again"
    return UserError(what, where=str(folder), fix=fix, code=ExitCode.OUT_OF_MEMORY)


def answer_in_new_interpreter(request: dict[str, Any]) -> None:
    """Answer the request in a new interpreter."""
    new_interpreter.ask("finewright.runs.verify", request)


_answer_in_process = ContextVar[Callable[[dict[str, Any]], None]]("answer_in_process", default=answer_in_new_interpreter)


@contextlib.contextmanager
def verifying_with(process: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Inside, `process` verifies: a process that exists already and never had the trained weights. Other threads keep theirs."""
    token = _answer_in_process.set(process)
    try:
        yield
    finally:
        _answer_in_process.reset(token)


@contextlib.contextmanager
def process_at_hand() -> Iterator[None]:
    """Inside, a process verifies that is forked now, before anything is trained: it has the libraries already, 3 of 3.5 s.

    Only in a command of ours that has one thread and no accelerator: a fork keeps no other thread, and cannot use a device that
    its parent has opened. Elsewhere a new interpreter verifies.
    """
    taken = _answer_in_process.get() is not answer_in_new_interpreter
    if taken or not quiet.is_process_ours() or not _can_fork():
        yield
        return
    import transformers.modeling_layers  # noqa: F401  every network needs it; it loads SciPy

    gc.freeze()  # what is imported stays: each search for garbage would look at it again, a fifth of a second
    clean = CleanProcess(answer)
    try:
        with verifying_with(clean):
            yield
    finally:
        clean.close()


def _can_fork() -> bool:
    return sys.platform == "linux" and threading.active_count() == 1 and not torch.accelerator.is_available()


def answer(request: dict[str, Any]) -> None:
    """Load the model of a request and write its scores."""
    torch.set_num_threads(request["threads"])
    how = {name: request[name] for name in ("task", "limit", "keep_end", "bfloat16", "device")}
    predictor = Predictor.load(Path(request["folder"]), **how, data_options=request.get("data_options"))
    save_file({"scores": torch.from_numpy(predictor.score(request["inputs"]))}, request["out"])
