"""The stages of a training run: what was chosen, prepared and measured so far."""

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


class Job:
    """State and bookkeeping of `pipeline.train`; each public method is one of its verbs."""

    source: hub.ModelSource
    prospect: method_plan.MethodPlan
    schedule: loop.TrainingSchedule
    base: meta.BaseNetwork
    prepared_model: PreparedModel

    def __init__(self, folder: RunFolder, *, asked: request.RunRequest, life: Session, on_event: Callable[[Any], None]) -> None:
        self.folder = folder
        self.settings = asked.settings
        self.life = life
        self.on_event = on_event
        self.choices = defaults.Decisions()
        self.machine = hardware.detect()
        self.precision = "float32"
        self.meter = memory_meter.MemoryMeter(self.machine.device)
        self.train_seconds = 0.0
        self.findings: list[checks.Finding] = []

    def notify(self, *sentences: str) -> None:
        """Pass sentences on to whoever listens."""
        for sentence in sentences:
            self.on_event(sentence)

    def downloading(self, name: str, done: int, total: int) -> None:
        """Pass on the progress of a download."""
        self.on_event(DownloadProgress(name, done, total))

    def choose_machine(self) -> None:
        """Device, precision and threads."""
        self.choices.note("device", self.machine.device, self.machine.device_name)
        self.precision = defaults.choose_precision(self.settings, machine=self.machine, choices=self.choices)
        torch.set_num_threads(defaults.choose_threads(self.settings, machine=self.machine, choices=self.choices))
        plan.resolve_budget(self.settings, device=self.machine.device)  # a malformed one is refused before anything is fetched

    def report(self, findings: Sequence[checks.Finding]) -> None:
        """Keep findings in checks.json, tell the warnings, stop on errors."""
        findings = [finding for finding in findings if finding not in self.findings]  # with `auto` one looks again
        self.findings += findings
        self.folder.write(self.folder.checks, ChecksFile.model_validate({"findings": [one.as_json() for one in self.findings]}))
        checks.raise_on_errors(findings)
        self.notify(*(f"warning: {finding.message} → {finding.fix}" for finding in findings))

    def choose_way(
        self,
        source: hub.ModelSource,
        candidates: Sequence[Method],
        *,
        dataset: Dataset,
        task: Task,
        known: dict[str, list[int]],
    ) -> Splits:
        """Take the first of the ways that fits, before any weight is loaded; its plan goes into plan.json.

        Where none fits the run stops here, unless it is forced: then the first is taken. `known`: token ids of texts.
        """
        given: dict[str, Any] = {"settings": self.settings, "machine": self.machine, "dataset": dataset, "task": task}
        self._look = partial(method_plan.plan_method, report=self.report, known=known, **given)
        self.prospect, peaks = method_plan.select_method(candidates, look=partial(self._look, source))
        fits = self.training_plan.fits
        if len(candidates) > 1:
            reason = self.method.preference_reason or "the first way that fits"
            self.choices.note("method", self.method.name(), reason if fits else "the preferred one; none fits")
            self.notify(*method_plan.describe_left_out(preferred_to=self.method if fits else None))
        self.choices.made += self.prospect.choices.made
        self._settle_open_knobs()
        self.notify(*self.choices.sentences(), *(f"warning: {warning}" for warning in self.training_plan.warnings))
        if not self.folder.earlier:
            self.folder.write(self.folder.plan, PlanFile.model_validate(self.training_plan.as_json()))
        self.notify(self.training_plan.sentence())
        if not fits:
            shortage = plan.does_not_fit(peaks, self.training_plan.budget)
            if not self.settings.force and not self.folder.earlier:  # what was begun goes on, in smaller passes if need be
                raise shortage
            self.notify(f"warning: {shortage.what}")
        return self.prospect.splits

    def fetch(self) -> hub.ModelSource:
        """The model's weights, now that they are known to fit."""
        before = meta.has_pooler(self.prospect.source.path)
        self.source = hub.resolve_model(self.settings.model, progress=self.downloading)
        if meta.has_pooler(self.source.path) != before:  # only the weights tell whether the pooler is among them
            self.prospect = self._look(self.source, self.method)
        return self.source

    def _settle_open_knobs(self) -> None:
        """What a later life must not choose anew, because then more or less memory may be free."""
        if self.settings.training.gradient_checkpointing == "auto" and not self.training_plan.setup.gradient_checkpointing:
            self.choices.note("training.gradient_checkpointing", "off", "it fits without")
        if self.settings.training.save_steps is None:
            self.choices.note("training.save_steps", "auto", CADENCE)

    @property
    def method(self) -> Method:
        """The way that was chosen."""
        return self.prospect.method

    @property
    def training_plan(self) -> plan.TrainingPlan:
        """What was decided and planned for it."""
        return self.prospect.training_plan

    def load(self, *, labels: Sequence[str]) -> meta.BaseNetwork:
        """The model with its weights, as the way wants them."""
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
        """Settle a fresh head on some training rows, then let the method make the network ready."""
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
        assert self.prepared_model.num_head() > 0, "the head is trained in every way"
        assert self.prepared_model.num_trainable() == self.training_plan.plan.trainable_parameters, "the sketch is the network"
        metrics.load_libraries()

    def insist_same(self, dataset: Dataset) -> None:
        """A run that goes on must be the one that was begun."""
        settings, splits = request.with_decisions(self.settings, self.choices.made), self.prospect.splits
        found = fingerprint.make_fingerprint(
            source=self.source, dataset=dataset, splits=splits, settings=settings, method=self.method, device=self.machine.device
        )
        self.life.insist_same(found, dataset=dataset)

    def begin(self, dataset: Dataset, *, task: Task) -> None:
        """Ready for the first step, or the next one; config.json has every resolved knob and why automatic ones were chosen."""
        described = {
            "settings": self.settings.model_dump(),
            "method": self.method.name(),
            "method_options": self.method.model_dump(),
            "choices": self.choices.made,
            "model": {"name": self.base.origin.name, "revision": self.base.origin.revision},
            "data_fingerprint": dataset.fingerprint,
            "labels": list(dataset.labels),
            "max_length": self.prospect.limit,
            "precision": self.precision,
            "task": task.name,
        }
        self.life.logged_metrics = task.logged_metrics
        known = {"described": described, "result_bytes": self.training_plan.plan.artifact_bytes}
        self.life.begin(self.prepared_model, schedule=self.schedule, settings=self.settings, **known)

    def fill(self, splits: Splits) -> None:
        """Run the frozen lower blocks once over what is read again and again, where that is worth it."""
        with preserving_random_state(self.life.state.device), files.explaining_os_errors(cache.cache_folder()):
            self.meter.hold(self.prepared_model.trainable_module, self.life.state.optimizer)
            self.meter.kept_bytes = self.training_plan.savings.memory_bytes
            self.training_plan.savings.fill(
                self.prepared_model, splits, ("train", "validation"), watch=self.meter.look, notify=self.on_event
            )

    def watching(self, index: int, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Around an update: what it takes is measured, if it is one of those the plan was made of."""
        told = index in self.training_plan.plan.telling_steps
        watched = self.meter.update(self.prepared_model.trainable_module, optimizer) if told else contextlib.nullcontext()
        return self.life.updating(optimizer, watched)

    def evaluation(self, encoded: EncodedSplit, *, task: Task) -> Callable[[], dict[str, Any]] | None:
        """How the engine looks at the validation split; None when there is none. The first look is measured."""

        def look() -> dict[str, Any]:
            first = self.life.state.progress.best is None
            with self.life.stop.at_once(), self.meter.look() if first else contextlib.nullcontext():  # nothing changes inside
                return scoring.evaluate_split(self.prepared_model, encoded, task=task).metrics()

        return look if encoded.ids else None

    def hear(self, event: events.Event) -> None:
        """Write what happened into the run and pass it on."""
        self.train_seconds = self.life.keeper.seconds
        self.meter.peak_bytes = self.life.keeper.peak_bytes = max(self.meter.peak_bytes, self.life.keeper.peak_bytes)
        self.life.hear(event)
        self.on_event(event)
        self.life.end_if_wished()

    def take_best(self) -> None:
        """Go back to the weights that did best on validation."""
        step = self.life.keeper.take_best()
        if step != self.life.state.progress.step:
            self.notify(f"kept the weights of step {step}, the best on validation")

    def predictor(self, task: Task) -> Predictor:
        """The trained model in the form in which it predicts; it is not trained any more."""
        acceleration.freeze_for_inference(self.prepared_model, device=self.machine.device)
        tokenizer, keep_end = self.base.origin.tokenizer, self.settings.data.truncation_side == "left"
        return Predictor(self.prepared_model, tokenizer, task, self.prospect.limit, keep_end)

    def test(self, dataset: Dataset, *, splits: Splits, task: Task) -> dict[str, Any]:
        """Metrics by split; predictions.jsonl is written on the way."""
        best = self.life.state.progress.best
        measured: dict[str, Any] = {"validation": best.metrics} if best else {}
        if dataset.test:
            with self.meter.look():
                measured["test"], lines = scoring.test_split(self.prepared_model, dataset.test, splits["test"], task=task)
            self.folder.write_lines(self.folder.predictions, lines)
        return measured

    def release(self, splits: Splits) -> None:
        """Give back what only training needs: the proof holds the model once more beside this one."""
        self.life.state.release()
        splits |= {name: replace(split, kept=None) for name, split in splits.items()}
        oom.release_memory(self.machine.device)

    def summary(
        self, dataset: Dataset, *, task: Task, splits: Splits, measured: dict[str, Any], verification_difference: float
    ) -> RunResult:
        """What result.json holds."""
        progress = self.life.state.progress
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
            "total_parameters": self.prospect.shape.total_parameters,
            "trainable_fraction": self.training_plan.plan.trainable_parameters / self.prospect.shape.total_parameters,
            "epochs": steps[-1].epochs_done,
            "steps": progress.step,
            "best_step": progress.best.step if progress.best else progress.step,
            "train_seconds": self.train_seconds,
            "examples_per_second": progress.num_rows / self.train_seconds,
            "tokens_per_second": progress.num_tokens / self.train_seconds,
            "trunk_cached": self.training_plan.savings.where is not None,
            **self.life.keeper.summary(),
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
