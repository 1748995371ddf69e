"""A way looked at before any weight is loaded: its shape, the texts as it will read them, every update and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from finewright import methods
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.data import checks, packing, tokenization
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset
from finewright.data.packing import EncodedSplit
from finewright.methods.base import Method
from finewright.models import hub, meta, quantization
from finewright.models.architectures import base
from finewright.planning import defaults, estimator, hardware_rates, plan
from finewright.planning.optimizations import SplitLengths
from finewright.planning.plan import TrainingPlan
from finewright.tasks.text_classification import TextClassification

Splits = dict[str, EncodedSplit]


@dataclass(frozen=True)
class MethodPlan:
    """`limit`: tokens of the longest text it reads. `choices`: what was left open, all with reasons."""

    source: hub.ModelSource
    method: Method
    shape: meta.BaseNetwork
    splits: Splits
    limit: int
    training_plan: TrainingPlan
    choices: defaults.Decisions


def plan_method(
    source: hub.ModelSource,
    method: Method,
    *,
    settings: RunConfig,
    machine: hardware.Hardware,
    dataset: Dataset,
    task: TextClassification,
    report: Callable[[list[Finding]], None],
    known: dict[str, list[int]] | None = None,
) -> MethodPlan:
    """Tokenise every split, decide every update, plan it. Over-long texts are cut, and `report` hears of it.

    `known`: token ids of texts that were tokenised before.
    """
    bfloat16 = hardware.choose_precision(settings.training.precision, hardware=machine)[0] == "bfloat16"
    shape = meta.meta_model(source, labels=task.labels, four_bit=method.quantization(), bfloat16=bfloat16)
    sketch = estimator.prepare_on_meta(shape, method, bfloat16=bfloat16)
    made = defaults.Decisions()
    longest = base.max_text_length(shape.network.config, shape.architecture)
    limit = defaults.default_max_length(settings, longest=longest, prompt_tokens=sketch.prompt_tokens, choices=made)
    splits, findings = encode_splits(shape.origin.tokenizer, dataset, task=task, settings=settings, limit=limit, known=known)
    report(findings)
    if kept := tokenization.cache_note(shape.origin.tokenizer, [len(split.ids) for split in splits.values()]):
        made.note("token_ids", "kept on disk", kept)
    planned = plan.plan_training(
        sketch,
        method=method,
        settings=settings,
        task=task,
        texts=SplitLengths(*(splits[name].lengths for name in ("train", "validation", "test")), tokens=splits["train"].tokens()),
        base=shape,
        rates=partial(hardware_rates.measure_rates, device=machine.device, width=shape.network.config.hidden_size),
        budget=plan.resolve_budget(settings, device=machine.device),
    )
    made.made += planned.choices.made
    return MethodPlan(source, method, shape, splits, limit, planned, made)


def select_method(candidates: Sequence[Method], *, look: Callable[[Method], MethodPlan]) -> tuple[MethodPlan, dict[str, int]]:
    """(the first of the ways that fits, or the very first when none does; planned peaks of those looked at, in bytes)"""
    found, peaks = [], {}
    for method in candidates:
        one = look(method)
        peaks[method.name()] = one.training_plan.plan.peak_memory_bytes
        if one.training_plan.fits:
            return one, peaks
        found = found or [one]
    return found[0], peaks


def encode_splits(
    tokenizer: object,
    dataset: Dataset,
    *,
    task: TextClassification,
    settings: RunConfig,
    limit: int,
    known: dict[str, list[int]] | None = None,
) -> tuple[Splits, list[Finding]]:
    """Token ids of every split, and what is to be said about them."""
    splits: Splits = {}
    findings: list[Finding] = []
    for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        splits[name] = packing.encode_texts(
            tokenizer,
            [row.text for row in rows],
            targets=task.targets(row.label for row in rows),
            limit=limit,
            keep_end=settings.data.truncation_side == "left",
            keep=True,
            known=known,
        )
        findings += checks.alike(splits[name].ids, rows, name=name)
        findings += checks.check_truncation(
            splits[name].lengths_uncut, limit=limit, side=settings.data.truncation_side, places=[row.where for row in rows]
        )
    return splits, findings


def candidate_methods(name: str, *, options: Mapping[str, Any]) -> list[Method]:
    """The way called `name`; with `auto` every way that could be taken, the preferred one first.

    Knobs of a way narrow `auto` down to the preferred one: others would not know them.
    """
    if name != methods.AUTO:
        return [methods.build_method(name, options)]
    kinds = [kind for kind in methods.methods_by_preference() if kind.weights != "random"]
    if options:
        return [methods.build_method(kinds[0].name(), options)]
    return [kind() for kind in kinds if not kind.needs or not quantization.missing_packages()]


def describe_left_out(*, preferred_to: Method | None) -> list[str]:
    """Sentences about ways that `auto` would rather have looked at and that want what is not installed.

    `preferred_to`: the way that was taken; None: none of those that were looked at fits.
    """
    if not (absent := quantization.missing_packages()):
        return []
    kinds = [kind for kind in methods.methods_by_preference() if kind.needs and kind.weights != "random"]
    kinds = [kind for kind in kinds if preferred_to is None or kind.preference < preferred_to.preference]
    wants = f"it wants {' and '.join(absent)}, not installed here ({quantization.INSTALL})"
    return [f"{kind.name()} was not looked at, though it might fit: {wants}" for kind in kinds]
