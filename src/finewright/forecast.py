"""What training will look like before it starts: every update decided, its cost planned, its setup made to fit a budget."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finewright import batches, choices, engine, fast, hardware, memory, planner
from finewright import savings as work_savings
from finewright.config import Settings, TrainKnobs
from finewright.errors import ExitCode, UserError
from finewright.evaluate import EVALUATION_TOKENS
from finewright.methods.base import AbstractMethod
from finewright.planner import Plan, Workload
from finewright.rates import Rates
from finewright.savings import Savings, Texts
from finewright.shapes import Base
from finewright.tasks import Classification
from finewright.tuned import Tuned

CUDA_CONTEXT_BYTES = 450_000_000
"""What CUDA, cuBLAS and PyTorch's kernels take of a GPU before the first tensor; 0.3 to 0.6 GB by card and version."""


@dataclass(frozen=True)
class Budget:
    """Memory a run may take on a device, and where the number comes from."""

    num_bytes: int
    reason: str
    device: str = "cpu"


@dataclass(frozen=True)
class Setup:
    """What memory is traded for time with; the texts of an update are the same in every setup of a run.

    An update is of `accumulation` passes of `batch_tokens`, each cut in two `halvings` times over.
    """

    batch_tokens: int
    accumulation: int
    checkpoint_activations: bool
    halvings: int = 0

    @property
    def pass_tokens(self) -> int:
        """Tokens of one pass as it is made, about."""
        return math.ceil(self.batch_tokens / 2**self.halvings)

    @property
    def num_passes(self) -> int:
        """Passes that make an update, at most."""
        return self.accumulation * 2**self.halvings


@dataclass(frozen=True)
class Forecast:
    """`recipe`: every update. `fits`: the plan's peak is within the budget. `choices`: what was chosen, with reasons.

    `savings`: work that the run does without.
    """

    recipe: engine.Recipe
    setup: Setup
    plan: Plan
    budget: Budget
    choices: choices.Choices
    warnings: list[str]
    savings: Savings

    @property
    def fits(self) -> bool:
        """Whether the peak is within the budget."""
        return self.plan.peak_memory_bytes <= self.budget.num_bytes

    def apply(self, tuned: Tuned, *, device: str) -> None:
        """Bring a prepared network where it will run, in the form that was planned."""
        self.savings.apply(tuned, device=device)
        tuned.owner.to(device)
        checkpoint_blocks(tuned, on=self.setup.checkpoint_activations)

    def sentence(self) -> str:
        """The plan beside the budget."""
        return f"{self.plan.sentence()}; {memory.in_words(self.budget.num_bytes)} {self.budget.reason}"

    def as_json(self) -> dict[str, Any]:
        """The plan with its setup, as plan.json and `plan --json` hold it."""
        setup = {"batch_tokens": self.setup.batch_tokens, "accumulation": self.setup.accumulation}
        setup |= {"choices": self.choices.made}
        setup |= {"halvings": self.setup.halvings, "checkpoint_activations": self.setup.checkpoint_activations}
        return {**self.plan.as_json(), **setup, "fits": self.fits, "budget_bytes": self.budget.num_bytes}


def shortage(peaks: Mapping[str, int], budget: Budget) -> UserError:
    """Why nothing fits: what each way needs at its tightest."""
    needed = ", ".join(f"{way} {memory.in_words(peak)}" for way, peak in peaks.items())
    what = f"does not fit: needs {needed} at the tightest; {memory.in_words(budget.num_bytes)} {budget.reason}"
    fix = "`finewright plan` shows what fits and what would; --force goes on all the same"
    return UserError(what, where="plan", fix=fix, code=ExitCode.OUT_OF_MEMORY)


def asked_for(num_bytes: int, *, device: str) -> str:
    """The budget, in words, under which a run may take so many bytes."""
    return memory.in_words(num_bytes + (CUDA_CONTEXT_BYTES if device == "cuda" else 0), at_least=True)


def budget(settings: Settings, *, device: str) -> Budget:
    """The budget asked for, or what the device has free now. On a GPU some of what is asked for goes to CUDA itself."""
    if settings.budget is not None:
        asked, reason = memory.parse_size(settings.budget), "as asked for"
        if device != "cuda":
            return Budget(asked, reason, device)
        taken = memory.in_words(CUDA_CONTEXT_BYTES)
        if asked <= CUDA_CONTEXT_BYTES:
            what = f"{settings.budget} is no more than CUDA itself takes of a GPU, about {taken}"
            raise UserError(what, where="budget", fix="a larger one")
        return Budget(asked - CUDA_CONTEXT_BYTES, f"{reason}, {taken} of it left to CUDA itself", device)
    free = hardware.free_bytes(device)
    return Budget(free, f"free on this machine's {device}", device)


def make(
    tuned: Tuned,
    *,
    method: AbstractMethod,
    settings: Settings,
    task: Classification,
    texts: Texts,
    base: Base,
    rates: Callable[[int], Rates],
    budget: Budget,
) -> Forecast:
    """Decide learning rate, epochs and every update; then the roomiest setup that fits, or the tightest if none does.

    `tuned`: a sketch, made of `base`. `rates`: of this machine for passes of so many tokens.
    """
    made, train = choices.Choices(), settings.train
    splits = (texts.training, texts.validation, texts.test)
    training, scored, test = ([length + tuned.prompt_tokens for length in split] for split in splits)
    lr, warnings = choices.lr(train, method=method, choices=made, config=tuned.network.config)
    tokens = choices.batch_tokens(train, lengths=training, choices=made)
    first = Setup(tokens, train.accumulation, train.checkpoint_activations == "on", train.halvings)
    per_epoch = len(_updates(training, first, seed=settings.seed, epochs=1.0))
    epochs = choices.epochs(train, steps_per_epoch=per_epoch, choices=made)
    updates = _updates(training, first, seed=settings.seed, epochs=epochs, max_steps=train.max_steps)
    recipe = _recipe(train, updates, lr=lr, evaluate_every=max(1, round(per_epoch / train.evaluations_per_epoch)))
    saved = work_savings.choose(tuned, train=train, texts=texts, recipe=recipe, memory_bytes=budget.num_bytes)
    saved.tell(made, rows=saved.apply(tuned, device=budget.device), faster=fast.told(tuned, device=budget.device))
    _note_evaluation(made, texts)
    kept = {"filled": saved.filled(texts), "kept_bytes": saved.memory_bytes, "loaded_bytes": _loaded_bytes(base, budget)}
    kept["evaluations"] = recipe.num_evaluations
    once = Workload(task, training, updates, scored, tuned.prompt_tokens, train.optimizer, **kept)
    numbers: dict[str, Any] = {"total_parameters": base.total_parameters, "rates": rates(min(tokens, sum(training)))}
    numbers["scoring"] = planner.trace_scoring(tuned, workload=once, splits=[scored, test])
    numbers["filling"] = planner.trace_filling(tuned, workload=once)

    def cost(setup: Setup) -> Forecast:
        steps = _cut(updates, training, setup)
        checkpoint_blocks(tuned, on=setup.checkpoint_activations)
        planned = planner.plan(tuned, method=method, workload=replace(once, steps=steps), **numbers)
        return Forecast(replace(recipe, steps=steps), setup, planned, budget, made, warnings, saved)

    chains = _chains(first, longest=max(training), settings=settings)
    hopeless = max(_weight_bytes(tuned), once.loaded_bytes) > budget.num_bytes  # no setup makes the weights smaller
    found = roomiest([chains[-1][-1:]] if hopeless else chains, cost=cost)
    _say_why(found, first=first)
    return found


def _note_evaluation(made: choices.Choices, texts: Texts) -> None:
    if texts.validation or texts.test:
        made.note("evaluation.batch_tokens", EVALUATION_TOKENS, "a pass without gradients keeps no states for a way back")


def _loaded_bytes(base: Base, budget: Budget) -> int:
    """A GPU gets weights that were read into main memory and rounded there, or as they are packed."""
    return 0 if budget.device == "cuda" else base.loaded_bytes


def _weight_bytes(tuned: Tuned) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in tuned.owner.parameters())


def _recipe(train: TrainKnobs, steps: Sequence[batches.Step], *, lr: float, evaluate_every: int) -> engine.Recipe:
    return engine.Recipe(
        steps=steps,
        lr=lr,
        warmup_fraction=train.warmup_fraction,
        schedule=train.schedule,
        weight_decay=train.weight_decay,
        clip_norm=train.clip_norm,
        evaluate_every=evaluate_every,
        early_stopping=train.early_stopping,
        optimizer=train.optimizer,
    )


def checkpoint_blocks(tuned: Tuned, *, on: bool) -> None:
    """Let every block keep its input alone and compute the rest again on the way back (Chen et al. 2016, arXiv:1604.06174)."""
    network, new = tuned.network, hasattr(tuned.network, "activation_checkpointing_enable")  # transformers 5.23 has a new name
    if on:
        enable = network.activation_checkpointing_enable if new else network.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    elif tuned.checkpointed:
        (network.activation_checkpointing_disable if new else network.gradient_checkpointing_disable)()
    tuned.checkpointed = on


def _updates(lengths: Sequence[int], first: Setup, *, seed: int, epochs: float, max_steps: int = 0) -> batches.Steps:
    """The texts of every update, in the passes that `first` would make before any is cut in two."""
    options: dict[str, Any] = {"seed": seed, "epochs": epochs, "max_steps": max_steps}
    return batches.steps(lengths, budget=first.batch_tokens, accumulation=first.accumulation, **options)


def _cut(updates: batches.Steps, lengths: Sequence[int], setup: Setup) -> batches.Steps:
    """The same updates in the passes of a setup."""
    return updates.halved(lengths, times=setup.halvings) if setup.halvings else updates


def _chains(first: Setup, *, longest: int, settings: Settings) -> list[list[Setup]]:
    """Setups from roomy to tight: ever smaller passes, and the same again with blocks computed twice, which costs more time."""
    train, setup = settings.train, first
    passes = [setup]
    while train.batch_tokens is None and setup.pass_tokens > longest:
        setup = replace(setup, halvings=setup.halvings + 1)
        passes.append(setup)
    if train.checkpoint_activations != "auto":
        return [passes]
    return [passes, [replace(one, checkpoint_activations=True) for one in passes]]


def roomiest(chains: list[list[Setup]], *, cost: Callable[[Setup], Forecast]) -> Forecast:
    """The first setup that fits; memory falls along a chain, so few are looked at. The tightest if none fits."""
    cost = functools.cache(cost)
    found = cost(chains[0][0])
    if found.fits:
        return found
    held = sum(found.plan.memory.get(part, 0) for part in ("weights", "optimizer", planner.LOADING))
    if held > found.budget.num_bytes:
        return cost(chains[-1][-1])  # no setup makes these smaller
    for number, chain in enumerate(chains):
        known = found if number == 0 else cost(chain[-1])
        if number and not known.fits:
            return known
        if (fitting := _first_fitting(chain, known=known, cost=cost)) is not None:
            return fitting
    return cost(chains[-1][-1])


def _first_fitting(chain: list[Setup], *, known: Forecast, cost: Callable[[Setup], Forecast]) -> Forecast | None:
    """Memory grows nearly in proportion with the tokens of a pass, so one cost guesses the others; the guess is then traced."""
    index = min(_guess(chain, known), len(chain) - 1)
    while not (found := cost(chain[index])).fits:
        if index == len(chain) - 1:
            return None
        index = min(max(index + 1, _guess(chain, found)), len(chain) - 1)
    while index and _guess(chain, found) < index and (roomier := cost(chain[index - 1])).fits:
        index, found = index - 1, roomier
    return found


def _guess(chain: list[Setup], known: Forecast) -> int:
    """The number of the first setup that fits if the passes' part of memory grows with their tokens; one too many if none."""
    memory = known.plan.memory
    passing = sum(memory.get(part, 0) for part in ("activations", "other"))
    held, one = sum(memory.values()) - passing, passing / known.setup.pass_tokens
    fits = (number for number, setup in enumerate(chain) if held + one * setup.pass_tokens <= known.budget.num_bytes)
    return next(fits, len(chain))


def _say_why(found: Forecast, *, first: Setup) -> None:
    if found.setup == first:
        return
    why = f"so that the run fits {memory.in_words(found.budget.num_bytes)}"
    for knob in ("halvings", "checkpoint_activations"):
        value = getattr(found.setup, knob)
        if value != getattr(first, knob):
            found.choices.note(
                f"train.{knob}", "on" if value is True else value, why if found.fits else f"{why}, which it does not"
            )
