"""One training run in the making: what was chosen, prepared and measured so far."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from finewright import (
    batches,
    checks,
    choices,
    compiling,
    disk,
    engine,
    evaluate,
    facts,
    hardware,
    hub,
    memory,
    metrics,
    models,
    order,
    results,
    shapes,
    store,
)
from finewright import forecast as forecasts
from finewright import prospect as prospects
from finewright.batches import Encoded
from finewright.data import Dataset, Row
from finewright.events import Downloading
from finewright.keeper import CADENCE
from finewright.life import Life
from finewright.methods.base import AbstractMethod
from finewright.prospect import Splits
from finewright.run import RunFolder
from finewright.state import same_randomness
from finewright.tasks import Classification
from finewright.tuned import Tuned


class Job:
    """State and bookkeeping of `pipeline.train`; each public method is one of its verbs."""

    source: hub.Source
    prospect: prospects.Prospect
    recipe: engine.Recipe
    base: shapes.Base
    tuned: Tuned

    def __init__(self, folder: RunFolder, *, asked: order.Order, life: Life, listen: Callable[[Any], None]) -> None:
        self.folder = folder
        self.settings = asked.settings
        self.life = life
        self.listen = listen
        self.choices = choices.Choices()
        self.machine = hardware.detect()
        self.precision = "float32"
        self.meter = memory.Meter(self.machine.device)
        self.train_seconds = 0.0
        self.findings: list[checks.Finding] = []

    def tell(self, *sentences: str) -> None:
        """Pass sentences on to whoever listens."""
        for sentence in sentences:
            self.listen(sentence)

    def downloading(self, name: str, done: int, total: int) -> None:
        """Pass on the progress of a download."""
        self.listen(Downloading(name, done, total))

    def choose_machine(self) -> None:
        """Device, precision and threads."""
        self.choices.note("device", self.machine.device, self.machine.device_name)
        self.precision = choices.precision(self.settings, machine=self.machine, choices=self.choices)
        torch.set_num_threads(choices.threads(self.settings, machine=self.machine, choices=self.choices))
        forecasts.budget(self.settings, device=self.machine.device)  # a malformed one is refused before anything is fetched

    def report(self, findings: Sequence[checks.Finding]) -> None:
        """Keep findings in checks.json, tell the warnings, stop on errors."""
        findings = [finding for finding in findings if finding not in self.findings]  # with `auto` one looks again
        self.findings += findings
        self.folder.write_json(self.folder.checks, {"findings": [finding.as_json() for finding in self.findings]})
        checks.stop_on_errors(findings)
        self.tell(*(f"warning: {finding.message} → {finding.fix}" for finding in findings))

    def choose_way(
        self,
        source: hub.Source,
        ways: Sequence[AbstractMethod],
        *,
        dataset: Dataset,
        task: Classification,
        known: dict[str, list[int]],
    ) -> Splits:
        """Take the first of the ways that fits, before any weight is loaded; its plan goes into plan.json.

        Where none fits the run stops here, unless it is forced: then the first is taken. `known`: token ids of texts.
        """
        given: dict[str, Any] = {"settings": self.settings, "machine": self.machine, "dataset": dataset, "task": task}
        self._look = partial(prospects.look, report=self.report, known=known, **given)
        self.prospect, peaks = prospects.first_fitting(ways, look=partial(self._look, source))
        fits = self.forecast.fits
        if len(ways) > 1:
            reason = self.method.preference_reason or "the first way that fits"
            self.choices.note("method", self.method.name(), reason if fits else "the preferred one; none fits")
            self.tell(*choices.left_out(preferred_to=self.method if fits else None))
        self.choices.made += self.prospect.choices.made
        self._settle_open_knobs()
        self.tell(*self.choices.sentences(), *(f"warning: {warning}" for warning in self.forecast.warnings))
        if not self.folder.earlier:
            self.folder.write_json(self.folder.plan, self.forecast.as_json())
        self.tell(self.forecast.sentence())
        if not fits:
            shortage = forecasts.shortage(peaks, self.forecast.budget)
            if not self.settings.force and not self.folder.earlier:  # what was begun goes on, in smaller passes if need be
                raise shortage
            self.tell(f"warning: {shortage.what}")
        return self.prospect.splits

    def fetch(self) -> hub.Source:
        """The model's weights, now that they are known to fit."""
        before = shapes.stores_pooler(self.prospect.source.path)
        self.source = hub.resolve(self.settings.model, progress=self.downloading)
        if shapes.stores_pooler(self.source.path) != before:  # only the weights tell whether the pooler is among them
            self.prospect = self._look(self.source, self.method)
        return self.source

    def _settle_open_knobs(self) -> None:
        """What a later life must not choose anew, because then more or less memory may be free."""
        if self.settings.train.checkpoint_activations == "auto" and not self.forecast.setup.checkpoint_activations:
            self.choices.note("train.checkpoint_activations", "off", "it fits without")
        if self.settings.train.checkpoint_steps is None:
            self.choices.note("train.checkpoint_steps", "auto", CADENCE)

    @property
    def method(self) -> AbstractMethod:
        """The way that was chosen."""
        return self.prospect.method

    @property
    def forecast(self) -> forecasts.Forecast:
        """What was decided and planned for it."""
        return self.prospect.forecast

    def load(self, *, labels: Sequence[str]) -> shapes.Base:
        """The model with its weights, as the way wants them."""
        method = self.method
        return models.load(
            self.source,
            labels=labels,
            random=method.weights == "random",
            seed=self.settings.seed,
            four_bit=method.quantization(),
            bfloat16=self.precision == "bfloat16",
            device=self.machine.device,
        )

    def prepare(self, base: shapes.Base, *, rows: Sequence[Row]) -> None:
        """Settle a fresh head on some training rows, then let the method make the network ready."""
        self.base = base
        self.meter.loaded(base.loaded_bytes)
        self.recipe = replace(self.forecast.recipe, check_first_loss=not base.kept_head)
        self.tell(*base.notes)
        if not base.kept_head:
            packed = self.method.quantization() is not None and self.precision == "bfloat16"
            self.tell(*evaluate.settle_head(base, [row.text for row in rows], bfloat16=packed))
        self.tuned = self.method.prepare(base.network, anatomy=base.anatomy, head=base.new, origin=base.origin)
        if self.precision == "bfloat16":
            models.use_bfloat16(self.tuned)
        self.forecast.apply(self.tuned, device=self.machine.device)
        self.tell(*self.tuned.notes, *(compiling.begin(self.tuned) if self.settings.train.compile == "on" else ()))
        assert self.tuned.num_head() > 0, "the head is trained in every way"
        assert self.tuned.num_trainable() == self.forecast.plan.trainable_parameters, "the sketch is the network"
        metrics.load_libraries()

    def insist_same(self, dataset: Dataset) -> None:
        """A run that goes on must be the one that was begun."""
        settings, splits = order.pinned(self.settings, self.choices.made), self.prospect.splits
        found = facts.collect(
            source=self.source, dataset=dataset, splits=splits, settings=settings, method=self.method, device=self.machine.device
        )
        self.life.insist_same(found, dataset=dataset)

    def begin(self, dataset: Dataset) -> None:
        """Ready for the first step, or the next one; config.json has every resolved knob and why automatic ones were chosen."""
        described = {
            "settings": self.settings.model_dump(),
            "method": self.method.name(),
            "method_knobs": self.method.model_dump(),
            "choices": self.choices.made,
            "model": {"name": self.base.origin.name, "revision": self.base.origin.revision},
            "data_fingerprint": dataset.fingerprint,
            "labels": list(dataset.labels),
            "max_length": self.prospect.limit,
            "precision": self.precision,
        }
        known = {"described": described, "result_bytes": self.forecast.plan.artifact_bytes}
        self.life.begin(self.tuned, recipe=self.recipe, settings=self.settings, **known)

    def fill(self, splits: Splits) -> None:
        """Run the frozen lower blocks once over what is read again and again, where that is worth it."""
        with same_randomness(self.life.state.device), disk.explained(store.root()):
            self.meter.hold(self.tuned.owner, self.life.state.optimizer)
            self.meter.kept_bytes = self.forecast.savings.memory_bytes
            self.forecast.savings.fill(self.tuned, splits, ("train", "validation"), watch=self.meter.look, tell=self.listen)

    def watching(self, index: int, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Around an update: what it takes is measured, if it is one of those the plan was made of."""
        told = index in self.forecast.plan.telling_steps
        watched = self.meter.update(self.tuned.owner, optimizer) if told else contextlib.nullcontext()
        return self.life.updating(optimizer, watched)

    def evaluation(self, encoded: Encoded, *, task: Classification) -> Callable[[], dict[str, Any]] | None:
        """How the engine looks at the validation split; None when there is none. The first look is measured."""

        def look() -> dict[str, Any]:
            first = self.life.state.progress.best is None
            with self.life.stop.at_once(), self.meter.look() if first else contextlib.nullcontext():  # nothing changes inside
                return evaluate.measure(self.tuned, encoded, labels=task.labels)

        return look if encoded.ids else None

    def hear(self, event: engine.Event) -> None:
        """Write what happened into the run and pass it on."""
        self.train_seconds = self.life.keeper.seconds
        self.meter.peak_bytes = self.life.keeper.peak_bytes = max(self.meter.peak_bytes, self.life.keeper.peak_bytes)
        self.life.hear(event)
        self.listen(event)
        self.life.end_if_wished()

    def take_best(self) -> None:
        """Go back to the weights that did best on validation."""
        step = self.life.keeper.take_best()
        if step != self.life.state.progress.step:
            self.tell(f"kept the weights of step {step}, the best on validation")

    def predictor(self, task: Classification) -> evaluate.Predictor:
        """The trained model in the form in which it predicts; it is not trained any more."""
        evaluate.settle(self.tuned, device=self.machine.device)
        tokenizer, keep_end = self.base.origin.tokenizer, self.settings.data.keep_end
        return evaluate.Predictor(self.tuned, tokenizer, task.labels, self.prospect.limit, keep_end)

    def test(self, dataset: Dataset, *, splits: Splits, task: Classification) -> dict[str, Any]:
        """Metrics by split; predictions.jsonl is written on the way."""
        best = self.life.state.progress.best
        measured: dict[str, Any] = {"validation": best.metrics} if best else {}
        if dataset.test:
            with self.meter.look():
                measured["test"], lines = evaluate.tested(self.tuned, dataset.test, splits["test"], labels=task.labels)
            self.folder.write_lines(self.folder.predictions, lines)
        return measured

    def let_go(self, splits: Splits) -> None:
        """Give back what only training needs: the proof holds the model once more beside this one."""
        self.life.state.let_go()
        splits |= {name: replace(split, kept=None) for name, split in splits.items()}
        memory.give_back(self.machine.device)

    def summary(self, dataset: Dataset, *, splits: Splits, measured: dict[str, Any], proof_difference: float) -> dict[str, Any]:
        """result.json."""
        progress = self.life.state.progress
        steps = self.recipe.steps[: progress.step]
        packed = not self.tuned.anatomy.unpackable
        return {
            "method": self.method.name(),
            "model": self.base.origin.name,
            "model_revision": self.base.origin.revision,
            "task": "text-classification",
            "seed": self.settings.seed,
            "num_train": len(dataset.train),
            "num_validation": len(dataset.validation),
            "num_test": len(dataset.test),
            "trainable_parameters": self.forecast.plan.trainable_parameters,
            "head_parameters": self.forecast.plan.head_parameters,
            "total_parameters": self.prospect.shape.total_parameters,
            "trainable_fraction": self.forecast.plan.trainable_parameters / self.prospect.shape.total_parameters,
            "epochs": steps[-1].epochs_done,
            "steps": progress.step,
            "best_step": progress.best.step if progress.best else progress.step,
            "train_seconds": self.train_seconds,
            "examples_per_second": progress.num_rows / self.train_seconds,
            "tokens_per_second": progress.num_tokens / self.train_seconds,
            "trunk_cached": self.forecast.savings.where is not None,
            **self.life.keeper.summary(),
            "padding_fraction": 0.0 if packed else batches.padding_fraction(steps, splits["train"].lengths),
            "peak_memory_bytes": self.meter.peak_bytes,
            "peak_resident_bytes": hardware.peak_resident_bytes(),
            "planned_peak_memory_bytes": self.forecast.plan.peak_memory_bytes,
            "planned_seconds": self.forecast.plan.seconds,
            "metrics": measured,
            "artifact_bytes": results.artifact_bytes(self.folder.model),
            "files": results.fingerprints(self.folder.model),
            "proof_difference": proof_difference,
            **results.describe_machine(self.machine),
        }
