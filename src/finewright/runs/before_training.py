"""The model before its first update: what it does on the test rows without any training."""

from typing import TYPE_CHECKING, Any

from finewright.inference import scoring
from finewright.planning.method_plan import Splits
from finewright.runs import answers, choices
from finewright.runs.context import RunContext
from finewright.runs.session import Session
from finewright.training.state import Progress, preserving_random_state

if TYPE_CHECKING:
    from finewright.runs.stages import PreparedRun, SelectedMethod


def starts_as_trained(selected: "SelectedMethod", ready: "PreparedRun") -> bool:
    """Whether the model has a head that was trained for these labels, as that of an earlier run, and starts with its weights."""
    return ready.base.reuses_head and selected.method.weights != "random"


def name_start(selected: "SelectedMethod", progress: Progress) -> str:
    """Return what the model was before its first update, in words."""
    is_trained = progress.probe is None and not selected.task.evaluates_start
    return "the model that it began with" if is_trained else selected.task.start


def measure_untuned(
    context: RunContext, selected: "SelectedMethod", ready: "PreparedRun", opened: Session, splits: Splits
) -> None:
    """Score the test rows before the first update, if the model can do the task by then, and keep the metrics.

    It is a baseline, and left out with `training.baselines=off`: a comparison measures it once for all its runs.

    A prompt that is still to be learnt is left out, so that the model is the one that was given.
    """
    progress, task = opened.state.progress, selected.task
    can_do = starts_as_trained(selected, ready) or (task.evaluates_start and selected.method.weights != "random")
    if not can_do or opened.checkpoints.newest is not None:
        return
    if not splits["test"].ids or context.settings.training.baselines == "off":
        return
    plain = answers.without_prompt(ready.model)
    with (
        context.stop.at_once(),
        context.meter.measure(),
        preserving_random_state(opened.state.device),
        context.aside("untuned"),
        opened.checkpoints.paused(),
    ):
        progress.untuned = scoring.evaluate_split(plain, splits["test"], task=task).metrics()
        if not task.generates:
            return
        tokenizer, limit = ready.base.origin.tokenizer, selected.planned.limit
        test = answers.choose_test(selected.dataset, splits["train"], settings=context.settings)
        if test.rows:
            found = answers.generate(context, plain, tokenizer, test, limit=limit, doing="before training")
            progress.untuned_answers = found
            progress.untuned["answers"] = answers.measure(test, found).summarise()
        asked = choices.choose_test(selected.dataset.test)
        if asked.rows:
            chosen = choices.answer(context, plain, tokenizer, asked, limit=limit, doing="before training")
            progress.untuned_choices = chosen.chosen
            progress.untuned["choices"] = asked.score(chosen).summarise()


def describe_untuned(progress: Progress) -> dict[str, Any] | None:
    """Return what result.json holds of the model before its first update; None if it was not measured."""
    if progress.untuned is None:
        return None
    return {"metrics": {"test": progress.untuned, "validation": progress.start_metrics}}
