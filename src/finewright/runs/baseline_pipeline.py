"""Fit a baseline as a run of its own: the stages of `pipeline` without a loop, checkpoints and a plan of its cost."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewright.baselines.base import Baseline, BaselineModel, FittedBaseline
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.baselines.predictor import BaselinePredictor
from finewright.core import files, hardware
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.core.events import Callback, Notice
from finewright.core.interrupts import StopRequest
from finewright.core.units import counted
from finewright.data.dataset import Dataset, DatasetCache, Source
from finewright.data.text_pairs import add_pairs, input_of
from finewright.planning import task_choice
from finewright.runs import (
    baseline_card,
    baseline_verify,
    calibration,
    comparators,
    fingerprint,
    intervals,
    model_folder,
    request,
    schema,
    thresholds,
)
from finewright.runs.calibration import CALIBRATION_FILE
from finewright.runs.context import SessionContext, read_data, released_at_end
from finewright.runs.folder import RunFolder, create_run, reopen_run
from finewright.runs.request import BaselineRequest
from finewright.runs.result import describe_session
from finewright.runs.schema import BaselinePlanFile, ColumnsRecord, ModelName, RunConfigFile, RunResult
from finewright.tasks.base import Task

if TYPE_CHECKING:
    from finewright.models.hub import ModelSource


@dataclass(frozen=True)
class BaselineRun:
    """A baseline and what it is fitted to. `source`: the model that it reads, None if it reads none."""

    baseline: Baseline
    dataset: Dataset
    task: Task
    source: "ModelSource | None"
    machine: hardware.Hardware


def train(
    source: Source,
    *,
    settings: RunConfig,
    baseline: Baseline,
    test: Source | None = None,
    out: Path | None = None,
    shared: DatasetCache | None = None,
    on_event: Callback = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Fit a baseline and verify what was saved. Folder, events and errors are those of `pipeline.train`.

    A run that was interrupted starts again from the beginning, which takes seconds.
    """
    shared = shared or DatasetCache()
    settings, said = task_choice.choose_task(settings, source, datasets=shared)
    if said:
        on_event(Notice(said, code="task"))
    asked = request.make_baseline_request(source, test=test, settings=settings, baseline=baseline)
    name = request.default_run_name(source, method=baseline.name(), seed=settings.seed)
    folder = create_run(out=out, name=name, differences=lambda saved: request.request_differences(saved, asked))
    with released_at_end(folder):
        return _run_session(folder, asked, (source, test), shared, on_event=on_event, stop=stop or StopRequest())


def resume(
    path: Path,
    *,
    changes: Sequence[str] = (),
    on_event: Callback = lambda event: None,
    stop: StopRequest | None = None,
) -> RunFolder:
    """Fit the baseline of an unfinished run from the beginning. None of its options may change."""
    if changes:
        what = "a baseline has no option that may change inside a run"
        raise UserError(what, where="--change", fix="start a new run")
    folder, record = reopen_run(path)
    with released_at_end(folder):
        asked = request.read_baseline_request(record)
        return _run_session(
            folder, asked, (asked.source, asked.test), DatasetCache(), on_event=on_event, stop=stop or StopRequest()
        )


def _run_session(
    folder: RunFolder,
    asked: BaselineRequest,
    data: tuple[Source, Source | None],
    shared: DatasetCache,
    *,
    on_event: Callback,
    stop: StopRequest,
) -> RunFolder:
    if folder.complete:
        on_event(Notice("the run is already finished: nothing to do", code="finished"))
        return folder
    if folder.earlier is None:
        folder.write(folder.config, RunConfigFile(request=asked.record()))
    with _process_state_preserved(asked.baseline):
        _run_stages(SessionContext(folder, asked, stop, on_event), asked, data, shared=shared)
    return folder


def _process_state_preserved(baseline: Baseline) -> contextlib.AbstractContextManager[Any]:
    """Keep PyTorch's threads and random state, without loading PyTorch for a baseline that does not use it."""
    if not baseline.reads_model:
        return contextlib.nullcontext()
    from finewright.training.state import preserving_process_state

    return preserving_process_state()


def _run_stages(
    context: SessionContext, asked: BaselineRequest, data: tuple[Source, Source | None], *, shared: DatasetCache
) -> None:
    settings, baseline, encoder = context.settings, asked.baseline, None
    dataset, task = read_data(context, data, shared=shared, check_task=baseline.check_task)
    with context.stage("plan"):
        run = _begin(context, asked, dataset, task)
    with context.stage("load"):
        baseline.load_libraries()
        if run.source is not None:
            known = shared.ids(run.source.name)
            encoder = FrozenEncoder.for_task(run.source, task=run.task, settings=settings, known=known)
    with context.stage("train"):
        began = time.monotonic()
        fitted = baseline.fit(dataset, task=task.name, encoder=encoder)
        seconds = time.monotonic() - began
        context.notify_all(fitted.notes, code="rows")
    _record_choices(context, fitted, encoder)
    _finish(context, run, fitted, seconds=seconds)


def _begin(context: SessionContext, asked: BaselineRequest, dataset: Dataset, task: Task) -> BaselineRun:
    """Find the model if one is read, check that this is the run that was started, and write what is known so far."""
    settings, folder, source = context.settings, context.folder, None
    machine = hardware.describe_cpu()
    if asked.baseline.reads_model:
        import torch

        from finewright.models import default_model, hub
        from finewright.planning import defaults

        name, chosen = default_model.resolve_name(settings.model)
        if chosen is not None:
            context.notify(chosen.sentence(), code="model")
            settings = settings.model_copy(update={"model": name})

        torch.set_num_threads(defaults.choose_threads(settings, machine=machine, choices=defaults.Decisions()))
        source = hub.resolve_model(settings.model, progress=context.report_download)
        if source.note:
            context.notify(source.note, code="model")
    run = BaselineRun(asked.baseline, dataset, task, source, machine)
    found = fingerprint.make_baseline_fingerprint(source=source, dataset=dataset, settings=settings, baseline=asked.baseline)
    if folder.earlier and (then := folder.earlier.fingerprint):
        fingerprint.check_same_run(then, found, dataset=dataset, where=str(folder.path))
    planned = BaselinePlanFile(
        method=asked.baseline.name(),
        model=source.name if source else "",
        num_train=len(dataset.train),
        num_validation=len(dataset.validation),
        num_test=len(dataset.test),
        num_labels=len(task.labels),
        num_characters=sum(len(row.text) for row in dataset.train),
    )
    folder.write(folder.plan, planned)
    rows = f"{planned.num_train:,} / {planned.num_validation:,} / {planned.num_test:,} rows to train / validate / test"
    labels = f"{counted(planned.num_labels, 'label')}, " if planned.num_labels else ""
    context.notify(f"{labels}{rows}", code="plan")
    context.notify(
        f"{run.baseline.name()}: {run.baseline.describe(task.row_kind)}; its time and memory are not planned", code="plan"
    )
    config_file = RunConfigFile(
        request=asked.record(),
        task=task.name,
        settings=settings.model_dump(),
        method=run.baseline.name(),
        method_options=run.baseline.model_dump(mode="json"),
        model=ModelName(name=source.name, revision=source.revision) if source else None,
        data_fingerprint=dataset.fingerprint,
        held_out=list(dataset.held_out),
        labels=list(task.labels),
        columns=ColumnsRecord.of(dataset.columns),
        fingerprint=found,
    )
    folder.write(folder.config, config_file)
    return run


def _record_choices(context: SessionContext, fitted: FittedBaseline, encoder: FrozenEncoder | None) -> None:
    """Write to config.json what fitting chose."""
    choices = [{"option": name, "value": value, "reason": fitted.reason} for name, value in fitted.choices.items()]
    context.notify_all([f"{one['option']} = {one['value']}: {one['reason']}" for one in choices], level="detail", code="choice")
    folder = context.folder
    saved = schema.read(RunConfigFile, folder.config).model_dump() | {"choices": choices}
    if encoder is not None:
        saved |= {"max_length": encoder.limit, "precision": "bfloat16" if encoder.bfloat16 else "float32"}
    folder.write(folder.config, RunConfigFile.model_validate(saved))


def _finish(context: SessionContext, run: BaselineRun, fitted: FittedBaseline, *, seconds: float) -> RunResult:
    """Save the model, score validation and test rows, verify what was saved; write the card and, last, result.json."""
    folder, dataset, model = context.folder, run.dataset, fitted.model
    folder.check_folder()
    with context.stage("save"), files.atomic_folder(folder.model) as draft:
        model.save(draft)
    measured, compared = {}, {}
    with context.stage("evaluate"):
        predictor = _add_intervals(context, run, model)
        if dataset.validation:
            validated = predictor.evaluate(dataset.validation).evaluation
            measured["validation"] = validated.metrics()
            if run.task.fits_thresholds:
                outputs = predictor.score([row.text for row in dataset.validation])
                found = thresholds.fit_for_run(context, run.task, outputs, run.task.targets(dataset.validation))
                predictor, measured["validation"] = BaselinePredictor(model, task=found.task), found.metrics
            if (kept := calibration.describe_confidences(run.task, validated)) is not None:
                folder.write(folder.model / CALIBRATION_FILE, kept)
        if dataset.test:
            tested = predictor.evaluate(dataset.test).evaluation
            measured["test"] = tested.metrics() | {"worst_mistakes": tested.worst_mistakes(dataset.test)}
            folder.write_predictions(add_pairs(tested.prediction_lines(dataset.test), dataset.test))
            wanted = context.settings.training.baselines if run.source else "off"  # a bag of words is not compared with one
            compared = comparators.measure_comparators(dataset, run.task, wanted=wanted)
    with context.stage("verify"):
        threads = _torch_threads() if run.source else 0
        probes = model_folder.find_probes(dataset, run.task)
        difference = baseline_verify.verify_saved_baseline(fitted, folder.model, probes, threads=threads)
    total = model.num_parameters + model.num_frozen_parameters
    result = RunResult.model_validate(
        {
            "method": run.baseline.name(),
            "model": run.source.name if run.source else "",
            "model_revision": run.source.revision if run.source else "",
            **describe_session(context, dataset, run.task, machine=run.machine, measured=measured, compared=compared),
            "trainable_parameters": model.num_parameters,
            "head_parameters": model.num_parameters if run.source else 0,
            "total_parameters": total,
            "trainable_fraction": model.num_parameters / total,
            "epochs": 0.0,
            "steps": 0,
            "best_step": 0,
            "train_seconds": seconds,
            "verification_difference": difference,
        }
    )
    hub_id = run.source.name if run.source and run.source.revision else ""
    described = {"baseline": run.baseline, "model": model, "columns": dataset.columns}
    baseline_card.write_baseline_card(folder.model, result=result, hub_id=hub_id, **described)
    folder.write(folder.result, result)  # last: now the run is complete
    return result


def _add_intervals(context: SessionContext, run: BaselineRun, model: BaselineModel) -> BaselinePredictor:
    """Return the predictor of the model, whose predictions have intervals where the task has some."""
    task, rows = run.task.move_scale_into_head(None), run.dataset.validation
    if not task.scales_head:
        return BaselinePredictor(model, task=task)
    outputs = BaselinePredictor(model, task=task).score([input_of(row) for row in rows]) if rows else None
    return BaselinePredictor(model, task=intervals.write_errors(context, task, outputs, task.targets(rows)))


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
