"""Every method's cost under one budget, from the model's config and the texts' lengths, before any download or training."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from finewright import tasks
from finewright.core import hardware, units
from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.data import checks, tokenization
from finewright.data.checks import Finding
from finewright.data.dataset import DatasetCache, Source
from finewright.methods.base import Method
from finewright.models import default_model, hub, meta, quantization
from finewright.planning import defaults, method_plan, plan
from finewright.planning.advice import advise
from finewright.planning.candidates import DataSize, is_worth_trying, methods_for_task, order_by_data, tried_methods
from finewright.planning.data_size import measure_size
from finewright.planning.method_plan import PlanningContext, plan_lengths
from finewright.planning.optimizations import SplitLengths
from finewright.planning.plan import MemoryBudget, TrainingPlan
from finewright.planning.task_choice import choose_task
from finewright.tasks.base import Task

ASSUMED_ROWS, ASSUMED_TOKENS = 1000, 128
FIRST_THAT_FITS = "the first in the order of preference that fits"
CHARACTERS_PER_TOKEN = 4
"""Of English text: a little below what the usual tokenizers reach, so that texts are assumed too long rather than too short."""


@dataclass(frozen=True)
class PlannedMethod:
    """A method with its plan, and a sentence on what to change if it does not fit."""

    method: Method
    training_plan: TrainingPlan
    advice: str

    def as_json(self) -> dict[str, Any]:
        """Return the plan, JSON-ready."""
        return {**self.training_plan.as_json(), "advice": self.advice}


@dataclass(frozen=True)
class PlanReport:
    """`entries`: the recommended method first, then others that fit, then those that do not. `reason`: why it is recommended.

    `model`: its name; where it was left open, the notes begin with the reason for it. `findings`: in the data; a run that is not
    forced refuses those that are errors. `example`: of a language model's data, a text in pieces with whether each is trained."""

    entries: list[PlannedMethod]
    recommended: str
    reason: str
    budget: MemoryBudget
    notes: list[str]
    model: str = ""
    findings: list[Finding] = field(default_factory=list)
    trials: "PlannedTrials | None" = None
    example: list[tuple[str, bool]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `plan --json` prints."""
        return {
            "model": self.model,
            "plans": [entry.as_json() for entry in self.entries],
            "recommended": self.recommended or None,
            "reason": self.reason,
            "budget_bytes": self.budget.num_bytes,
            "notes": self.notes,
            "findings": [finding.as_json() for finding in self.findings],
            "trials": None if self.trials is None else asdict(self.trials),
            "example": [{"text": text, "trained": trained} for text, trained in self.example],
        }


@dataclass(frozen=True)
class PlannedTrials:
    """The methods that a run with `--method auto` tries on held-out rows of small data, and about how long the trial of the first
    one takes. `is_first_enough`: the others are tried only if the first one is worse than the frozen features."""

    methods: list[str]
    seconds: float
    is_first_enough: bool = False

    def describe(self) -> str:
        """Return what happens, in words."""
        first, *others = self.methods
        when = "if it is worse than the frozen features" if self.is_first_enough else "after it"
        seconds = units.format_seconds(self.seconds)
        tried = f"{first} is tried on held-out rows, in about {seconds}"
        return f"so few rows decide themselves: {tried}; {' and '.join(others)} {when}"


def plan_methods(
    source: Source | None,
    *,
    candidates: Sequence[Method],
    settings: RunConfig,
    num_labels: int = 2,
    progress: hub.Progress | None = None,
    on_method: Callable[[str, int, int], None] = lambda method, number, total: None,
) -> PlanReport:
    """Plan every one of `candidates`. Without data, texts and labels are assumed; the notes say so.

    `on_method(method, number, total)` is called before each method is planned.
    """
    datasets = DatasetCache()
    said = ""
    if source is not None:
        settings, said = choose_task(settings, source, datasets=datasets)
    is_language_model = tasks.get_task(settings.task).is_language_model()
    name, chosen = default_model.resolve_name(settings.model, is_language_model=is_language_model)
    settings = settings.model_copy(update={"model": name})
    machine = hardware.detect()
    budget = plan.resolve_budget(settings, device=machine.device)
    precision, why = hardware.choose_precision(settings.training.precision, hardware=machine)
    notes = [chosen.sentence()] if chosen else []
    notes.append(f"precision {precision}: {why}")
    notes += [said] if said else []
    if settings.memory_budget is not None and machine.device != "cuda":
        taken = units.format_bytes(hardware.peak_resident_bytes())
        notes.append(f"the budget is for training; what the program itself takes, {taken} so far, comes on top of it")
    torch.set_num_threads(defaults.choose_threads(settings, machine=machine, choices=defaults.Decisions()))
    model = _resolve_model(settings.model, with_tokenizer=source is not None, progress=progress, notes=notes)
    findings: list[Finding] = []
    notes += [model.note] if model.note else []
    example: list[tuple[str, bool]] = []
    added: dict[str, Any] = {"datasets": datasets, "notes": notes, "findings": findings, "example": example}
    task, texts = _read_lengths(source, model=model, settings=settings, num_labels=num_labels, **added)
    context = PlanningContext(settings, machine, model, task, budget)
    candidates = methods_for_task(candidates, type(task))

    def plan_one(method: Method, settings: RunConfig) -> TrainingPlan:
        return plan_lengths(method, replace(context, settings=settings), texts)

    made: list[tuple[Method, TrainingPlan]] = []
    for number, method in enumerate(candidates, start=1):
        on_method(method.name(), number, len(candidates))
        made.append((method, plan_one(method, settings)))
    if_possible = partial(_plan_if_possible, plan_one)
    entries = [
        PlannedMethod(method, one, advise(method, one, settings=settings, others=made, plan_one=if_possible))
        for method, one in made
    ]
    entries.sort(key=lambda entry: (not entry.training_plan.fits, entry.method.weights == "random", entry.method.preference))
    rows = [] if source is None else datasets.read(source, options=settings.data, row_kind=type(task).row_kind).train
    num_validation = 0 if source is None else len(texts.validation)
    total = entries[0].training_plan.plan.total_parameters
    known = {"num_validation": num_validation, "head_start": settings.training.head_start}
    size = measure_size(model, rows, total_parameters=total, **known)
    recommended, reason, trials = _choose_first(entries, task, size)
    return PlanReport(entries, recommended, reason, budget, notes, name, findings, trials, example)


def _choose_first(entries: list[PlannedMethod], task: Task, size: DataSize) -> tuple[str, str, PlannedTrials | None]:
    """Return what is recommended, why, and what `auto` tries; the method that suits the data is put first, in place."""
    known = sorted((entry.method for entry in entries if entry.method.weights != "random"), key=lambda one: one.preference)
    ordered, suits = order_by_data(known, task, size)
    fitting = [entry.method for entry in entries if entry.training_plan.fits]
    first = next((method for method in ordered if method in fitting), None)
    if not suits or first is None:
        return *_recommend(entries), _plan_trials(entries, task, size)
    entries.sort(key=lambda entry: entry.method is not first)
    if first is ordered[0]:
        return first.name(), suits, None
    return first.name(), f"{first.preference_reason or FIRST_THAT_FITS}{method_plan.describe_missed(ordered[0])}", None


def _plan_trials(entries: Sequence[PlannedMethod], task: Task, size: DataSize) -> PlannedTrials | None:
    """Return what `auto` tries; its time is that of a run, as a trial of both halves takes about as long."""
    fitting = [entry for entry in entries if entry.training_plan.fits]
    tried = tried_methods([entry.method for entry in fitting], size)
    if len(tried) < 2 or not is_worth_trying([entry.method for entry in fitting], task, num_rows=size.num_rows):
        return None
    seconds = {entry.method.name(): entry.training_plan.plan.seconds for entry in fitting}
    first = tried[0]
    return PlannedTrials([method.name() for method in tried], seconds[first.name()], first.suits_few_rows)


def _plan_if_possible(
    plan_one: Callable[[Method, RunConfig], TrainingPlan], method: Method, settings: RunConfig
) -> TrainingPlan | None:
    """Return a plan for the advice, or None: a method that cannot be planned must not hide the others."""
    with contextlib.suppress(UserError):
        return plan_one(method, settings)
    return None


def _resolve_model(name: str, *, with_tokenizer: bool, progress: hub.Progress | None, notes: list[str]) -> hub.ModelSource:
    """Return the config and, for data, the tokenizer, from a folder, the hub or its cache, else a config of the package."""
    bundled = None if hub.as_path(name).is_dir() else hub.find_bundled_config(name)
    if bundled is not None and not with_tokenizer:
        return hub.ModelSource(bundled, name, "")
    try:
        return hub.resolve_model(name, weights=False, progress=progress)
    except UserError:
        if bundled is None:
            raise
        notes.append(f"{name}: neither here nor reachable; its config is in the package")
        return hub.ModelSource(bundled, name, "")


def _read_lengths(
    source: Source | None,
    *,
    model: hub.ModelSource,
    settings: RunConfig,
    num_labels: int,
    datasets: DatasetCache,
    notes: list[str],
    findings: list[Finding],
    example: list[tuple[str, bool]],
) -> tuple[Task, SplitLengths]:
    """Return the task and the tokens of the data's texts; without data, assumed ones.

    Add to `notes`, `findings` and `example`.
    """
    kind = tasks.get_task(settings.task)
    limit = settings.data.max_length or kind.default_max_length
    if source is None:
        length = settings.data.max_length or ASSUMED_TOKENS
        task = kind.assumed(num_labels=num_labels)
        labels = f"{num_labels} labels and " if task.labels else ""
        notes.append(f"no data: {labels}{ASSUMED_ROWS:,} texts of {length} tokens, or the most a method reads, are assumed")
        row = [length] * kind.texts_per_row
        held_out, training = [row] * (ASSUMED_ROWS // 10), [row] * ASSUMED_ROWS
        return task, _assume([training, held_out, held_out], kind)
    dataset = datasets.read(source, options=settings.data, row_kind=kind.row_kind)
    task = kind.for_dataset(dataset, config=settings)
    notes += dataset.notes
    findings += checks.apply_force(task.check_dataset(dataset), force=settings.force)
    splits = [dataset.train, dataset.validation, dataset.test]
    targets, tokenizer = task.targets(dataset.train), meta.load_tokenizer_if_any(model.path)
    if tokenizer is None:
        notes.append(f"no tokenizer here: one token for every {CHARACTERS_PER_TOKEN} characters is assumed")
        parts = [[_guess_tokens(task.count_characters(row), limit=limit) for row in rows] for rows in splits]
    else:
        decisions = defaults.Decisions()
        encoded = method_plan.encode_splits(tokenizer, dataset, task=task, settings=settings, limit=limit, decisions=decisions)
        notes += decisions.sentences()
        example += encoded.example
        if note := tokenization.cache_note(tokenizer, [len(split) for split in splits]):
            notes.append(f"token ids cached on disk: {note}")
        return task, method_plan.describe_lengths(encoded.splits)
    return task, _assume(parts, kind, targets=targets)


def _guess_tokens(characters: Sequence[int], *, limit: int) -> list[int]:
    return [min(limit, math.ceil(count / CHARACTERS_PER_TOKEN)) for count in characters]


def _assume(parts: Sequence[Sequence[Sequence[int]]], kind: type[Task], *, targets: Sequence[int] = ()) -> SplitLengths:
    """Return the lengths of rows from those of the texts that each row of the three splits consists of."""
    lengths = SplitLengths(*([sum(row) for row in rows] for rows in parts), targets=targets)
    if kind.texts_per_row > 1:
        lengths = replace(lengths, parts=(parts[0], parts[1], parts[2]))
    return _with_trained(lengths, kind)


def _with_trained(lengths: SplitLengths, kind: type[Task]) -> SplitLengths:
    """Return the lengths with every token but the first as a target, where tokens are targets and nothing says which."""
    if kind.reads == "pooled":
        return lengths
    return replace(lengths, trained=[max(1, length - 1) for length in lengths.training])


def _recommend(entries: Sequence[PlannedMethod]) -> tuple[str, str]:
    fitting = [entry for entry in entries if entry.training_plan.fits and entry.method.weights != "random"]
    if not fitting:
        if entries[0].training_plan.fits:
            return "", f"{entries[0].method.name()} fits; it starts from random weights, so it is not recommended"
        least = min(entries, key=lambda entry: entry.training_plan.plan.peak_memory_bytes)
        return "", f"no method fits; the least, {least.method.name()}, {least.advice}"
    first = fitting[0]
    why = first.method.preference_reason or FIRST_THAT_FITS
    preferred = [entry.method.name() for entry in entries if entry.method.preference < first.method.preference]
    missed = f"; {', '.join(preferred)} would be preferred and does not fit" if preferred else ""
    absent = quantization.missing_packages() if first.method.needs else []
    needs = f"; it needs {' and '.join(absent)}: {quantization.INSTALL}" if absent else ""
    return first.method.name(), f"{why}{missed}{needs}"


def describe_decisions(made: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """Return `option = value: reason` for each open option, methods of the same reason together. `made`: choices by method."""
    options: dict[str, dict[str, dict[str, list[str]]]] = {}
    for method, choices in made:
        for choice in choices:
            reasons = options.setdefault(choice["option"], {})
            reasons.setdefault(choice["reason"], {}).setdefault(_format_value(choice["value"]), []).append(method)
    lines = []
    for option, reasons in options.items():
        for reason, values in reasons.items():
            differ = sum(map(len, values.values())) < len(made) or len(values) > 1
            shown = "; ".join(f"{value} ({', '.join(candidates)})" if differ else value for value, candidates in values.items())
            lines.append(f"{option} = {shown}: {reason}")
    return lines


def _format_value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
