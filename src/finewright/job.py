"""One training run in the making: what was chosen, prepared and measured so far."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from finewright import anatomy as anatomies
from finewright import (
    batches,
    checkpoint,
    checks,
    choices,
    engine,
    evaluate,
    hardware,
    hub,
    metrics,
    models,
    planner,
    rates,
    results,
)
from finewright.batches import Encoded
from finewright.config import Settings
from finewright.data import Dataset, Row
from finewright.errors import UserError
from finewright.events import Downloading
from finewright.methods.base import AbstractMethod
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

    def __init__(self, folder: RunFolder, *, settings: Settings, method: AbstractMethod, listen: Callable[[Any], None]) -> None:
        self.folder = folder
        self.settings = settings
        self.method = method
        self.listen = listen
        self.choices = choices.Choices()
        self.machine = hardware.detect()
        self.precision = "float32"
        self.limit = 0
        self.baseline_bytes, self.peak_bytes = 0, 0
        self.best: engine.Evaluated | None = None
        self.last_step, self.num_tokens, self.num_rows = 0, 0, 0
        self.train_seconds, self.started = 0.0, time.monotonic()

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
        kept = self.folder.read_json(self.folder.checks)["findings"] if self.folder.checks.exists() else []
        self.folder.write_json(self.folder.checks, {"findings": [*kept, *(finding.as_json() for finding in findings)]})
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

    def encode(self, dataset: Dataset, *, task: Classification, known: dict[str, list[int]]) -> Splits:
        """Tokenise every split; over-long texts are cut, and that is said. `known`: token ids that are there already."""
        longest = anatomies.longest_text(self.shape.network.config, self.shape.anatomy)
        prompt_tokens = self.sketch.prompt_tokens
        self.limit = choices.max_length(self.settings, longest=longest, prompt_tokens=prompt_tokens, choices=self.choices)
        splits, findings = {}, []
        for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
            splits[name] = self._encode(rows, task=task, known=known)
            places = [row.where for row in rows]
            if len(rows) > 1 and len(set(map(tuple, splits[name].ids))) == 1 and len({row.text for row in rows}) > 1:
                what = f"all {len(rows)} {name} texts become the same tokens: the tokenizer cannot tell them apart"
                raise UserError(what, where=self.source.name, fix="another tokenizer, or a longer data.max_length")
            kept = "end" if self.settings.data.keep_end else "start"
            findings += checks.truncation(splits[name].lengths_uncut, limit=self.limit, kept=kept, places=places)
        self.report(findings)
        return splits

    def _encode(self, rows: Sequence[Row], *, task: Classification, known: dict[str, list[int]]) -> Encoded:
        return batches.encode(
            self.shape.origin.tokenizer,
            [row.text for row in rows],
            targets=[task.target(row.label) for row in rows],
            limit=self.limit,
            keep_end=self.settings.data.keep_end,
            known=known,
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
        self.folder.write_json(self.folder.plan, self.planned.as_json())
        self.tell(self.planned.sentence())
        self.baseline_bytes = hardware.memory_in_use_bytes(self.machine.device)

    def write_config(self, dataset: Dataset) -> None:
        """config.json: every resolved knob and the reason of each automatic one, before the first step."""
        self.folder.write_json(
            self.folder.config,
            {
                "settings": self.settings.model_dump(),
                "method": self.method.name(),
                "method_knobs": self.method.model_dump(),
                "choices": self.choices.made,
                "model": {"name": self.base.origin.name, "revision": self.base.origin.revision},
                "data_fingerprint": dataset.fingerprint,
                "labels": list(dataset.labels),
                "max_length": self.limit,
                "precision": self.precision,
            },
        )
        torch.manual_seed(self.settings.seed)
        self.started = time.monotonic()

    def evaluation(self, encoded: Encoded, *, task: Classification) -> Callable[[], dict[str, Any]] | None:
        """How the engine looks at the validation split; None when there is none."""
        return (lambda: evaluate.measure(self.tuned, encoded, labels=task.labels)) if encoded.ids else None

    def hear(self, event: engine.Event) -> None:
        """Write what happened into the run and pass it on."""
        self.train_seconds = time.monotonic() - self.started
        self.peak_bytes = hardware.peak_memory_bytes(self.machine.device) - self.baseline_bytes
        if isinstance(event, engine.Stepped):
            self._hear_step(event)
        elif isinstance(event, engine.Evaluated):
            flat = {key: event.metrics[key] for key in ("accuracy", "macro_f1", "loss")}
            self.folder.append(self.folder.metrics, {"step": event.step, "epoch": event.epoch, "validation": flat})
            if event.best:
                self.best = event
                checkpoint.save(self.folder.checkpoints, step=event.step, weights=self.tuned.trainable(), state=flat)
        self.listen(event)

    def _hear_step(self, event: engine.Stepped) -> None:
        self.last_step = event.step
        self.num_tokens += event.result.num_tokens
        self.num_rows += event.result.num_rows
        if event.step % self.settings.train.log_steps and event.step != event.num_steps:
            return
        result = event.result
        line = {"step": event.step, "epoch": event.epoch, "loss": result.loss, "lr": event.lr, "grad_norm": result.grad_norm}
        self.folder.append(self.folder.metrics, line)
        self.folder.append(self.folder.timings, {"step": event.step, "seconds": self.train_seconds})

    def take_best(self) -> None:
        """Go back to the weights that did best on validation."""
        if self.best is None or self.best.step == self.last_step:
            return
        weights = checkpoint.load_weights(self.folder.checkpoints / f"step-{self.best.step:08d}")
        with torch.no_grad():
            for name, parameter in self.tuned.trainable().items():
                parameter.copy_(weights[name])
        self.tell(f"kept the weights of step {self.best.step}, the best on validation")

    def predictor(self, task: Classification) -> evaluate.Predictor:
        """The trained model, to predict with."""
        tokenizer, keep_end = self.base.origin.tokenizer, self.settings.data.keep_end
        return evaluate.Predictor(self.tuned, tokenizer, task.labels, self.limit, keep_end)

    def probes(self, dataset: Dataset) -> list[str]:
        """Texts for the proof."""
        return [row.text for row in results.first_rows(dataset.test, dataset.validation, dataset.train)]

    def summary(self, dataset: Dataset, *, splits: Splits, task: Classification, proof_difference: float) -> dict[str, Any]:
        """result.json, with predictions.jsonl written on the way."""
        measured: dict[str, Any] = {"validation": self.best.metrics} if self.best else {}
        if dataset.test:
            shares = evaluate.probabilities(evaluate.score(self.tuned, splits["test"], num_labels=len(task.labels)))
            lines = evaluate.prediction_lines(dataset.test, shares, labels=task.labels)
            self.folder.write_lines(self.folder.predictions, lines)
            test = metrics.classification(shares, splits["test"].targets, labels=task.labels)
            test["worst_mistakes"] = evaluate.worst_mistakes(dataset.test, shares, labels=task.labels)
            measured["test"] = test
        steps = self.recipe.steps[: self.last_step]
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
            "steps": self.last_step,
            "best_step": self.best.step if self.best else self.last_step,
            "train_seconds": self.train_seconds,
            "examples_per_second": self.num_rows / self.train_seconds,
            "tokens_per_second": self.num_tokens / self.train_seconds,
            "padding_fraction": 0.0 if packed else batches.padding_fraction(steps, splits["train"].lengths),
            "peak_memory_bytes": self.peak_bytes,
            "planned_peak_memory_bytes": self.planned.peak_memory_bytes,
            "planned_seconds": self.planned.seconds,
            "metrics": measured,
            "artifact_bytes": results.artifact_bytes(self.folder.model),
            "proof_difference": proof_difference,
            **results.describe_machine(self.machine),
        }
