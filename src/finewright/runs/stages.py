"""The stages of a training run: five functions, each of which returns a frozen result that the next one needs."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from finewright import tasks
from finewright.core import cache, files, hardware, oom
from finewright.core.config import RunConfig
from finewright.core.cpu_share import CpuShare
from finewright.core.errors import UserError
from finewright.core.events import Callback, MemoryMeasured, Notice, RunPlanned
from finewright.core.interrupts import StopRequest
from finewright.data.dataset import Dataset, DatasetCache
from finewright.data.text_pairs import input_of
from finewright.inference import scoring
from finewright.inference.predictor import Predictor
from finewright.methods.base import Method
from finewright.models import (
    acceleration,
    default_model,
    dropout,
    head_init,
    hub,
    loading,
    meta,
    prepared,
)
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import PreparedModel
from finewright.planning import defaults, method_plan, plan
from finewright.planning.candidates import DataSize, is_worth_trying, methods_for_task, order_by_data, tried_methods
from finewright.planning.data_size import measure_size
from finewright.planning.defaults import Decisions
from finewright.planning.method_plan import MethodPlan, Splits
from finewright.runs import (
    after_training,
    answers,
    before_training,
    calibration,
    callbacks,
    comparators,
    fingerprint,
    head,
    intervals,
    lineage,
    method_trials,
    model_card,
    model_folder,
    request,
    schema,
    session,
    thresholds,
    verify,
)
from finewright.runs.calibration import CALIBRATION_FILE, Calibration
from finewright.runs.checkpoint_manager import CADENCE
from finewright.runs.context import RunContext
from finewright.runs.folder import RunFolder
from finewright.runs.request import RunRequest
from finewright.runs.result import build_result
from finewright.runs.schema import Change, PlanFile, RunResult
from finewright.runs.session import Session
from finewright.tasks.base import Task
from finewright.training import loop
from finewright.training.loop import TrainingSchedule
from finewright.training.memory_meter import MemoryMeter
from finewright.training.state import preserving_random_state


@dataclass(frozen=True)
class SelectedMethod:
    """The method of a run, planned for its data. `decisions`: every automatic choice so far. `fingerprint`: see `fingerprint`."""

    dataset: Dataset
    task: Task
    planned: MethodPlan
    source: hub.ModelSource
    decisions: Decisions
    fingerprint: dict[str, Any]

    @property
    def method(self) -> Method:
        """The method that was selected."""
        return self.planned.method

    @property
    def training_plan(self) -> plan.TrainingPlan:
        """Its training plan."""
        return self.planned.training_plan


@dataclass(frozen=True)
class PreparedRun:
    """The model as the method prepared it, on the device, ready for the first or the next update."""

    base: BaseNetwork
    model: PreparedModel
    schedule: TrainingSchedule


@dataclass(frozen=True)
class TrainedRun:
    """The model with its best weights. `seconds`: training time of all sessions, checkpoints included. `cpu_share`: of the
    processor time that this session's training could have had; None on an accelerator, or of very short training."""

    prepared: PreparedRun
    session: Session
    seconds: float
    cpu_share: float | None


def begin(
    run_request: RunRequest, *, folder: RunFolder, changes: Sequence[Change], stop: StopRequest, on_event: Callback
) -> RunContext:
    """Choose model, device, precision and number of threads; check the memory budget."""
    settings, decisions, machine = run_request.settings, Decisions(), hardware.detect()
    is_language_model = tasks.get_task(settings.task).is_language_model()
    name, chosen = default_model.resolve_name(settings.model, is_language_model=is_language_model)
    if chosen is not None:
        decisions.note("model", chosen.name, chosen.explanation)
        on_event(Notice(chosen.sentence(), code="model"))
        settings = settings.model_copy(update={"model": name})
        run_request = replace(run_request, settings=settings)
    decisions.note("device", machine.device, machine.device_name)
    precision = defaults.choose_precision(settings, machine=machine, choices=decisions)
    torch.set_num_threads(defaults.choose_threads(settings, machine=machine, choices=decisions))
    plan.resolve_budget(settings, device=machine.device)  # refuse a malformed one before anything is downloaded
    meter = MemoryMeter(machine.device)
    return RunContext(
        folder=folder,
        request=run_request,
        stop=stop,
        on_event=on_event,
        changes=changes,
        machine=machine,
        precision=precision,
        decisions=decisions,
        meter=meter,
    )


def select_method(context: RunContext, dataset: Dataset, task: Task, *, cache: DatasetCache) -> SelectedMethod:
    """Select the first candidate that fits, before any weight is downloaded or loaded, and write its plan to plan.json.

    Raise `UserError` if none fits, unless the run is forced, or if this is not the run that is resumed.
    """
    settings, machine = context.settings, context.machine
    config_only = hub.resolve_model(settings.model, weights=False, progress=context.report_download)
    plan_method = partial(
        method_plan.plan_method,
        settings=settings,
        machine=machine,
        dataset=dataset,
        task=task,
        report=context.report,
        known=cache.ids(config_only.name),
    )
    candidates, tried = tuple(methods_for_task(context.request.candidates, type(task))), ""
    is_new = not (context.folder.earlier and context.folder.earlier.method)
    if is_new and len(candidates) > 1:
        total = meta.meta_model(config_only, head_spec=task.head_spec, tokenizer=False).total_parameters
        known = {"num_validation": len(dataset.validation), "head_start": settings.training.head_start}
        size = measure_size(config_only, dataset.train, total_parameters=total, **known)
        candidates, tried = order_by_data(candidates, task, size)
        if not tried and is_worth_trying(candidates, task, num_rows=size.num_rows):
            candidates, tried = try_methods(context, dataset, task, size=size, cache=cache)
    planned, decisions = choose_plan(context, plan_one=partial(plan_method, config_only), candidates=candidates, tried=tried)
    source = hub.resolve_model(settings.model, progress=context.report_download)
    if source.note:
        context.notify(source.note, code="model")
    if meta.has_pooler(source.path) != meta.has_pooler(config_only.path):  # only the weights show whether they include it
        planned = plan_method(source, planned.method)
    dataset = planned.dataset
    context.save_example(planned.example)
    found = fingerprint.make_fingerprint(
        source=source,
        dataset=dataset,
        splits=planned.splits,
        settings=request.with_decisions(settings, decisions.made),
        method=planned.method,
        device=machine.device,
    )
    if context.folder.earlier and (then := context.folder.earlier.fingerprint):
        fingerprint.check_same_run(then, found, dataset=dataset, where=str(context.folder.path))
    cost = planned.training_plan.plan
    context.on_event(
        RunPlanned(
            method=planned.method.name(),
            model=source.name,
            rows={"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
            num_labels=len(task.labels),
            trainable_parameters=cost.trainable_parameters,
            total_parameters=planned.meta_model.total_parameters,
            peak_memory_bytes=cost.peak_memory_bytes,
            seconds=cost.seconds,
            may_stop_early=planned.training_plan.schedule.may_stop_early,
            answer_seconds=answers.plan_seconds(planned, settings=settings) if task.generates else 0.0,
        )
    )
    return SelectedMethod(planned.dataset, task, planned, source, decisions, found)


def try_methods(
    context: RunContext, dataset: Dataset, task: Task, *, size: DataSize, cache: DatasetCache
) -> tuple[tuple[Method, ...], str]:
    """Train the methods that suit small data on parts of it; return the candidates with the best one first, and the reason."""
    source = hub.resolve_model(context.settings.model, progress=context.report_download)
    quiet = replace(context, on_event=lambda event: None, meter=MemoryMeter(context.machine.device))
    how = {"machine": context.machine, "task": task, "known": cache.ids(source.name), "report": lambda findings: None}

    def plan_one(method: Method, part: Dataset) -> MethodPlan:
        settings = method_trials.shorten(context.settings, method)
        return method_plan.plan_method(source, method, dataset=part, settings=settings, **how)

    def load(planned: MethodPlan, part: Dataset) -> tuple[PreparedModel, BaseNetwork]:
        ready = prepare_model(quiet, SelectedMethod(part, task, planned, source, Decisions(), {}))
        return ready.model, ready.base

    candidates, trials = methods_for_task(context.request.candidates, type(task)), []
    tried = tried_methods(candidates, size)
    for method in tried if len(tried) > 1 else ():
        context.notify(f"trying {method.name()} on held-out training rows", code="trial")
        try:
            with context.stop.at_once(), preserving_random_state(torch.device(context.machine.device)):
                trials.append(method_trials.try_method(method, dataset, task, plan_one=plan_one, load=load))
        except UserError as error:  # the others are tried all the same; the run itself meets the fault again if it is the data's
            context.notify(f"{method.name()} cannot be tried: {error.what} → {error.fix}", level="warning", code="trial")
            continue
        if trials[-1].is_enough:
            break
    return method_trials.decide(trials, candidates, metric=task.metric, num_rows=len(dataset.train))


def choose_plan(
    context: RunContext, *, plan_one: Callable[[Method], MethodPlan], candidates: Sequence[Method] = (), tried: str = ""
) -> tuple[MethodPlan, Decisions]:
    """Return the plan of the first candidate that fits, and every choice so far; say both.

    `plan_one`: plans a method. `candidates`: in this order instead of the request's. `tried`: why the first one is first, if
    methods were tried on the data. If none fits, raise `UserError`; a forced run takes the first, and a resumed one continues.
    """
    candidates, settings, folder = candidates or context.request.candidates, context.settings, context.folder
    planned, peaks = method_plan.select_method(candidates, plan_one=plan_one)
    method, training_plan = planned.method, planned.training_plan
    decisions = Decisions([*context.decisions.made])
    if len(candidates) > 1:
        is_first = bool(tried) and method is candidates[0]
        reason = tried if is_first else method.preference_reason or "the first method that fits"
        reason += method_plan.describe_missed(candidates[0]) if tried and not is_first else ""
        decisions.note("method", method.name(), reason if training_plan.fits else "the preferred one; none fits")
        if tried and training_plan.fits:
            context.notify(reason if reason.startswith(method.name()) else f"{method.name()}: {reason}", code="trial")
        if not is_first:
            context.notify_all(method_plan.describe_left_out(preferred_to=method if training_plan.fits else None))
    decisions.made += planned.choices.made
    _record_open_options(decisions, settings=settings, training_plan=training_plan)
    context.notify_all(decisions.sentences(), level="detail", code="choice")
    context.notify_all(training_plan.warnings, level="warning", code="plan")
    if not folder.earlier:
        folder.write(folder.plan, PlanFile.model_validate(training_plan.as_json()))
    context.notify(training_plan.sentence(), level="detail", code="plan")
    if not training_plan.fits:
        shortage = plan.does_not_fit(peaks, training_plan.budget)
        if not settings.force and not folder.earlier:  # a resumed run continues, in smaller micro-batches if needed
            raise shortage
        context.notify(shortage.what, level="warning", code="plan")
    return planned, decisions


def _record_open_options(decisions: Decisions, *, settings: RunConfig, training_plan: plan.TrainingPlan) -> None:
    """Record the options that a later session must not choose again, as then more or less memory may be free."""
    if settings.training.gradient_checkpointing == "auto" and not training_plan.setup.gradient_checkpointing:
        decisions.note("training.gradient_checkpointing", "off", "it fits without")
    if settings.training.save_steps is None:
        decisions.note("training.save_steps", "auto", CADENCE)


def prepare_model(context: RunContext, selected: SelectedMethod) -> PreparedRun:
    """Load the weights, scale a new head on some training rows, let the method prepare the network, apply the plan."""
    method, training_plan, bfloat16 = selected.method, selected.training_plan, context.precision == "bfloat16"
    base = loading.load_model(
        selected.source,
        head_spec=selected.planned.meta_model.head_spec,
        random=method.weights == "random",
        seed=context.settings.seed,
        four_bit=method.quantization(),
        bfloat16=bfloat16,
        device=context.machine.device,
    )
    context.meter.loaded(base.loaded_bytes)
    context.notify_all(base.notes, level="detail", code="model")
    if not base.reuses_head:
        packed = method.quantization() is not None and bfloat16
        texts = [input_of(row) for row in selected.dataset.train]
        first = selected.task.first_output
        scaled = head_init.scale_head_on_texts(base, texts, bfloat16=packed, first_output=first)
        context.notify_all(scaled if training_plan.head_start == "random" else [], level="detail", code="model")
    selected.task.complete_model(base.network, base.origin.tokenizer)
    model = method.prepare(base)
    if base.reuses_head:
        head.divide_head_by_scale(selected.task, model)
    if not selected.task.uses_dropout:
        dropout.turn_off_dropout(model.network)
    model.runtime.label_smoothing = context.settings.training.label_smoothing
    model.runtime.embedding_noise = context.settings.training.embedding_noise
    if bfloat16:
        prepared.use_bfloat16(model)
    training_plan.apply(model, device=context.machine.device)
    context.notify_all(model.notes, code="method")
    if context.settings.training.compile == "on":
        context.notify_all(acceleration.start_compiling(model), code="method")
    assert model.num_head() > 0 or not base.architecture.head, "every method trains a new head"
    assert model.num_trainable() == training_plan.plan.trainable_parameters, "the plan counted the parameters of this network"
    selected.task.load_libraries()
    return PreparedRun(base, model, replace(training_plan.schedule, check_first_loss=not base.reuses_head))


def train(context: RunContext, selected: SelectedMethod, ready: PreparedRun) -> TrainedRun:
    """Train from the start or from the newest checkpoint; then restore the weights that scored best on validation."""
    task, splits, model = selected.task, dict(selected.planned.splits), ready.model
    opened = session.open_session(
        context,
        model,
        schedule=ready.schedule,
        fingerprint=selected.fingerprint,
        described=_describe_run(context, selected, ready),
        result_bytes=selected.training_plan.plan.artifact_bytes,
    )
    build_frozen_cache(context, selected, opened, splits)
    schedule = head.start_head(context, selected, ready, opened, splits)
    before_training.measure_untuned(context, selected, ready, opened, splits)
    heard = [
        callbacks.MetricsLogger(
            context.folder,
            opened.checkpoints,
            logging_steps=context.settings.training.logging_steps,
            metrics=task.logged_metrics,
        ),
        callbacks.GradientSpikeWarning(
            partial(context.notify, level="warning", code="gradient"), max_grad_norm=ready.schedule.max_grad_norm
        ),
        callbacks.SplitNotice(partial(context.notify, code="memory")),
        callbacks.CheckpointCallback(opened.checkpoints, context.stop),
        context.on_event,  # after the checkpoint: what the caller hears of is saved
    ]
    seconds, peak_bytes = 0.0, context.meter.peak_bytes
    share = CpuShare()
    with opened.stoppable():
        for event in loop.train(
            model,
            splits["train"],
            task=task,
            schedule=schedule,
            evaluate=_build_evaluation(context, ready, opened, splits, task=task),
            places=[row.where for row in selected.dataset.train],
            state=opened.state,
            watch=partial(_watch_update, context, selected, opened),
        ):
            seconds = opened.checkpoints.seconds
            for callback in heard:
                callback(event)
            if peak_bytes != context.meter.peak_bytes:
                peak_bytes = context.meter.peak_bytes
                context.on_event(MemoryMeasured(peak_bytes))
            opened.stop_if_requested()
    cpu_share = share.measure() if context.machine.device == "cpu" else None
    if opened.state.progress.best is None:
        head.fit_head_again(context, ready, opened, splits["train"], task=task)
    opened.state.progress.best = loop.choose_kept(opened.state.progress, task)
    step = opened.checkpoints.restore_best()
    if step == 0:
        head.undo_softness(ready, opened, splits["validation"], task=task)
        began = before_training.name_start(selected, opened.state.progress)
        context.notify(f"fine-tuning was no better on validation than {began}, which is kept", code="best")
    elif step != opened.state.progress.step:
        context.notify(f"kept the weights of step {step}, the best on validation", code="best")
    return TrainedRun(ready, opened, seconds, cpu_share)


def _describe_run(context: RunContext, selected: SelectedMethod, ready: PreparedRun) -> dict[str, Any]:
    """Return what config.json says of the run: all options, with the reasons for automatic ones."""
    return {
        "settings": context.settings.model_dump(),
        "method": selected.method.name(),
        "method_options": selected.method.model_dump(),
        "choices": selected.decisions.made,
        "model": {"name": ready.base.origin.name, "revision": ready.base.origin.revision},
        "data_fingerprint": selected.dataset.fingerprint,
        "held_out": list(selected.dataset.held_out),
        "columns": schema.ColumnsRecord.of(selected.dataset.columns).model_dump(),
        "labels": list(selected.task.labels),
        "max_length": selected.planned.limit,
        "precision": context.precision,
        "task": selected.task.name,
        "lineage": lineage.read_lineage(context.settings.model),
    }


def build_frozen_cache(context: RunContext, selected: SelectedMethod, opened: Session, splits: Splits) -> None:
    """Compute the outputs of the frozen layers once for texts that are read in every epoch, where the plan says so."""
    state, meter, optimizations = opened.state, context.meter, selected.training_plan.optimizations
    with preserving_random_state(state.device), files.explaining_os_errors(cache.cache_folder()):
        meter.hold(state.prepared_model.trainable_module, state.optimizer)
        meter.cache_bytes = optimizations.memory_bytes
        wait = partial(context.notify, code="waiting")
        optimizations.fill(state.prepared_model, splits, ("train", "validation"), watch=meter.measure, notify=wait)


def _watch_update(
    context: RunContext, selected: SelectedMethod, opened: Session, index: int, optimizer: torch.optim.Optimizer
) -> contextlib.AbstractContextManager[None]:
    """Return a context for an update, which measures its memory if the plan was made of that update."""
    is_measured = index in selected.training_plan.plan.traced_steps
    module = opened.state.prepared_model.trainable_module
    return opened.updating(optimizer, context.meter.update(module, optimizer) if is_measured else contextlib.nullcontext())


def _build_evaluation(
    context: RunContext, ready: PreparedRun, opened: Session, splits: Splits, *, task: Task
) -> Callable[[], dict[str, Any]] | None:
    """Return a function that evaluates the validation split, None without one. Memory of the first evaluation is measured."""
    encoded, train = splits["validation"], splits["train"]

    def evaluate() -> dict[str, Any]:
        head.fit_head_again(context, ready, opened, train, task=task)
        first = opened.state.progress.best is None
        with (
            context.stop.at_once(),
            context.meter.measure() if first else contextlib.nullcontext(),
        ):  # safe to stop at once: nothing changes inside
            return scoring.evaluate_split(ready.model, encoded, task=task).metrics()

    return evaluate if encoded.ids else None


def finish(context: RunContext, selected: SelectedMethod, trained: TrainedRun) -> RunResult:
    """Save the model, score the test rows, verify what was saved; write the card and, last, result.json."""
    folder, base, model = context.folder, trained.prepared.base, trained.prepared.model
    folder.check_folder()
    selected = head.move_scale_into_head(selected, model)
    with context.stage("save"), files.atomic_folder(folder.model) as draft:
        model_folder.save_model(
            draft,
            prepared_model=model,
            method=selected.method,
            origin=base.origin,
            source=selected.source,
            max_length=selected.planned.limit,
            truncation_side=context.settings.data.truncation_side,
        )
    acceleration.freeze_for_inference(model, device=context.machine.device)
    keep_end = context.settings.data.truncation_side == "left"
    predictor = Predictor(model, base.origin.tokenizer, task=selected.task, limit=selected.planned.limit, keep_end=keep_end)
    with context.stage("evaluate"):
        calibrated = intervals.keep_errors(context, _calibrate(context, selected, trained), selected, model)
        measured, record = after_training.score_test_rows(context, selected, trained, calibrated)
        wanted = context.settings.training.baselines
        compared = comparators.measure_comparators(selected.dataset, selected.task, wanted=wanted)
    trained.session.state.release()  # verification loads the model a second time
    oom.release_memory(context.machine.device)
    with context.stage("verify"):
        difference = verify.verify_saved_model(predictor, folder.model, model_folder.find_probes(selected.dataset, selected.task))
    result = build_result(context, selected, trained, measured=measured, compared=compared, verification_difference=difference)
    result = result.model_copy(update={"calibration": record})
    card = {"method": selected.method, "task": selected.task, "columns": selected.dataset.columns}
    model_card.write_card(folder.model, result=result, prepared_model=model, origin=base.origin, **card)
    folder.write(folder.result, result)  # last: now the run is complete
    return result


def _calibrate(context: RunContext, selected: SelectedMethod, trained: TrainedRun) -> Calibration:
    """Return the task with the temperature, or the thresholds, of the validation rows; write them beside the saved model."""
    task, encoded, wanted = selected.task, selected.planned.splits["validation"], context.settings.training.calibrate
    if task.fits_thresholds and encoded.ids:
        with context.meter.measure():
            outputs = scoring.score_split(trained.prepared.model, encoded)
        return thresholds.fit_for_run(context, task, outputs, encoded.targets)
    if not task.has_confidences or not encoded.ids:
        found = calibration.skip_calibration(task, wanted=wanted)
    else:
        rows = calibration.choose_rows(len(encoded.ids), num_labels=len(task.labels))
        with context.meter.measure():
            outputs = scoring.score_rows(trained.prepared.model, encoded, rows)
        found = calibration.calibrate(task, outputs, [encoded.targets[row] for row in rows], wanted=wanted)
    if found.file is not None:
        context.folder.write(context.folder.model / CALIBRATION_FILE, found.file)
    if found.note:
        context.notify(found.note, level=found.level, code="calibration")
    return found
