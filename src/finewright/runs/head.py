"""A new head of a run: its start as a regression on the frozen features, and its end after training on pairs."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finewright.core.units import counted
from finewright.data.packing import EncodedSplit
from finewright.inference import scoring
from finewright.models.head_start import HeadLayers
from finewright.models.prepared import PreparedModel
from finewright.planning import candidates
from finewright.planning.method_plan import Splits
from finewright.runs import before_training
from finewright.runs.context import RunContext
from finewright.runs.session import Session
from finewright.tasks.base import Task
from finewright.tasks.head_weights import HeadNotFitted
from finewright.training import head_start
from finewright.training.loop import TrainingSchedule
from finewright.training.state import Progress

if TYPE_CHECKING:
    from finewright.runs.stages import PreparedRun, SelectedMethod


def start_head(
    context: RunContext, selected: "SelectedMethod", ready: "PreparedRun", opened: Session, splits: Splits
) -> TrainingSchedule:
    """Fit a new head to the frozen features unless a checkpoint has its weights; return the schedule that goes with its start."""
    progress = opened.state.progress
    wanted = selected.training_plan.head_start == "probe" and not ready.base.reuses_head
    if context.settings.training.head_start == "probe" and not wanted and not context.folder.earlier:
        why = "the checkpoint's own head is used" if ready.base.reuses_head else "no regression comes first for it"
        context.notify(f"training.head_start=probe has no effect here: {why}", code="head")
    if wanted and opened.checkpoints.newest is None:
        try:
            with context.stop.at_once(), context.meter.measure():  # nothing is saved yet that a stop could leave incomplete
                fitted = head_start.start_from_probe(
                    ready.model, selected.task, new=ready.base.new, train=splits["train"], test=splits["test"]
                )
        except HeadNotFitted as reason:
            context.notify(f"head: starts at random, as {reason}", code="head")
        else:
            progress.probe = fitted.as_json()
            described = f"{fitted.described or 'a regression'} on the frozen features of {counted(fitted.num_rows, 'text')}"
            described += "" if fitted.described else f", C = {fitted.strength:g}"
            context.notify(f"head: starts as {described}, fitted in {fitted.seconds:.1f} s", code="head")
    probe = progress.probe
    is_own = (
        before_training.starts_as_trained(selected, ready) and len(splits["validation"].ids) >= candidates.LEAST_DECIDING_ROWS
    )
    return replace(
        ready.schedule,
        # a head that was trained may be better than what training makes of it, as a fitted one
        evaluates_start=is_own or (ready.schedule.evaluates_start and (probe is not None or selected.task.evaluates_start)),
        start_loss_spread=None if probe is None else probe["loss_spread"],
    )


def move_scale_into_head(selected: "SelectedMethod", model: PreparedModel) -> "SelectedMethod":
    """Scale the trained head for the saved model where the task scales its targets; return what goes with its outputs.

    The last checkpoint keeps the head as it was: a run that is stopped afterwards does this once again.
    """
    if not selected.task.scales_head:
        return selected
    return replace(selected, task=selected.task.move_scale_into_head(HeadLayers.find(model, new=()).last))


def divide_head_by_scale(task: Task, model: PreparedModel) -> None:
    """Bring the head of a saved model that is trained further back to the scale of the targets."""
    if task.scales_head:
        task.divide_head_by_scale(HeadLayers.find(model, new=()).last)


def fit_head_again(context: RunContext, ready: "PreparedRun", opened: Session, train: EncodedSplit, *, task: Task) -> None:
    """Fit the head to the states as they are now, if training did not go through the head."""
    if ready.model.runtime.objective != "pairs" or not opened.state.progress.step:
        return
    try:
        head_start.start_from_probe(ready.model, task, new=(), train=train, softened=False)
    except HeadNotFitted as reason:
        context.notify(f"head: stays as it was, as {reason}", level="warning", code="head")


def undo_softness(ready: "PreparedRun", opened: Session, validation: EncodedSplit, *, task: Task) -> None:
    """Give a fitted head that is kept without an update its own certainty again: it was softened for a training alone.

    The last checkpoint keeps the softened head: a run that is stopped afterwards does this once again.
    """
    progress = opened.state.progress
    softness = (progress.probe or {}).get("softness", 1.0)
    if softness == 1.0 or progress.best is None:
        return
    HeadLayers.find(ready.model, new=()).multiply_last(1 / softness)
    metrics = scoring.evaluate_split(ready.model, validation, task=task).metrics()
    progress.best = replace(progress.best, metrics=metrics)


def describe_probe(progress: Progress, probe: dict[str, Any]) -> dict[str, Any]:
    """Return what result.json holds of the head's start."""
    fitted = {name: probe[name] for name in ("strength", "num_rows", "seconds")} | {"described": probe.get("described", "")}
    fitted["softness"] = probe.get("softness", 1.0)
    return fitted | {"metrics": {"validation": progress.start_metrics, "test": probe["test"]}}
