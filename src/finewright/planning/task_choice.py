"""Which task a run has: as asked for, or what the columns of the data are for."""

from finewright import tasks
from finewright.core.config import AUTO_TASK, RunConfig
from finewright.data.dataset import DatasetCache, Source


def choose_task(settings: RunConfig, source: Source, *, datasets: DatasetCache) -> tuple[RunConfig, str]:
    """Return the settings with the task decided, and a sentence for the user, empty if there is nothing to say.

    `datasets`: keeps what is read for it.
    """
    if settings.task != AUTO_TASK:
        tasks.get_task(settings.task)
        return settings, ""
    kind, reason = datasets.detect_row_kind(source, options=settings.data)
    name = next((name for name in tasks.task_names() if tasks.get_task(name).row_kind == kind), tasks.DEFAULT)
    told = name != tasks.DEFAULT or "--task" in reason  # another reading is likely
    said = f"task: {name}, as {reason}" if told and reason else ""
    return settings.model_copy(update={"task": name}), said
