"""One training run in the making: what was chosen, prepared and measured so far."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from finewright import anatomy as anatomies
from finewright import (
    batches,
    checks,
    choices,
    engine,
    evaluate,
    facts,
    hardware,
    hub,
    metrics,
    models,
    order,
    planner,
    rates,
    results,
)
from finewright.batches import Encoded
from finewright.data import Dataset, Row
from finewright.errors import UserError
from finewright.events import Downloading
from finewright.keeper import CADENCE
from finewright.life import Life
from finewright.run import RunFolder
from finewright.tasks import Classification, settle_head
from finewright.tuned import Tuned

Splits = dict[str, Encoded]
PROBE_ROWS, PROBE_TOKENS = 32, 64


class Job:
    """State and bookkeeping of `pipeline.train`; each public method is one of its verbs."""

    source: hub.Source
    shape: models.Base
    sketch: Tuned
    recipe: engine.Recipe
    planned: planner.Plan
    base: models.Base
    tuned: Tuned

    def __init__(self, folder: RunFolder, *, asked: order.Order, life: Life, listen: Callable[[Any], None]) -> None:
        self.folder = folder
        self.settings, self.method = asked.settings, asked.method
        self.life = life
        self.listen = listen
        self.choices = choices.Choices()
        self.machine = hardware.detect()
        self.precision = "float32"
        self.limit = 0
        self.baseline_bytes, self.peak_bytes = 0, 0
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

    def report(self, findings: Sequence[checks.Finding]) -> None:
        """Keep findings in checks.json, tell the warnings, stop on errors."""
        self.findings += findings
        self.folder.write_json(self.folder.checks, {"findings": [finding.as_json() for finding in self.findings]})
        checks.stop_on_errors(findings)
        self.tell(*(f"warning: {finding.message} → {finding.fix}" for finding in findings))

    def look_at(self, source: hub.Source, *, labels: Sequence[str]) -> None:
        """The model's shape and the way's sketch of it: enough to count, to cut texts and to plan, without weights."""
        self.source = source
        self.shape = models.shape(source, labels=labels)
        self.sketch = planner.sketch(self.shape, self.method, precision=self.precision)

    def prepare(self, base: models.Base, *, rows: Sequence[Row]) -> None:
        """Settle a fresh head on some training rows, then let the method make the network ready."""
        self.base = base
        self.recipe = replace(self.recipe, check_first_loss=not base.kept_head)
        self.tell(*base.notes)
        if not base.kept_head:
            self._settle_head(base, [row.text for row in rows[:PROBE_ROWS]])
        self.tuned = self.method.prepare(base.network, anatomy=base.anatomy, head=base.new, origin=base.origin)
        if self.precision == "bfloat16":
            models.use_bfloat16(self.tuned)
        self.tuned.owner.to(self.machine.device)
        self.tell(*self.tuned.notes)
        assert self.tuned.num_head() > 0, "the head is trained in every way"
        assert self.tuned.num_trainable() == self.planned.trainable_parameters, "the sketch is the network"
        hardware.forget_peak(self.machine.device)  # loading reads a file into memory that the system can take back

    def _settle_head(self, base: models.Base, texts: Sequence[str]) -> None:
        probe = batches.encode(base.origin.tokenizer, texts, limit=PROBE_TOKENS)
        batch = batches.collate(probe, [row for row, length in enumerate(probe.lengths) if length])
        factor = settle_head(base.network, anatomy=base.anatomy, ids_T=batch.ids, layout=batch.layout)
        if factor < 1:
            num_labels = len(base.network.config.id2label)
            self.tell(f"head: random start scaled by {factor:.3f}, so that the first loss is near ln({num_labels})")

    def encode(self, dataset: Dataset, *, task: Classification) -> Splits:
        """Tokenise every split; over-long texts are cut, and that is said."""
        longest = anatomies.longest_text(self.shape.network.config, self.shape.anatomy)
        prompt_tokens = self.sketch.prompt_tokens
        self.limit = choices.max_length(self.settings, longest=longest, prompt_tokens=prompt_tokens, choices=self.choices)
        splits, findings = {}, []
        for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
            splits[name] = self._encode(rows, task=task)
            places = [row.where for row in rows]
            if len(rows) > 1 and len(set(map(tuple, splits[name].ids))) == 1 and len({row.text for row in rows}) > 1:
                what = f"all {len(rows)} {name} texts become the same tokens: the tokenizer cannot tell them apart"
                raise UserError(what, where=self.source.name, fix="another tokenizer, or a longer data.max_length")
            kept = "end" if self.settings.data.keep_end else "start"
            findings += checks.truncation(splits[name].lengths_uncut, limit=self.limit, kept=kept, places=places)
        self.report(findings)
        return splits

    def _encode(self, rows: Sequence[Row], *, task: Classification) -> Encoded:
        return batches.encode(
            self.shape.origin.tokenizer,
            [row.text for row in rows],
            targets=[task.target(row.label) for row in rows],
            limit=self.limit,
            keep_end=self.settings.data.keep_end,
        )

    def decide(self, encoded: Encoded) -> None:
        """Learning rate, budget, epochs: every update of the run, decided before the first."""
        train, method = self.settings.train, self.method
        lengths = [length + self.sketch.prompt_tokens for length in encoded.lengths]
        lr, warnings = choices.lr(train, method=method, choices=self.choices)
        budget = choices.batch_tokens(train, lengths=lengths, choices=self.choices)
        per_epoch = batches.steps(lengths, budget=budget, accumulation=train.accumulation, seed=self.settings.seed, epochs=1)
        epochs = choices.epochs(train, steps_per_epoch=len(per_epoch), choices=self.choices)
        steps = batches.steps(
            lengths,
            budget=budget,
            accumulation=train.accumulation,
            seed=self.settings.seed,
            epochs=epochs,
            max_steps=train.max_steps,
        )
        steps = [replace(step, batches=batches.halved(step.batches, lengths, times=train.halvings)) for step in steps]
        if train.checkpoint_steps is None:
            self.choices.note("train.checkpoint_steps", "auto", CADENCE)
        self.tell(*self.choices.sentences(), *(f"warning: {warning}" for warning in warnings))
        self.recipe = engine.Recipe(
            steps=steps,
            lr=lr,
            warmup_fraction=train.warmup_fraction,
            schedule=train.schedule,
            weight_decay=train.weight_decay,
            clip_norm=train.clip_norm,
            evaluate_every=max(1, round(len(per_epoch) / train.evaluations_per_epoch)),
            early_stopping=train.early_stopping,
        )

    def plan(self, splits: Splits, *, task: Classification) -> None:
        """plan.json: what the run will cost; one that cannot fit stops here, before any weight is loaded."""
        prompt, steps = self.sketch.prompt_tokens, self.recipe.steps
        lengths, scored = ([length + prompt for length in splits[name].lengths] for name in ("train", "validation"))
        workload = planner.Workload(task, lengths, steps, scored * math.ceil(len(steps) / self.recipe.evaluate_every), prompt)
        speed = rates.measure(
            device=self.machine.device,
            tokens=min(sum(lengths[row] for rows in steps[0].batches for row in rows), 4096),
            width=self.shape.network.config.hidden_size,
        )
        total, folder = self.shape.total_parameters, self.source.path
        self.planned = planner.plan(
            self.sketch, method=self.method, total_parameters=total, workload=workload, rates=speed, folder=folder
        )
        if not self.folder.earlier:
            self.folder.write_json(self.folder.plan, self.planned.as_json())
        self.tell(self.planned.sentence())
        self.baseline_bytes = hardware.memory_in_use_bytes(self.machine.device)

    def insist_same(self, dataset: Dataset, splits: Splits) -> None:
        """A run that goes on must be the one that was begun."""
        settings = order.pinned(self.settings, self.choices.made)
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
            "max_length": self.limit,
            "precision": self.precision,
        }
        self.life.begin(self.tuned, recipe=self.recipe, settings=self.settings, described=described)

    def evaluation(self, encoded: Encoded, *, task: Classification) -> Callable[[], dict[str, Any]] | None:
        """How the engine looks at the validation split; None when there is none."""

        def look() -> dict[str, Any]:
            with self.life.stop.at_once():  # nothing changes while validation is scored
                return evaluate.measure(self.tuned, encoded, labels=task.labels)

        return look if encoded.ids else None

    def hear(self, event: engine.Event) -> None:
        """Write what happened into the run and pass it on."""
        self.train_seconds = self.life.keeper.seconds
        self.peak_bytes = hardware.peak_memory_bytes(self.machine.device) - self.baseline_bytes
        self.peak_bytes = self.life.keeper.peak_bytes = max(self.peak_bytes, self.life.keeper.peak_bytes)
        self.life.hear(event)
        self.listen(event)
        self.life.end_if_wished()

    def take_best(self) -> None:
        """Go back to the weights that did best on validation."""
        step = self.life.keeper.take_best()
        if step != self.life.state.progress.step:
            self.tell(f"kept the weights of step {step}, the best on validation")

    def predictor(self, task: Classification) -> evaluate.Predictor:
        """The trained model, to predict with."""
        tokenizer, keep_end = self.base.origin.tokenizer, self.settings.data.keep_end
        return evaluate.Predictor(self.tuned, tokenizer, task.labels, self.limit, keep_end)

    def probes(self, dataset: Dataset) -> list[str]:
        """Texts for the proof."""
        return [row.text for row in results.first_rows(dataset.test, dataset.validation, dataset.train)]

    def summary(self, dataset: Dataset, *, splits: Splits, task: Classification, proof_difference: float) -> dict[str, Any]:
        """result.json, with predictions.jsonl written on the way."""
        progress = self.life.state.progress
        measured: dict[str, Any] = {"validation": progress.best.metrics} if progress.best else {}
        if dataset.test:
            shares = evaluate.probabilities(evaluate.score(self.tuned, splits["test"], num_labels=len(task.labels)))
            lines = evaluate.prediction_lines(dataset.test, shares, labels=task.labels)
            self.folder.write_lines(self.folder.predictions, lines)
            test = metrics.classification(shares, splits["test"].targets, labels=task.labels)
            test["worst_mistakes"] = evaluate.worst_mistakes(dataset.test, shares, labels=task.labels)
            measured["test"] = test
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
            "trainable_parameters": self.tuned.num_trainable(),
            "head_parameters": self.tuned.num_head(),
            "total_parameters": self.shape.total_parameters,
            "trainable_fraction": self.tuned.num_trainable() / self.shape.total_parameters,
            "epochs": steps[-1].epochs_done,
            "steps": progress.step,
            "best_step": progress.best.step if progress.best else progress.step,
            "train_seconds": self.train_seconds,
            "examples_per_second": progress.num_rows / self.train_seconds,
            "tokens_per_second": progress.num_tokens / self.train_seconds,
            **self.life.keeper.summary(),
            "padding_fraction": 0.0 if packed else batches.padding_fraction(steps, splits["train"].lengths),
            "peak_memory_bytes": self.peak_bytes,
            "planned_peak_memory_bytes": self.planned.peak_memory_bytes,
            "planned_seconds": self.planned.seconds,
            "metrics": measured,
            "artifact_bytes": results.artifact_bytes(self.folder.model),
            "files": results.fingerprints(self.folder.model),
            "proof_difference": proof_difference,
            **results.describe_machine(self.machine),
        }
