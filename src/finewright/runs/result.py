"""What result.json holds of every run, whether a network was trained or a baseline fitted."""

from typing import Any

from finewright.core import hardware
from finewright.data.dataset import Dataset
from finewright.runs import model_folder
from finewright.runs.context import SessionContext
from finewright.tasks.base import Task


def describe_session(
    context: SessionContext,
    dataset: Dataset,
    task: Task,
    *,
    machine: hardware.Hardware,
    measured: dict[str, Any],
    compared: dict[str, Any],
) -> dict[str, Any]:
    """Return the data, the metrics, the saved files and the machine. `measured`: metrics by split. `compared`: of baselines."""
    review = task.review_threshold(measured.get("validation", {}))
    model = context.folder.model
    return {
        "task": task.name,
        "seed": context.settings.seed,
        "num_train": len(dataset.train),
        "num_validation": len(dataset.validation),
        "num_test": len(dataset.test),
        "stage_seconds": context.stage_seconds,
        "peak_resident_bytes": hardware.peak_resident_bytes(),
        "metrics": measured,
        "review": {"threshold": review[0], "reason": review[1]} if review else None,
        "baselines": compared,
        "artifact_bytes": model_folder.artifact_bytes(model),
        "files": model_folder.file_digests(model),
        **model_folder.describe_machine(machine),
    }
