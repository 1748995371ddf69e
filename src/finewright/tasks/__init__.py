"""One file per task; the folder is the registry: the file's name, with hyphens, is what a user types."""

import difflib
import importlib
import pkgutil

from finewright.core.errors import UserError
from finewright.tasks.base import Task

_NO_TASKS = ("base", "metrics")
DEFAULT = "text-classification"


def task_names() -> list[str]:
    """Names of all tasks, in alphabetical order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name not in _NO_TASKS)


def get_task(name: str) -> type[Task]:
    """Return the class of a task; an unknown name is a `UserError` that offers the nearest one."""
    if name not in task_names():
        near = difflib.get_close_matches(str(name), task_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown task {name!r}", where="task", fix=f"{hint}known: {', '.join(task_names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    (task,) = (kind for kind in kinds if issubclass(kind, Task))
    return task
