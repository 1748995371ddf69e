"""What result.json holds of every run, whether a network was trained or a baseline fitted."""

from typing import TYPE_CHECKING, Any

from finewright.core import hardware
from finewright.data.dataset import Dataset
from finewright.runs import model_folder, schema
from finewright.runs.context import RunContext, SessionContext
from finewright.runs.schema import RunConfigFile, RunResult
from finewright.runs.split_metrics import BaselineScore
from finewright.tasks.base import Task

if TYPE_CHECKING:
    from finewright.runs.stages import SelectedMethod, TrainedRun


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
        **_describe_baselines(task, compared),
        "artifact_bytes": model_folder.artifact_bytes(model),
        "files": model_folder.file_digests(model),
        **model_folder.describe_machine(machine),
    }


def _describe_baselines(task: Task, compared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of the baselines by what they are: of labels, of other targets of texts, or of tags of words."""
    if not task.labels_texts:
        return {"tag_baselines": compared}
    return {
        "baselines": {name: one for name, one in compared.items() if _has_score(one)},
        "baseline_metrics": {name: one for name, one in compared.items() if not _has_score(one)},
    }


def _has_score(measured: dict[str, Any]) -> bool:
    """Whether these metrics of a baseline have the one number that it is compared by where a text has one label."""
    return BaselineScore.model_fields.keys() <= measured.keys()


def build_result(
    context: "RunContext",
    selected: "SelectedMethod",
    trained: "TrainedRun",
    *,
    measured: dict[str, Any],
    compared: dict[str, Any],
    verification_difference: float,
) -> RunResult:
    """Return the contents of result.json of a run that trained a network.

    `measured`: metrics by split. `compared`: of baselines, by name.
    """
    from finewright.data import packing  # loads PyTorch, which the run of a baseline may do without
    from finewright.runs import before_training, head

    cost, base = selected.training_plan.plan, trained.prepared.base
    progress, checkpoints = trained.session.state.progress, trained.session.checkpoints
    planned_steps = trained.prepared.schedule.steps
    steps = planned_steps[: progress.step]
    packed = not trained.prepared.model.architecture.not_packable
    found = {
        "method": selected.method.name(),
        "model": base.origin.name,
        "model_revision": base.origin.revision,
        **describe_session(
            context, selected.dataset, selected.task, machine=context.machine, measured=measured, compared=compared
        ),
        "trainable_parameters": cost.trainable_parameters,
        "head_parameters": cost.head_parameters,
        "total_parameters": selected.planned.meta_model.total_parameters,
        "trainable_fraction": cost.trainable_parameters / selected.planned.meta_model.total_parameters,
        "epochs": steps[-1].epochs_done,
        "steps": progress.step,
        "best_step": progress.best.step if progress.best else progress.step,
        "probe": None if progress.probe is None else head.describe_probe(progress, progress.probe),
        "untuned": before_training.describe_untuned(progress),
        "stopped_early": progress.step < len(planned_steps),
        "planned_epochs": planned_steps[-1].epochs_done,
        "planned_steps": len(planned_steps),
        "train_seconds": trained.seconds,
        "cpu_share": trained.cpu_share,
        "examples_per_second": progress.num_rows / trained.seconds,
        "tokens_per_second": progress.num_tokens / trained.seconds,
        "lineage": schema.read(RunConfigFile, context.folder.config).lineage,
        "trunk_cached": selected.training_plan.optimizations.where is not None,
        **checkpoints.summary(),
        "padding_fraction": 0.0 if packed else packing.padding_fraction(steps, selected.planned.splits["train"].lengths),
        "peak_memory_bytes": context.meter.peak_bytes,
        "planned_peak_memory_bytes": cost.peak_memory_bytes,
        "planned_seconds": cost.seconds,
        "verification_difference": verification_difference,
    }
    return RunResult.model_validate(found)
