"""Plan a method before any weight is loaded: its meta model, the tokenized texts, every update and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch

from finewright import methods, tasks
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.data import checks, tokenization
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset, DatasetCache, Source
from finewright.data.packing import EncodedSplit
from finewright.data.splits import Example
from finewright.inference import base_run
from finewright.methods.base import Method
from finewright.models import dropout, hub, meta, quantization
from finewright.models.architectures import base
from finewright.planning import defaults, estimator, hardware_rates, plan
from finewright.planning.optimizations import SplitLengths
from finewright.planning.plan import MemoryBudget, TrainingPlan
from finewright.tasks.base import Task

Splits = dict[str, EncodedSplit]


@dataclass(frozen=True)
class MethodPlan:
    """`meta_model`: its config, architecture and sizes, without weights. `limit`: most tokens of a text.

    `choices`: the value of every open option, with its reason. `dataset`: the rows that are used, one for each text of `splits`.
    `example`: as in `EncodedRows`.
    """

    source: hub.ModelSource
    method: Method
    meta_model: meta.BaseNetwork
    splits: Splits
    limit: int
    training_plan: TrainingPlan
    choices: defaults.Decisions
    dataset: Dataset
    example: list[tuple[str, bool]]


class EncodedData(NamedTuple):
    """The tokens of every split, the rows that are used, what was found about them, and an example as in `EncodedRows`."""

    splits: Splits
    dataset: Dataset
    findings: list[Finding]
    example: list[tuple[str, bool]]


@dataclass(frozen=True)
class PlanningContext:
    """What does not depend on the method. `budget`: memory that the run may take."""

    settings: RunConfig
    machine: hardware.Hardware
    source: hub.ModelSource
    task: Task
    budget: MemoryBudget

    @property
    def bfloat16(self) -> bool:
        """Whether matrix products are in bfloat16."""
        return hardware.choose_precision(self.settings.training.precision, hardware=self.machine)[0] == "bfloat16"


def plan_on_meta(
    method: Method,
    context: PlanningContext,
    *,
    read_lengths: Callable[[meta.BaseNetwork, int], SplitLengths],
    decisions: defaults.Decisions,
    tokenizer: bool = True,
) -> tuple[meta.BaseNetwork, int, TrainingPlan]:
    """Return the meta model, the most tokens of a text, and the training plan: the only function that plans.

    `read_lengths` gets the meta model and the most tokens of a text. `decisions` takes in how long a text may be.
    """
    settings, machine, bfloat16 = context.settings, context.machine, context.bfloat16
    base_run.check_head(settings.model, context.task)
    meta_model = meta.meta_model(
        context.source,
        head_spec=defaults.choose_head(settings, method=method, task=context.task, source=context.source, choices=decisions),
        four_bit=method.quantization(),
        bfloat16=bfloat16,
        tokenizer=tokenizer,
    )
    prepared_model = estimator.prepare_on_meta(meta_model, method, bfloat16=bfloat16)
    if not context.task.uses_dropout:
        dropout.turn_off_dropout(prepared_model.network)
    longest = base.max_text_length(meta_model.network.config, meta_model.architecture)
    limit = defaults.default_max_length(
        settings,
        usual=context.task.default_max_length,
        longest=longest,
        prompt_tokens=prepared_model.prompt_tokens,
        choices=decisions,
    )
    training_plan = plan.plan_training(
        prepared_model,
        method=method,
        settings=settings,
        task=context.task,
        texts=read_lengths(meta_model, limit),
        base=meta_model,
        rates=partial(hardware_rates.measure_rates, device=machine.device, width=meta_model.network.config.hidden_size),
        budget=context.budget,
    )
    return meta_model, limit, training_plan


def plan_lengths(method: Method, context: PlanningContext, lengths: SplitLengths) -> TrainingPlan:
    """Plan a method for texts of these lengths, each cut to what the method reads."""

    def cut(_: object, limit: int) -> SplitLengths:
        splits = [[min(limit, length) for length in split] for split in (lengths.training, lengths.validation, lengths.test)]
        if not any(lengths.parts):
            trained, validation, test = (
                [min(number, limit - 1) for number in some] for some in (lengths.trained, *lengths.held_out_trained)
            )
            cut = {"training": splits[0], "validation": splits[1], "test": splits[2], "trained": trained}
            return replace(lengths, **cut, held_out_trained=(validation, test))
        training, validation, test = ([tuple(min(limit, one) for one in row) for row in some] for some in lengths.parts)
        parts = (training, validation, test)
        splits = [[sum(row) for row in some] for some in parts]
        numbers = [
            [min(number, (limit - 1) * len(row)) for number, row in zip(some, rows, strict=False)]
            for some, rows in zip((lengths.trained, *lengths.held_out_trained), parts, strict=True)
        ]
        cut = {"training": splits[0], "validation": splits[1], "test": splits[2], "trained": numbers[0]}
        return replace(lengths, **cut, held_out_trained=(numbers[1], numbers[2]), parts=parts)

    return plan_on_meta(method, context, read_lengths=cut, decisions=defaults.Decisions(), tokenizer=False)[2]


def plan_method(
    source: hub.ModelSource,
    method: Method,
    *,
    settings: RunConfig,
    machine: hardware.Hardware,
    dataset: Dataset,
    task: Task,
    report: Callable[[list[Finding]], None],
    known: dict[str, list[int]] | None = None,
) -> MethodPlan:
    """Tokenize every split, decide every update and estimate its cost. `report` gets what is found about the texts.

    `known`: token ids of texts that were tokenized before.
    """
    context = PlanningContext(settings, machine, source, task, plan.resolve_budget(settings, device=machine.device))
    splits: Splits = {}
    found: list[EncodedData] = []
    decisions = defaults.Decisions()

    def encode(meta_model: meta.BaseNetwork, limit: int) -> SplitLengths:
        tokenizer = meta_model.origin.tokenizer
        how: dict[str, Any] = {"task": task, "settings": settings, "limit": limit, "known": known}
        encoded = encode_splits(tokenizer, dataset, **how, decisions=decisions)
        found.append(encoded)
        splits.update(encoded.splits)
        report(encoded.findings)
        if note := tokenization.cache_note(tokenizer, [len(split.ids) for split in splits.values()]):
            decisions.note("token_ids", "cached on disk", note)
        return describe_lengths(splits)

    meta_model, limit, training_plan = plan_on_meta(method, context, read_lengths=encode, decisions=decisions)
    decisions.made += training_plan.choices.made
    return MethodPlan(source, method, meta_model, splits, limit, training_plan, decisions, found[0].dataset, found[0].example)


def plan_from_source(
    data: Source, method: Method, *, settings: RunConfig, datasets: DatasetCache
) -> tuple[MethodPlan, list[Finding]]:
    """Read the data and plan one method for it without the model's weights. Return the plan and all findings."""
    machine, findings = hardware.detect(), list[Finding]()
    torch.set_num_threads(defaults.choose_threads(settings, machine=machine, choices=defaults.Decisions()))
    kind = tasks.get_task(settings.task)
    dataset = datasets.read(data, options=settings.data, row_kind=kind.row_kind)
    task = kind.for_dataset(dataset, config=settings)
    source = hub.resolve_model(settings.model, weights=False)
    found = plan_method(
        source,
        method,
        settings=settings,
        machine=machine,
        dataset=dataset,
        task=task,
        report=findings.extend,
        known=datasets.ids(source.name),
    )
    return found, checks.apply_force(findings + task.check_dataset(dataset), force=settings.force)


def select_method(candidates: Sequence[Method], *, plan_one: Callable[[Method], MethodPlan]) -> tuple[MethodPlan, dict[str, int]]:
    """Return the first method that fits, or the very first if none does, and the planned peaks in bytes of those planned."""
    found, peaks = [], {}
    for method in candidates:
        one = plan_one(method)
        peaks[method.name()] = one.training_plan.plan.peak_memory_bytes
        if one.training_plan.fits:
            return one, peaks
        found = found or [one]
    return found[0], peaks


def encode_splits(
    tokenizer: object,
    dataset: Dataset,
    *,
    task: Task,
    settings: RunConfig,
    limit: int,
    known: dict[str, list[int]] | None = None,
    decisions: defaults.Decisions | None = None,
) -> EncodedData:
    """Return the token ids of every split, the rows that are used, and findings about them.

    `decisions`: takes in what was chosen for the rows.
    """
    splits: Splits = {}
    used: dict[str, list[Example]] = {}
    findings: list[Finding] = []
    example: list[tuple[str, bool]] = []
    for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        encoded = task.encode_rows(tokenizer, rows, name=name, limit=limit, settings=settings, known=known)
        splits[name], used[name] = encoded.split, encoded.rows
        findings += encoded.findings
        example = example or encoded.example
        if decisions is not None:
            for option, value, reason in encoded.choices:
                decisions.note(option, value, reason)
    used_rows = replace(dataset, train=used["train"], validation=used["validation"], test=used["test"])
    return EncodedData(splits, used_rows, findings, example)


def describe_lengths(splits: Splits) -> SplitLengths:
    """Return what planning must know of the tokens of a data set."""
    train, validation, test = (splits[name] for name in ("train", "validation", "test"))
    parts = [[] if split.parts is None else split.parts.tolist() for split in (train, validation, test)]
    return SplitLengths(
        train.lengths,
        validation.lengths,
        test.lengths,
        tokens=train.tokens(),
        targets=train.targets,
        trained=train.num_trained,
        held_out_trained=(validation.num_trained, test.num_trained),
        parts=(parts[0], parts[1], parts[2]),
        num_aside=train.num_aside,
    )


def describe_missed(method: Method) -> str:
    """Return the end of a sentence about the method that would be taken if it fitted."""
    return f"; {method.name()} suits the data better and does not fit"


def describe_left_out(*, preferred_to: Method | None) -> list[str]:
    """Return sentences about methods that `auto` prefers and did not plan, since packages for them are not installed.

    `preferred_to`: the method that was taken; None: none of those that were planned fits.
    """
    if not (absent := quantization.missing_packages()):
        return []
    kinds = [kind for kind in methods.methods_by_preference() if kind.needs and kind.weights != "random"]
    kinds = [kind for kind in kinds if preferred_to is None or kind.preference < preferred_to.preference]
    needs = f"it needs {' and '.join(absent)}, not installed here ({quantization.INSTALL})"
    return [f"{kind.name()} was not planned, though it might fit: {needs}" for kind in kinds]
