"""Verify a saved baseline: load it in a new process and compare its scores with the fitted one's."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from finewright import baselines
from finewright.baselines.base import FittedBaseline
from finewright.core.errors import ExitCode, UserError
from finewright.runs import new_interpreter

NUM_PROBES = 32
TOLERANCE = 1e-3
"""Largest difference of a probability, or of a number in standard deviations, from scikit-learn's; its products are in
float32."""


def verify_saved_baseline(fitted: FittedBaseline, folder: Path, texts: Sequence[Any], *, threads: int) -> float:
    """Return the largest difference between the scores of the fitted model and of the one that a new process loads.

    `texts`: as `Task.probes` gives them. `threads`: of PyTorch, 0 for a baseline that does not use it. Raise `UserError` if the
    difference is not 0, or if the model's probabilities or numbers are not scikit-learn's: the run is not finished then.
    """
    probes = texts[:NUM_PROBES]
    inputs = [fitted.model.read_input(one) for one in probes]
    ours = fitted.model.score(inputs)
    apart = np.abs(fitted.model.estimate(ours) - fitted.estimate(inputs)).max()
    if not apart <= TOLERANCE:
        what = "probabilities" if fitted.model.labels else "numbers"
        raise _differ(f"{what} of the model differ by {apart:.2e} from scikit-learn's", folder)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "scores.safetensors"
        request = {"folder": str(folder), "texts": probes, "threads": threads, "out": str(out)}
        new_interpreter.ask("finewright.runs.baseline_verify", request)
        theirs = load_file(out)["scores"]
    difference = float(np.abs(ours - theirs).max())
    if difference != 0:
        raise _differ(f"scores of the saved model differ by {difference:.2e} from the fitted one's", folder)
    return difference


def _differ(what: str, folder: Path) -> UserError:
    fix = "the run is not finished; please report this with the command"
    return UserError(what, where=str(folder), fix=fix, code=ExitCode.MISMATCH)


def answer(request: dict[str, Any]) -> None:
    """Load the model of a request and write its scores."""
    if request["threads"]:
        import torch

        torch.set_num_threads(request["threads"])
    model = baselines.load_model(Path(request["folder"]))
    scores = model.score([model.read_input(one) for one in request["texts"]])
    save_file({"scores": scores}, request["out"])
