"""Training, planned before it starts: every update, its cost, and a setup that fits a budget."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from finewright.core import hardware, units
from finewright.core.config import RunConfig, TrainingConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.inference.scoring import EVALUATION_TOKENS
from finewright.methods.base import Method
from finewright.models import acceleration
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import PreparedModel
from finewright.planning import candidates, defaults, estimator, optimizations
from finewright.planning.estimator import CostEstimate, PassCost, Workload
from finewright.planning.hardware_rates import HardwareRates
from finewright.planning.optimizations import Optimizations, SplitLengths
from finewright.tasks.base import Task
from finewright.training import head_start, loop

CUDA_CONTEXT_BYTES = 450_000_000
"""GPU memory that CUDA, cuBLAS and PyTorch's kernels take before the first tensor; 0.3 to 0.6 GB by card and version."""


@dataclass(frozen=True)
class MemoryBudget:
    """Memory that a run may take on a device, and where the number comes from."""

    num_bytes: int
    reason: str
    device: str = "cpu"


@dataclass(frozen=True)
class MemorySetup:
    """What trades memory for time. The texts of an update are the same in every setup.

    An update has `gradient_accumulation_steps` micro-batches, each split in two `micro_batch_splits` times.
    """

    tokens_per_micro_batch: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    micro_batch_splits: int = 0

    @property
    def pass_tokens(self) -> int:
        """Tokens of one micro-batch after the splits, about."""
        return math.ceil(self.tokens_per_micro_batch / 2**self.micro_batch_splits)

    @property
    def num_micro_batches(self) -> int:
        """Most micro-batches of an update."""
        return self.gradient_accumulation_steps * 2**self.micro_batch_splits


@dataclass(frozen=True)
class TrainingPlan:
    """`schedule`: every update. `plan`: the cost. `choices`: defaults with their reasons.

    `optimizations`: work that the run skips. `head_start`: first weights of a new head. `pass_cost`: without gradients.
    """

    schedule: loop.TrainingSchedule
    setup: MemorySetup
    plan: CostEstimate
    budget: MemoryBudget
    choices: defaults.Decisions
    warnings: list[str]
    optimizations: Optimizations
    head_start: Literal["probe", "random"] = "random"
    pass_cost: PassCost = PassCost()

    @property
    def fits(self) -> bool:
        """Whether the peak is within the budget."""
        return self.plan.peak_memory_bytes <= self.budget.num_bytes

    def apply(self, prepared_model: PreparedModel, *, device: str) -> None:
        """Move a prepared model to the device, in the form that was planned."""
        self.optimizations.apply(prepared_model, device=device)
        prepared_model.trainable_module.to(device)
        acceleration.use_gradient_checkpointing(prepared_model, on=self.setup.gradient_checkpointing)

    def sentence(self) -> str:
        """Return the cost and the budget in words."""
        most = " at most, as it may stop early" if self.schedule.may_stop_early else ""
        return f"{self.plan.sentence()}{most}; {units.format_bytes(self.budget.num_bytes)} {self.budget.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return the plan as in plan.json and `plan --json`."""
        setup = {
            "tokens_per_micro_batch": self.setup.tokens_per_micro_batch,
            "gradient_accumulation_steps": self.setup.gradient_accumulation_steps,
        }
        setup |= {"choices": self.choices.made}
        setup |= {
            "micro_batch_splits": self.setup.micro_batch_splits,
            "gradient_checkpointing": self.setup.gradient_checkpointing,
        }
        return {
            **self.plan.as_json(),
            **setup,
            "fits": self.fits,
            "may_stop_early": self.schedule.may_stop_early,
            "budget_bytes": self.budget.num_bytes,
        }


def does_not_fit(peaks: Mapping[str, int], budget: MemoryBudget) -> UserError:
    """Return the error that nothing fits, with what each method needs in its tightest setup."""
    needed = ", ".join(f"{name} {units.format_bytes(peak)}" for name, peak in peaks.items())
    what = f"does not fit: needs at least {needed}; {units.format_bytes(budget.num_bytes)} {budget.reason}"
    fix = "`finewright plan` shows what fits and which changes would help; --force trains anyway"
    return UserError(what, where="plan", fix=fix, code=ExitCode.OUT_OF_MEMORY)


def asked_for(num_bytes: int, *, device: str) -> str:
    """Return in words the budget under which a run may take so many bytes."""
    return units.format_bytes(num_bytes + (CUDA_CONTEXT_BYTES if device == "cuda" else 0), at_least=True)


def resolve_budget(settings: RunConfig, *, device: str) -> MemoryBudget:
    """Return the budget asked for, or what is free on the device now. On a GPU, CUDA itself takes some of the former."""
    if settings.memory_budget is not None:
        asked, reason = units.parse_size(settings.memory_budget), "as asked for"
        if device != "cuda":
            return MemoryBudget(asked, reason, device)
        taken = units.format_bytes(CUDA_CONTEXT_BYTES)
        if asked <= CUDA_CONTEXT_BYTES:
            what = f"{settings.memory_budget} is no more than CUDA itself takes of a GPU, about {taken}"
            raise UserError(what, where="budget", fix="a larger one")
        return MemoryBudget(asked - CUDA_CONTEXT_BYTES, f"{reason}, {taken} of it left to CUDA itself", device)
    free = hardware.free_bytes(device)
    return MemoryBudget(free, f"free on this machine's {device}", device)


def plan_training(
    prepared_model: PreparedModel,
    *,
    method: Method,
    settings: RunConfig,
    task: Task,
    texts: SplitLengths,
    base: BaseNetwork,
    rates: Callable[[int], HardwareRates],
    budget: MemoryBudget,
) -> TrainingPlan:
    """Decide learning rate, epochs and every update; then the roomiest setup that fits, or the tightest if none does.

    `prepared_model`: `base` on the meta device, prepared by the method. `rates`: of this machine, by tokens per micro-batch.
    """
    made, options = defaults.Decisions(), settings.training
    splits = (texts.training, texts.validation, texts.test)
    training, scored, test = ([length + prepared_model.prompt_tokens for length in split] for split in splits)
    lr, warnings = defaults.default_learning_rate(
        options, method=method, choices=made, config=prepared_model.network.config, factor=task.learning_rate_factor
    )
    tokens = defaults.default_tokens_per_micro_batch(options, lengths=training, choices=made)
    most = task.most_pass_tokens if budget.device == "cpu" else 0
    first = _first_setup(options, tokens=tokens, splits=method.objective == "task", most=most)
    if first.micro_batch_splits > options.micro_batch_splits:
        why = f"passes of about {most:,} tokens are as fast on a CPU and take less memory; the update stays the same"
        made.note("training.micro_batch_splits", first.micro_batch_splits, why)
    start = defaults.choose_head_start(options, method=method, task=task, choices=made)
    if method.objective == "pairs":
        warnings += _unused_options(options)
        updates = _pair_updates(texts, settings=settings, num_labels=len(task.labels), choices=made)
        every, patience = len(updates), 0
    else:
        usual = (*task.least_epochs, method.least_updates(_layer_parameters(base)) if start == "probe" else defaults.LEAST_STEPS)
        updates, every = _usual_updates(training, first, usual=usual, settings=settings, choices=made)
        patience = defaults.default_early_stopping_patience(options, num_validation=len(scored), choices=made)
    warnings += _few_rows(updates, num_rows=len(training), least=task.least_rows_per_update)
    schedule = _training_schedule(options, updates, lr=lr, evaluate_every=every, patience=patience)
    knows = start == "probe" or (task.evaluates_start and method.weights != "random")
    schedule = replace(schedule, evaluates_start=knows and len(scored) >= candidates.LEAST_DECIDING_ROWS)
    chosen = optimizations.choose_optimizations(
        prepared_model, options=options, texts=texts, schedule=schedule, memory_bytes=budget.num_bytes
    )
    chosen.notify(
        made,
        rows=chosen.apply(prepared_model, device=budget.device),
        faster=acceleration.describe_acceleration(prepared_model, device=budget.device),
    )
    _note_evaluation(made, texts)
    cached: dict[str, Any] = {"filled": chosen.filled(texts), "cache_bytes": chosen.memory_bytes}
    cached |= {"loaded_bytes": _loaded_bytes(base, budget), "evaluations": schedule.num_evaluations}
    if start == "probe":
        cached |= _describe_probe(training, test, most=head_start.most_rows(len(task.labels)))
    if task.needs_reference:
        cached |= {"probed": [*training, *scored, *test]}
    cached |= {"parts": texts.parts[0], "num_aside": texts.num_aside}
    once = Workload(
        task, training, updates, scored, prepared_model.prompt_tokens, options.optimizer, trained=texts.trained, **cached
    )
    numbers: dict[str, Any] = {"total_parameters": base.total_parameters, "rates": rates(min(tokens, sum(training)))}
    numbers |= _trace_passes(prepared_model, once, texts=texts, test=test)
    pass_cost = estimator.cost_of_pass(prepared_model, numbers["scoring"], rates=numbers["rates"])

    def cost(setup: MemorySetup) -> TrainingPlan:
        steps = _split(updates, training, setup)
        acceleration.use_gradient_checkpointing(prepared_model, on=setup.gradient_checkpointing)
        planned = estimator.estimate_cost(prepared_model, method=method, workload=replace(once, steps=steps), **numbers)
        return TrainingPlan(replace(schedule, steps=steps), setup, planned, budget, made, warnings, chosen, start, pass_cost)

    chains = _chains(first, longest=max(training), settings=settings, splits=method.objective == "task")
    hopeless = max(_weight_bytes(prepared_model), once.loaded_bytes) > budget.num_bytes  # no setup makes the weights smaller
    found = choose_setup([chains[-1][-1:]] if hopeless else chains, cost=cost)
    _note_setup(found, first=first)
    return found


def _trace_passes(
    prepared_model: PreparedModel, once: Workload, *, texts: SplitLengths, test: Sequence[int]
) -> dict[str, estimator.TraceResult]:
    """Return the traces of what runs without gradients, by their name in `estimate_cost`. `test`: lengths with a prompt."""
    probed = [] if once.task.needs_reference else once.probed
    how: dict[str, Any] = {"parts": [*texts.parts[1:], []], "reads": [*texts.held_out_trained, []]}
    scoring = estimator.trace_scoring(prepared_model, workload=once, splits=[once.evaluated, test, probed], **how)
    reads = [texts.trained, *texts.held_out_trained]
    splits = [once.lengths, once.evaluated, test]
    reference = estimator.trace_reference(prepared_model, workload=once, splits=splits, parts=texts.parts, reads=reads)
    return {"scoring": scoring, "reference": reference, "filling": estimator.trace_filling(prepared_model, workload=once)}


def _first_setup(options: TrainingConfig, *, tokens: int, splits: bool, most: int = 0) -> MemorySetup:
    """Return the roomiest setup. `splits`: as in `_chains`. `most`: tokens of a pass, about, that are worth it; 0: any number."""
    passes, times = (options.gradient_accumulation_steps, options.micro_batch_splits) if splits else (1, 0)
    if most and splits and not times and options.tokens_per_micro_batch is None:
        times = max(0, round(math.log2(tokens / most)))
    return MemorySetup(tokens, passes, options.gradient_checkpointing == "on", times)


def _note_evaluation(made: defaults.Decisions, texts: SplitLengths) -> None:
    if texts.validation or texts.test:
        made.note("evaluation.batch_tokens", EVALUATION_TOKENS, "without gradients no activations are stored for a backward pass")


def _describe_probe(training: Sequence[int], test: Sequence[int], *, most: int) -> dict[str, Any]:
    """Return the lengths of the texts whose features a fitted head is made of and tried on, and how many it is made of: of long
    data as many as are read."""
    share = -(-len(training) // most)
    return {"probed": [*training[::share], *test], "num_fitted": min(len(training), most)}


def _loaded_bytes(base: BaseNetwork, budget: MemoryBudget) -> int:
    """Return 0 for a GPU: its weights are read into main memory and rounded or quantized there."""
    return 0 if budget.device == "cuda" else base.loaded_bytes


def _layer_parameters(base: BaseNetwork) -> int:
    return base.total_parameters - base.network.get_input_embeddings().weight.numel()


def _weight_bytes(prepared_model: PreparedModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in prepared_model.trainable_module.parameters())


def _training_schedule(
    options: TrainingConfig, steps: Sequence[packing.Update], *, lr: float, evaluate_every: int, patience: int
) -> loop.TrainingSchedule:
    return loop.TrainingSchedule(
        steps=steps,
        lr=lr,
        warmup_ratio=options.warmup_ratio,
        lr_scheduler=options.lr_scheduler,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        evaluate_every=evaluate_every,
        early_stopping_patience=patience,
        optimizer=options.optimizer,
    )


def _usual_updates(
    lengths: Sequence[int],
    first: MemorySetup,
    *,
    usual: tuple[int, int, int],
    settings: RunConfig,
    choices: defaults.Decisions,
) -> tuple[packing.UpdateSchedule, int]:
    """Return the updates of a method that minimises the task's loss, and after how many of them it is evaluated.

    `usual`: fewest and most epochs, and fewest updates, as in `default_epochs`.
    """
    options = settings.training
    per_epoch = len(_updates(lengths, first, seed=settings.seed, epochs=1.0))
    how: dict[str, Any] = {"usual": usual[:2], "least_steps": usual[2]}
    epochs = defaults.default_epochs(options, steps_per_epoch=per_epoch, **how, choices=choices)
    updates = _updates(lengths, first, seed=settings.seed, epochs=epochs, max_steps=options.max_steps)
    return updates, max(1, round(per_epoch / options.evals_per_epoch))


def _updates(
    lengths: Sequence[int], first: MemorySetup, *, seed: int, epochs: float, max_steps: int = 0
) -> packing.UpdateSchedule:
    """Return every update, in the micro-batches of `first` before any split."""
    options: dict[str, Any] = {"seed": seed, "epochs": epochs, "max_steps": max_steps}
    return packing.schedule_updates(
        lengths, budget=first.tokens_per_micro_batch, gradient_accumulation_steps=first.gradient_accumulation_steps, **options
    )


def _few_rows(updates: packing.UpdateSchedule, *, num_rows: int, least: int) -> list[str]:
    """Return a warning if the updates have fewer rows on average than the task's loss wants."""
    steps_per_epoch = len(updates) / updates[-1].epochs_done
    if num_rows / steps_per_epoch >= least:
        return []
    return [
        f"an update has fewer than {least} rows on average, of which its loss takes a mean: raise training.tokens_per_micro_batch"
    ]


def _unused_options(options: TrainingConfig) -> list[str]:
    """Return a warning that names the options that were given and mean nothing where pairs of texts are compared."""
    usual = TrainingConfig()
    names = ("tokens_per_micro_batch", "gradient_accumulation_steps", "micro_batch_splits", "early_stopping_patience")
    given = [name for name in (*names, "evals_per_epoch") if getattr(options, name) != getattr(usual, name)]
    what = f"training.{', training.'.join(given)}: without effect, as an update compares its texts with each other"
    return [what] if given else []


def _pair_updates(
    texts: SplitLengths, *, settings: RunConfig, num_labels: int, choices: defaults.Decisions
) -> packing.UpdateSchedule:
    """Return the updates on pairs of texts. Without data the texts' labels are taken to occur equally often."""
    num_rows = len(texts.training)
    targets = texts.targets or [row % max(1, num_labels) for row in range(num_rows)]
    sizes = {"num_rows": num_rows, "num_labels": num_labels}
    num_updates = defaults.default_pair_steps(settings.training, **sizes, choices=choices)
    return packing.schedule_balanced_updates(
        targets, rows_per_update=packing.ROWS_PER_STEP, seed=settings.seed, num_updates=num_updates
    )


def _split(updates: packing.UpdateSchedule, lengths: Sequence[int], setup: MemorySetup) -> packing.UpdateSchedule:
    """Return the same updates in the micro-batches of a setup."""
    return updates.split_micro_batches(lengths, times=setup.micro_batch_splits) if setup.micro_batch_splits else updates


def _chains(first: MemorySetup, *, longest: int, settings: RunConfig, splits: bool = True) -> list[list[MemorySetup]]:
    """Return setups from roomy to tight: ever smaller micro-batches, then the same with gradient checkpointing: slower.

    `splits`: whether the rows of an update may be parted; where pairs of them are compared they may not.
    """
    options, setup = settings.training, first
    passes = [setup]
    while splits and options.tokens_per_micro_batch is None and setup.pass_tokens > longest:
        setup = replace(setup, micro_batch_splits=setup.micro_batch_splits + 1)
        passes.append(setup)
    if options.gradient_checkpointing != "auto":
        return [passes]
    return [passes, [replace(one, gradient_checkpointing=True) for one in passes]]


def choose_setup(chains: list[list[MemorySetup]], *, cost: Callable[[MemorySetup], TrainingPlan]) -> TrainingPlan:
    """Return the first setup that fits, the tightest if none does. Memory falls along a chain, so few setups are traced."""
    cost = functools.cache(cost)
    found = cost(chains[0][0])
    if found.fits:
        return found
    held = sum(found.plan.memory.get(part, 0) for part in ("weights", "optimizer", estimator.LOADING))
    if held > found.budget.num_bytes:
        return cost(chains[-1][-1])  # no setup makes these smaller
    for number, chain in enumerate(chains):
        known = found if number == 0 else cost(chain[-1])
        if number and not known.fits:
            return known
        if (fitting := _first_fitting(chain, known=known, cost=cost)) is not None:
            return fitting
    return cost(chains[-1][-1])


def _first_fitting(
    chain: list[MemorySetup], *, known: TrainingPlan, cost: Callable[[MemorySetup], TrainingPlan]
) -> TrainingPlan | None:
    """Return the first plan of a chain that fits, traced where memory linear in the tokens of a micro-batch predicts it."""
    index = min(_guess(chain, known), len(chain) - 1)
    while not (found := cost(chain[index])).fits:
        if index == len(chain) - 1:
            return None
        index = min(max(index + 1, _guess(chain, found)), len(chain) - 1)
    while index and _guess(chain, found) < index and (roomier := cost(chain[index - 1])).fits:
        index, found = index - 1, roomier
    return found


def _guess(chain: list[MemorySetup], known: TrainingPlan) -> int:
    """Return the index of the first setup that should fit if activations grow with the tokens; `len(chain)` if none."""
    memory = known.plan.memory
    per_batch = sum(memory.get(part, 0) for part in ("activations", "other"))
    held, one = sum(memory.values()) - per_batch, per_batch / known.setup.pass_tokens
    fits = (number for number, setup in enumerate(chain) if held + one * setup.pass_tokens <= known.budget.num_bytes)
    return next(fits, len(chain))


def _note_setup(found: TrainingPlan, *, first: MemorySetup) -> None:
    if found.setup == first:
        return
    why = f"so that the run fits {units.format_bytes(found.budget.num_bytes)}"
    for option in ("micro_batch_splits", "gradient_checkpointing"):
        value = getattr(found.setup, option)
        if value != getattr(first, option):
            found.choices.note(
                f"training.{option}", "on" if value is True else value, why if found.fits else f"{why}, which it does not"
            )
