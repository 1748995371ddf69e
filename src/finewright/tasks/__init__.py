"""The tasks, one file each. The folder is the registry: a task's name is its file name with hyphens."""

import difflib
import importlib
import pkgutil
from typing import Any

from finewright.core.config import AUTO_TASK, DEFAULT_TASK
from finewright.core.errors import UserError
from finewright.tasks.base import Task

_HELPER_MODULES = (
    "answer_metrics",
    "base",
    "calibration",
    "card_words",
    "choice_metrics",
    "discriminant_analysis",
    "entity_metrics",
    "evaluation",
    "head_weights",
    "label_checks",
    "label_levels",
    "label_thresholds",
    "language_models",
    "logistic_regression",
    "measures",
    "metrics",
    "multi_label_checks",
    "multi_label_metrics",
    "number_checks",
    "number_metrics",
    "one_vs_rest",
    "pair_bias",
    "preference_losses",
    "preference_rows",
    "resampling",
    "ridge_regression",
    "tag_checks",
)
DEFAULT = DEFAULT_TASK


def task_names() -> list[str]:
    """Return the names of all tasks in alphabetical order."""
    return sorted(
        module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name not in _HELPER_MODULES
    )


def describe_tasks() -> list[dict[str, Any]]:
    """Return all tasks with what is learnt from which columns, ready for JSON."""
    known = map(get_task, task_names())
    return [
        {
            "task": kind.name,
            "summary": kind.summary,
            "columns": list(kind.columns),
            "metric": kind.metric.name,
            "example_data": kind.example_data,
        }
        for kind in known
    ]


def get_task(name: str) -> type[Task]:
    """Return the class of a task. Raise `UserError` with the closest name if there is none of that name.

    Where there is no data to tell it, `auto` is the default one.
    """
    name = DEFAULT if name == AUTO_TASK else name
    if name not in task_names():
        closest = difflib.get_close_matches(str(name), task_names(), n=1)
        hint = f"did you mean {closest[0]!r}? " if closest else ""
        raise UserError(f"unknown task {name!r}", where="task", fix=f"{hint}known: {', '.join(task_names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    (task,) = (one for one in classes if issubclass(one, Task))
    return task
