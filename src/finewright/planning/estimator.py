"""What a run will cost: parameters, peak memory by part, work and time; from the model's config and the texts' lengths."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from finewright.core import units
from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.data.packing import Batch, Update
from finewright.inference.scoring import EVALUATION_TOKENS
from finewright.methods.base import Method
from finewright.models import forward, prepared
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import PreparedModel
from finewright.planning.hardware_rates import SHAPES_KEPT, HardwareRates
from finewright.planning.tracer import blocks
from finewright.planning.tracer.cache import TraceResult, cached_trace
from finewright.planning.tracer.memory import MemoryTracer, Work, give_shapes, without_memory
from finewright.tasks.base import Task
from finewright.training.optimizer import OptimizerName, init_state, meta_optimizer
from finewright.training.step import train_step

HELD = ("weights", "gradients", "optimizer", "activations")
REST = "other"
KEPT = "trunk"
LOADING = "loading"
"""What weights take beyond their size in training when they have just been read: all in float32, none rounded yet."""
NEAR = 0.1
"""Share of the mean step's tokens that the step standing for all may differ by."""
_Part = Literal["all", "above", "trunk"]
"""Of a network: above the frozen lower blocks whose outcome is kept, or those blocks."""


@dataclass(frozen=True)
class Workload:
    """What a run has to do. `lengths`: tokens of each training text, a prompt's included; `evaluated`: of all texts that are
    scored without training, `evaluations` times. `filled`: of the splits that the frozen lower blocks are run over once;
    `kept_bytes`: memory for what comes out. `loaded_bytes`: of the weights when they have been read, 0 where that is in other
    memory than training.
    """

    task: Task
    lengths: Sequence[int]
    steps: Sequence[Update]
    evaluated: Sequence[int]
    prompt_tokens: int = 0
    optimizer: OptimizerName = "adamw"
    filled: Sequence[Sequence[int]] = ()
    kept_bytes: int = 0
    evaluations: int = 1
    loaded_bytes: int = 0

    def row_tokens(self, lengths: Sequence[int]) -> int:
        """Tokens of the row that such texts are packed into: of a prompt, which all share, none."""
        return sum(lengths) - self.prompt_tokens * len(lengths)


@dataclass(frozen=True)
class CostEstimate:
    """One way's cost. `memory`: bytes by part at the moment of the peak; `flops`, `seconds`: of the whole training.

    `telling_steps`: numbers (from 0) of the steps that were traced for the peak.
    """

    method: str
    trainable_parameters: int
    head_parameters: int
    total_parameters: int
    memory: dict[str, int]
    flops: int
    seconds: float
    artifact_bytes: int
    precision: str
    steps: int
    telling_steps: tuple[int, ...] = ()

    @property
    def peak_memory_bytes(self) -> int:
        """Memory beyond what the program itself takes."""
        return sum(self.memory.values())

    def sentence(self) -> str:
        """The plan in a line."""
        parts = ", ".join(f"{name} {units.format_bytes(count)}" for name, count in self.memory.items() if count >= 1e5)
        return (
            f"plan: {self.trainable_parameters:,} of {self.total_parameters:,} parameters trained, peak memory "
            f"{units.format_bytes(self.peak_memory_bytes)} ({parts}), about {self.seconds:.0f} s of training"
        )

    def as_json(self) -> dict[str, Any]:
        """Every number by name."""
        return {**asdict(self), "peak_memory_bytes": self.peak_memory_bytes}


NOTHING = TraceResult({REST: 0}, Work(), 0)


def prepare_on_meta(base: BaseNetwork, method: Method, *, bfloat16: bool) -> PreparedModel:
    """The way's own network on the meta device: what is trained and in which shape, without memory."""
    with torch.device("meta"):
        prepared_model = method.prepare(base.network, architecture=base.architecture, head=base.new, origin=base.origin)
    if bfloat16:
        prepared.use_bfloat16(prepared_model)
    return prepared_model


def estimate_cost(
    prepared_model: PreparedModel,
    *,
    method: Method,
    total_parameters: int,
    workload: Workload,
    rates: HardwareRates,
    scoring: TraceResult,
    filling: TraceResult = NOTHING,
) -> CostEstimate:
    """Trace the step that training will run, once for its largest batches and once for its usual one.

    `tuned` is a sketch. `scoring`, `filling`: of `trace_scoring` and `trace_filling`, the same for every setup of a way.
    """
    artifact_bytes = prepared_model.saved_bytes(method.saves)  # before the sketch is made fake
    largest, usual = _telling_steps(workload)
    traced = {index: _trace(prepared_model, workload.steps[index], workload=workload) for index in sorted({*largest, usual})}
    share = workload.row_tokens(workload.evaluated) * workload.evaluations / max(1, scoring.num_tokens)
    fills = sum(map(workload.row_tokens, workload.filled)) / max(1, filling.num_tokens)
    one, tokens = traced[usual], workload.steps[usual].pass_tokens(workload.lengths)
    times = sum(tokens) / one.num_tokens * len(workload.steps)
    shapes = one.work.num_shapes // min(2, len(tokens))  # of one pass: at most two were traced
    new = shapes * packing.count_new_sizes(workload.steps, workload.lengths, remembered=SHAPES_KEPT // max(1, shapes))
    seconds = rates.seconds(one.work) * times + rates.seconds(scoring.work) * share + rates.seconds(filling.work) * fills
    return CostEstimate(
        method=method.name(),
        trainable_parameters=prepared_model.num_trainable(),
        head_parameters=prepared_model.num_head(),
        total_parameters=total_parameters,
        memory=_largest([*traced.values(), scoring, filling], workload=workload),
        flops=int(one.work.flops * times + scoring.work.flops * share + filling.work.flops * fills),
        seconds=seconds + rates.shape_seconds * (new + scoring.work.num_shapes + filling.work.num_shapes),
        artifact_bytes=artifact_bytes,
        precision="bfloat16" if prepared_model.runtime.bfloat16 else "float32",
        steps=len(workload.steps),
        telling_steps=tuple(sorted(largest)),
    )


def _largest(traced: Sequence[TraceResult], *, workload: Workload) -> dict[str, int]:
    """The memory of whatever takes most: work, with what is kept of the frozen blocks besides, or loading before it."""
    peak = max((one.memory for one in traced), key=lambda parts: sum(parts.values()))
    peak = peak | ({KEPT: workload.kept_bytes} if workload.kept_bytes else {})
    if workload.loaded_bytes <= sum(peak.values()):
        return peak
    weights = peak["weights"]
    return dict.fromkeys([*HELD, REST], 0) | {"weights": weights, LOADING: workload.loaded_bytes - weights}


def _telling_steps(workload: Workload) -> tuple[set[int], int]:
    """Numbers of the steps with the most tokens and with the longest texts in one pass, and of one that is as most are."""
    lengths, steps = workload.lengths, workload.steps
    numbers, counts = range(len(steps)), [sum(step.pass_tokens(lengths)) for step in steps]

    def largest(power: int) -> int:
        return max(numbers, key=lambda index: max(sum(lengths[row] ** power for row in rows) for rows in steps[index].batches))

    mean = sum(counts) / len(steps)
    usual, most = min(numbers, key=lambda index: abs(counts[index] - mean)), largest(1)
    # one with about as many tokens tells as much, and is traced anyway
    return {most, largest(2)}, most if abs(counts[most] - mean) <= NEAR * mean else usual


class _Marking:
    """The task, telling when a forward pass is over: what lives then and is no part of the model waits for the way back."""

    def __init__(self, task: Task, ledger: MemoryTracer) -> None:
        self.waiting, self._task, self._ledger = set[int](), task, ledger

    def weight(self, targets: torch.Tensor) -> float:
        return self._task.weight(targets)

    def loss(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.waiting |= self._ledger.alive
        return self._task.loss(output, targets)


def _trace(prepared_model: PreparedModel, step: Update, *, workload: Workload) -> TraceResult:
    """One update on fake tensors, with the optimizer's state there from the start, as it is from the second update on."""
    # Of many passes the two largest tell all: from the second on the gradients of those before are there.
    passes = sorted(step.batches, key=lambda rows: sum(workload.lengths[row] for row in rows))[-2:]
    what = ["update", workload.optimizer, workload.prompt_tokens, repr(workload.task)]
    what += [[workload.lengths[row] for row in rows] for rows in passes]
    return cached_trace(prepared_model, what, lambda: _trace_update(prepared_model, passes, workload=workload))


def _trace_update(prepared_model: PreparedModel, passes: Sequence[Sequence[int]], *, workload: Workload) -> TraceResult:
    with without_memory() as ledger, blocks.shortened(prepared_model) as runs, blocks.marked(prepared_model, runs, ledger):
        numbers, optimizer = _at_rest(prepared_model, ledger, workload=workload)
        prepared_model.train()
        ledger.begin_anew()
        updates: list[int] = []
        for parameter in prepared_model.trainable().values():
            parameter.register_post_accumulate_grad_hook(lambda p: numbers["gradients"].add(ledger.number(p.grad)))
        parts, task = [_fake_batch(prepared_model, rows, workload=workload) for rows in passes], _Marking(workload.task, ledger)
        settings: dict[str, Any] = {"task": task, "optimizer": optimizer, "lr": 1.0, "max_grad_norm": 1.0}
        optimizer.register_step_pre_hook(lambda *_: updates.append(ledger.mark()))
        train_step(prepared_model, parts, **settings)
        numbers["activations"] = task.waiting - set().union(*(numbers[part] for part in HELD if part != "activations"))
        again, more = blocks.segments(runs), blocks.missing_numbers(runs, ledger, optimizer)
        peak = ledger.peak(numbers, rest=REST, segments=again, more=more)
        kept = sum(parameter.numel() for parameter in prepared_model.trainable().values())
        all_numbers = kept + blocks.num_missing_trainable(runs)
        work = ledger.work_told(again).plus(ledger.work_since(updates[0]), times=all_numbers / kept - 1)
        return TraceResult(peak, work, sum(workload.lengths[row] for rows in passes for row in rows))


def trace_scoring(prepared_model: PreparedModel, *, workload: Workload, splits: Sequence[Sequence[int]]) -> TraceResult:
    """One pass without gradients, as evaluation makes it: the one with the most tokens; memory is that of the worst one.

    `splits`: lengths of the texts of every split that is scored, a prompt's tokens included; of the first one the outcome of
    frozen lower blocks is there where it is kept at all. Between two steps the optimizer's state is there; the engine lets go
    of the gradients first.
    """
    splits = splits if any(splits) else [[], workload.lengths[:1]]
    num_kept = 0 if prepared_model.runtime.frozen_prefix is None else 1
    groups: list[tuple[Sequence[Sequence[int]], _Part]] = [(splits[:num_kept], "above"), (splits[num_kept:], "all")]
    return _worst([one for some, part in groups for one in _trace_telling(prepared_model, some, workload=workload, part=part)])


def trace_filling(prepared_model: PreparedModel, *, workload: Workload) -> TraceResult:
    """One pass of the frozen lower blocks alone; nothing where their outcome is not kept."""
    if prepared_model.runtime.frozen_prefix is None:
        return NOTHING
    return _worst(_trace_telling(prepared_model, workload.filled, workload=workload, part="trunk"))


def _worst(traced: Sequence[TraceResult]) -> TraceResult:
    """The first, with the memory of whichever takes most."""
    return replace(traced[0], memory=max((one.memory for one in traced), key=lambda parts: sum(parts.values())))


def _trace_telling(
    prepared_model: PreparedModel, splits: Sequence[Sequence[int]], *, workload: Workload, part: _Part
) -> list[TraceResult]:
    """The pass with the most tokens, and the one with the longest texts where that is another."""
    some = [split for split in splits if split]
    passes = [
        [split[row] for row in rows] for split in some for rows in packing.evaluation_batches(split, budget=EVALUATION_TOKENS)
    ]
    if not passes:
        return []
    most, worst = max(passes, key=workload.row_tokens), max(passes, key=lambda some: sum(length**2 for length in some))
    return [
        _trace_pass(prepared_model, one, workload=workload, part=part) for one in ([most] if worst == most else [most, worst])
    ]


def _trace_pass(prepared_model: PreparedModel, lengths: Sequence[int], *, workload: Workload, part: _Part) -> TraceResult:
    what = ["pass", workload.optimizer, workload.prompt_tokens, part, list(lengths)]
    return cached_trace(prepared_model, what, lambda: _trace_scored(prepared_model, lengths, workload=workload, part=part))


def _trace_scored(prepared_model: PreparedModel, lengths: Sequence[int], *, workload: Workload, part: _Part) -> TraceResult:
    with without_memory() as ledger, blocks.shortened(prepared_model) as runs, blocks.marked(prepared_model, runs, ledger):
        numbers, optimizer = _at_rest(prepared_model, ledger, workload=workload)
        prepared_model.trainable_module.eval()
        ledger.begin_anew()
        layout = PackedLayout(tuple(sorted(length - workload.prompt_tokens for length in lengths)))
        ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
        with torch.inference_mode():
            if part == "trunk":
                prepared_model.runtime.frozen_prefix.run(prepared_model, ids, layout)
            else:
                forward.compute_logits(
                    prepared_model, ids, layout, _fake_states(prepared_model, len(ids)) if part == "above" else None
                )
        again, more = blocks.segments(runs), blocks.missing_numbers(runs, ledger, optimizer)
        peak = {**ledger.peak(numbers, rest="activations", segments=again, more=more), REST: 0}
        if part == "trunk":
            peak["optimizer"] = 0  # before the first update there is none of its state
        return TraceResult(peak, ledger.work_told(again), workload.row_tokens(lengths))


def _at_rest(
    prepared_model: PreparedModel, ledger: MemoryTracer, *, workload: Workload
) -> tuple[dict[str, set[int]], torch.optim.Optimizer]:
    """Fake weights and the optimizer's state, as they are between two updates; storages by kind."""
    made = give_shapes(prepared_model.trainable_module, ledger)
    if prepared_model.prompt is not None:
        prepared_model.prompt = made[id(prepared_model.prompt)]
    numbers: dict[str, set[int]] = {part: set() for part in HELD}
    numbers["weights"] = set(
        map(ledger.number, [*prepared_model.trainable_module.parameters(), *prepared_model.trainable_module.buffers()])
    )
    optimizer = meta_optimizer(prepared_model, kind=workload.optimizer)
    init_state(optimizer)
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    numbers["optimizer"] = set(map(ledger.number, states))
    return numbers, optimizer


def _fake_states(prepared_model: PreparedModel, num_tokens: int) -> torch.Tensor | None:
    """What comes out of the frozen lower blocks, where a pass starts from that."""
    return (
        None
        if prepared_model.runtime.frozen_prefix is None
        else torch.zeros(num_tokens, prepared_model.network.config.hidden_size)
    )


def _fake_batch(prepared_model: PreparedModel, rows: Sequence[int], *, workload: Workload) -> Batch:
    layout = PackedLayout(tuple(sorted(workload.lengths[row] - workload.prompt_tokens for row in rows)))
    ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
    return Batch(tuple(rows), ids, layout, torch.zeros(len(rows), dtype=torch.long), _fake_states(prepared_model, len(ids)))
