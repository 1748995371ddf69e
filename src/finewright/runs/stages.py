"""The stages of a training run, and what was chosen, prepared and measured so far."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from finewright.core import cache, events, files, hardware, oom
from finewright.core.events import DownloadProgress
from finewright.data import checks, packing
from finewright.data.dataset import Dataset
from finewright.data.packing import EncodedSplit
from finewright.data.splits import Example
from finewright.inference import scoring
from finewright.inference.predictor import Predictor
from finewright.methods.base import Method
from finewright.models import acceleration, head_init, hub, loading, meta, prepared
from finewright.models.prepared import PreparedModel
from finewright.planning import defaults, method_plan, plan
from finewright.planning.method_plan import Splits
from finewright.runs import fingerprint, model_folder, request
from finewright.runs.checkpoint_manager import CADENCE
from finewright.runs.folder import RunFolder
from finewright.runs.schema import ChecksFile, PlanFile, RunResult
from finewright.runs.session import Session
from finewright.tasks import metrics
from finewright.tasks.base import Task
from finewright.training import loop, memory_meter
from finewright.training.state import preserving_random_state


class RunStages:
    """State of `pipeline.train`; each public method is one of its stages."""

    source: hub.ModelSource
    planned: method_plan.MethodPlan
    schedule: loop.TrainingSchedule
    base: meta.BaseNetwork
    prepared_model: PreparedModel

    def __init__(
        self, folder: RunFolder, *, run_request: request.RunRequest, session: Session, on_event: Callable[[Any], None]
    ) -> None:
        self.folder = folder
        self.settings = run_request.settings
        self.session = session
        self.on_event = on_event
        self.choices = defaults.Decisions()
        self.machine = hardware.detect()
        self.precision = "float32"
        self.meter = memory_meter.MemoryMeter(self.machine.device)
        self.train_seconds = 0.0
        self.findings: list[checks.Finding] = []

    def notify(self, *sentences: str) -> None:
        """Pass sentences on as events."""
        for sentence in sentences:
            self.on_event(sentence)

    def report_download(self, name: str, done: int, total: int) -> None:
        """Pass the progress of a download on as an event."""
        self.on_event(DownloadProgress(name, done, total))

    def choose_machine(self) -> None:
        """Choose device, precision and number of threads; check the memory budget."""
        self.choices.note("device", self.machine.device, self.machine.device_name)
        self.precision = defaults.choose_precision(self.settings, machine=self.machine, choices=self.choices)
        torch.set_num_threads(defaults.choose_threads(self.settings, machine=self.machine, choices=self.choices))
        plan.resolve_budget(self.settings, device=self.machine.device)  # refuse a malformed one before anything is downloaded

    def report(self, findings: Sequence[checks.Finding]) -> None:
        """Save findings in checks.json, pass the warnings on, raise `UserError` on errors."""
        findings = [finding for finding in findings if finding not in self.findings]  # with `auto` each candidate is checked
        self.findings += findings
        self.folder.write(self.folder.checks, ChecksFile.model_validate({"findings": [one.as_json() for one in self.findings]}))
        checks.raise_on_errors(findings)
        self.notify(*(f"warning: {finding.message} → {finding.fix}" for finding in findings))

    def select_method(
        self,
        source: hub.ModelSource,
        candidates: Sequence[Method],
        *,
        dataset: Dataset,
        task: Task,
        known: dict[str, list[int]],
    ) -> Splits:
        """Select the first candidate that fits, before any weight is loaded, and write its plan to plan.json.

        Raise `UserError` if none fits, unless the run is forced: then the first is selected. `known`: token ids of texts.
        """
        given: dict[str, Any] = {"settings": self.settings, "machine": self.machine, "dataset": dataset, "task": task}
        self._plan_method = partial(method_plan.plan_method, report=self.report, known=known, **given)
        self.planned, peaks = method_plan.select_method(candidates, look=partial(self._plan_method, source))
        fits = self.training_plan.fits
        if len(candidates) > 1:
            reason = self.method.preference_reason or "the first method that fits"
            self.choices.note("method", self.method.name(), reason if fits else "the preferred one; none fits")
            self.notify(*method_plan.describe_left_out(preferred_to=self.method if fits else None))
        self.choices.made += self.planned.choices.made
        self._record_open_options()
        self.notify(*self.choices.sentences(), *(f"warning: {warning}" for warning in self.training_plan.warnings))
        if not self.folder.earlier:
            self.folder.write(self.folder.plan, PlanFile.model_validate(self.training_plan.as_json()))
        self.notify(self.training_plan.sentence())
        if not fits:
            shortage = plan.does_not_fit(peaks, self.training_plan.budget)
            if not self.settings.force and not self.folder.earlier:  # a resumed run continues, in smaller micro-batches if needed
                raise shortage
            self.notify(f"warning: {shortage.what}")
        return self.planned.splits

    def fetch(self) -> hub.ModelSource:
        """Download the model's weights, now that they are known to fit."""
        before = meta.has_pooler(self.planned.source.path)
        self.source = hub.resolve_model(self.settings.model, progress=self.report_download)
        if meta.has_pooler(self.source.path) != before:  # only the weights show whether they include the pooler
            self.planned = self._plan_method(self.source, self.method)
        return self.source

    def _record_open_options(self) -> None:
        """Record the options that a later session must not choose again, as then more or less memory may be free."""
        if self.settings.training.gradient_checkpointing == "auto" and not self.training_plan.setup.gradient_checkpointing:
            self.choices.note("training.gradient_checkpointing", "off", "it fits without")
        if self.settings.training.save_steps is None:
            self.choices.note("training.save_steps", "auto", CADENCE)

    @property
    def method(self) -> Method:
        """The method that was selected."""
        return self.planned.method

    @property
    def training_plan(self) -> plan.TrainingPlan:
        """The training plan of the selected method."""
        return self.planned.training_plan

    def load(self, *, labels: Sequence[str]) -> meta.BaseNetwork:
        """Load the model with its weights in the form that the method needs."""
        method = self.method
        return loading.load_model(
            self.source,
            labels=labels,
            random=method.weights == "random",
            seed=self.settings.seed,
            four_bit=method.quantization(),
            bfloat16=self.precision == "bfloat16",
            device=self.machine.device,
        )

    def prepare(self, base: meta.BaseNetwork, *, rows: Sequence[Example]) -> None:
        """Scale a new head on some training rows, then let the method prepare the network."""
        self.base = base
        self.meter.loaded(base.loaded_bytes)
        self.schedule = replace(self.training_plan.schedule, check_first_loss=not base.reuses_head)
        self.notify(*base.notes)
        if not base.reuses_head:
            packed = self.method.quantization() is not None and self.precision == "bfloat16"
            self.notify(*head_init.scale_head_on_texts(base, [row.text for row in rows], bfloat16=packed))
        self.prepared_model = self.method.prepare(base.network, architecture=base.architecture, head=base.new, origin=base.origin)
        if self.precision == "bfloat16":
            prepared.use_bfloat16(self.prepared_model)
        self.training_plan.apply(self.prepared_model, device=self.machine.device)
        self.notify(
            *self.prepared_model.notes,
            *(acceleration.start_compiling(self.prepared_model) if self.settings.training.compile == "on" else ()),
        )
        assert self.prepared_model.num_head() > 0, "every method trains the head"
        assert self.prepared_model.num_trainable() == self.training_plan.plan.trainable_parameters, (
            "the plan counted the parameters of this network"
        )
        metrics.load_libraries()

    def check_same_run(self, dataset: Dataset) -> None:
        """Raise `UserError` if the run that is resumed differs from the one that was started."""
        settings, splits = request.with_decisions(self.settings, self.choices.made), self.planned.splits
        found = fingerprint.make_fingerprint(
            source=self.source, dataset=dataset, splits=splits, settings=settings, method=self.method, device=self.machine.device
        )
        self.session.check_same_run(found, dataset=dataset)

    def start(self, dataset: Dataset, *, task: Task) -> None:
        """Get ready for the first or the next step; write all options, with the reasons for automatic ones, to config.json."""
        described = {
            "settings": self.settings.model_dump(),
            "method": self.method.name(),
            "method_options": self.method.model_dump(),
            "choices": self.choices.made,
            "model": {"name": self.base.origin.name, "revision": self.base.origin.revision},
            "data_fingerprint": dataset.fingerprint,
            "labels": list(dataset.labels),
            "max_length": self.planned.limit,
            "precision": self.precision,
            "task": task.name,
        }
        self.session.logged_metrics = task.logged_metrics
        self.session.start(
            self.prepared_model,
            schedule=self.schedule,
            settings=self.settings,
            described=described,
            result_bytes=self.training_plan.plan.artifact_bytes,
        )

    def build_frozen_cache(self, splits: Splits) -> None:
        """Compute the outputs of the frozen layers once for texts that are read in every epoch, where the plan says so."""
        with preserving_random_state(self.session.state.device), files.explaining_os_errors(cache.cache_folder()):
            self.meter.hold(self.prepared_model.trainable_module, self.session.state.optimizer)
            self.meter.kept_bytes = self.training_plan.savings.memory_bytes
            self.training_plan.savings.fill(
                self.prepared_model, splits, ("train", "validation"), watch=self.meter.look, notify=self.on_event
            )

    def watch_update(self, index: int, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Return a context for an update, which measures its memory if the plan was made of that update."""
        is_measured = index in self.training_plan.plan.telling_steps
        watched = self.meter.update(self.prepared_model.trainable_module, optimizer) if is_measured else contextlib.nullcontext()
        return self.session.updating(optimizer, watched)

    def build_evaluation(self, encoded: EncodedSplit, *, task: Task) -> Callable[[], dict[str, Any]] | None:
        """Return a function that evaluates the validation split, None without one. Memory of the first evaluation is measured."""

        def evaluate() -> dict[str, Any]:
            first = self.session.state.progress.best is None
            with (
                self.session.stop.at_once(),
                self.meter.look() if first else contextlib.nullcontext(),
            ):  # safe to stop at once: nothing changes inside
                return scoring.evaluate_split(self.prepared_model, encoded, task=task).metrics()

        return evaluate if encoded.ids else None

    def handle_event(self, event: events.Event) -> None:
        """Log the event, pass it on, and stop if that was requested."""
        self.train_seconds = self.session.checkpoints.seconds
        self.meter.peak_bytes = self.session.checkpoints.peak_bytes = max(
            self.meter.peak_bytes, self.session.checkpoints.peak_bytes
        )
        self.session.handle_event(event)
        self.on_event(event)
        self.session.stop_if_requested()

    def restore_best(self) -> None:
        """Restore the weights that scored best on validation."""
        step = self.session.checkpoints.restore_best()
        if step != self.session.state.progress.step:
            self.notify(f"kept the weights of step {step}, the best on validation")

    def predictor(self, task: Task) -> Predictor:
        """Return the trained model as a predictor; afterwards it can no longer be trained."""
        acceleration.freeze_for_inference(self.prepared_model, device=self.machine.device)
        tokenizer, keep_end = self.base.origin.tokenizer, self.settings.data.truncation_side == "left"
        return Predictor(self.prepared_model, tokenizer, task, self.planned.limit, keep_end)

    def test(self, dataset: Dataset, *, splits: Splits, task: Task) -> dict[str, Any]:
        """Return the metrics by split; write predictions.jsonl."""
        best = self.session.state.progress.best
        measured: dict[str, Any] = {"validation": best.metrics} if best else {}
        if dataset.test:
            with self.meter.look():
                measured["test"], lines = scoring.test_split(self.prepared_model, dataset.test, splits["test"], task=task)
            self.folder.write_predictions(lines)
        return measured

    def release(self, splits: Splits) -> None:
        """Release the memory that only training needs: verification loads the model a second time."""
        self.session.state.release()
        splits |= {name: replace(split, kept=None) for name, split in splits.items()}
        oom.release_memory(self.machine.device)

    def summary(
        self, dataset: Dataset, *, task: Task, splits: Splits, measured: dict[str, Any], verification_difference: float
    ) -> RunResult:
        """Return the contents of result.json."""
        progress = self.session.state.progress
        steps = self.schedule.steps[: progress.step]
        packed = not self.prepared_model.architecture.not_packable
        found = {
            "method": self.method.name(),
            "model": self.base.origin.name,
            "model_revision": self.base.origin.revision,
            "task": task.name,
            "seed": self.settings.seed,
            "num_train": len(dataset.train),
            "num_validation": len(dataset.validation),
            "num_test": len(dataset.test),
            "trainable_parameters": self.training_plan.plan.trainable_parameters,
            "head_parameters": self.training_plan.plan.head_parameters,
            "total_parameters": self.planned.shape.total_parameters,
            "trainable_fraction": self.training_plan.plan.trainable_parameters / self.planned.shape.total_parameters,
            "epochs": steps[-1].epochs_done,
            "steps": progress.step,
            "best_step": progress.best.step if progress.best else progress.step,
            "train_seconds": self.train_seconds,
            "examples_per_second": progress.num_rows / self.train_seconds,
            "tokens_per_second": progress.num_tokens / self.train_seconds,
            "trunk_cached": self.training_plan.savings.where is not None,
            **self.session.checkpoints.summary(),
            "padding_fraction": 0.0 if packed else packing.padding_fraction(steps, splits["train"].lengths),
            "peak_memory_bytes": self.meter.peak_bytes,
            "peak_resident_bytes": hardware.peak_resident_bytes(),
            "planned_peak_memory_bytes": self.training_plan.plan.peak_memory_bytes,
            "planned_seconds": self.training_plan.plan.seconds,
            "metrics": measured,
            "artifact_bytes": model_folder.artifact_bytes(self.folder.model),
            "files": model_folder.file_digests(self.folder.model),
            "verification_difference": verification_difference,
            **model_folder.describe_machine(self.machine),
        }
        return RunResult.model_validate(found)
