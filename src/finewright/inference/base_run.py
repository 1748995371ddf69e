"""A run whose model is trained further: which task it was trained for, told before anything is planned."""

import json
from pathlib import Path

from finewright import tasks
from finewright.core.errors import UserError
from finewright.models import hub
from finewright.models.head_spec import LANGUAGE_MODEL
from finewright.tasks.base import Task

_MODEL_FOLDERS = ("model", "merged")


def find_run(model: str) -> Path | None:
    """Return the folder of the run that a model's name leads to: its own, or that of its model; None if it is no run's."""
    folder = hub.as_path(model)
    for place in (folder, folder.parent if folder.name in _MODEL_FOLDERS else folder):
        if (place / "checks.json").is_file() and (place / "config.json").is_file():
            return place
    return None


def trained_task(model: str) -> str:
    """Return the task that the run of this model was trained for; empty if it is no run's, or its config cannot be read."""
    run = find_run(model)
    if run is None:
        return ""
    try:
        name = json.loads((run / "config.json").read_text(encoding="utf-8")).get("task")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def check_head(model: str, task: Task) -> None:
    """Raise `UserError` if the model is one of a run with another head than a language model's, and the task needs that one."""
    name = trained_task(model)
    if not name or task.auto_model != LANGUAGE_MODEL or name not in tasks.task_names():
        return
    if tasks.get_task(name).auto_model != LANGUAGE_MODEL:
        what = f"this run was trained for {name}: its model has no output layer for {task.name}"
        raise UserError(what, where=model, fix="the base of that run, or a run of text-generation or preference")
