"""A run's cost: parameters, peak memory by part, work and time, from the model's config and the texts' lengths."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch

from finewright.core import units
from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.data.packing import Batch, Update
from finewright.inference.scoring import EVALUATION_TOKENS
from finewright.methods.base import Method
from finewright.models import forward, prepared
from finewright.models.architectures.base import Architecture
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import PreparedModel
from finewright.planning import fake_batches
from finewright.planning.hardware_rates import SHAPES_KEPT, HardwareRates
from finewright.planning.tracer import blocks, experts
from finewright.planning.tracer.cache import TraceResult, cached_trace
from finewright.planning.tracer.memory import MemoryTracer, Work, give_shapes, without_memory
from finewright.tasks.base import Task
from finewright.training.optimizer import OptimizerName, init_state, meta_optimizer
from finewright.training.step import train_step

HELD = ("weights", "gradients", "optimizer", "activations")
REST = "other"
FROZEN_CACHE = "trunk"
"""Its key in plan.json."""
LOADING = "loading"
"""What weights take beyond their size in training right after they are read: all in float32, none rounded yet."""
OPERATIONS_PER_LAYER = 45
"""Of a layer of a decoder that reads one token of each answer."""
OPERATIONS_PER_FIT_PASS = 40
"""What a pass of a regression costs beside its products, in operations of a network: 0.5 ms."""
NEAR = 0.1
"""Share of the mean update's tokens by which the representative update may differ from it."""
_Part = Literal["all", "above", "frozen", "reference"]
"""Part of a network: all of it, what is above the cached frozen layers, or those layers; all of it before the first update."""


@dataclass(frozen=True)
class Workload:
    """The work of a run. `lengths`: tokens of each training text, with a prompt's. `evaluated`: of each text that is scored,
    `evaluations` times. `probed`: of each text whose features are read before the first update; `num_fitted` of them the head is
    fitted to. `filled`: of each text of the splits whose frozen-layer outputs are cached, in `cache_bytes` of memory.
    `loaded_bytes`: size of the weights right after they are read, 0 if that is in other memory than training. `trained`: how many
    tokens of each training text are targets, empty where tokens are none. `parts`: of each training row that consists of several
    texts, their tokens, without a prompt's; of these `num_aside` are read without gradients.
    """

    task: Task
    lengths: Sequence[int]
    steps: Sequence[Update]
    evaluated: Sequence[int]
    prompt_tokens: int = 0
    optimizer: OptimizerName = "adamw"
    filled: Sequence[Sequence[int]] = ()
    cache_bytes: int = 0
    evaluations: int = 1
    probed: Sequence[int] = ()
    num_fitted: int = 0
    loaded_bytes: int = 0
    trained: Sequence[int] = ()
    parts: Sequence[Sequence[int]] = ()
    num_aside: int = 0

    def row_tokens(self, lengths: Sequence[int]) -> int:
        """Return the tokens of the row that such texts are packed into, without the prompt that all share."""
        return sum(lengths) - self.prompt_tokens * len(lengths)


@dataclass(frozen=True)
class CostEstimate:
    """A method's cost. `memory`: bytes by part at the moment of the peak. `flops`, `seconds`: of the whole training.

    `traced_steps`: numbers (from 0) of the updates that were traced for the peak.
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
    traced_steps: tuple[int, ...] = ()

    @property
    def peak_memory_bytes(self) -> int:
        """Memory beyond what the program itself takes."""
        return sum(self.memory.values())

    def sentence(self) -> str:
        """Return the cost in one line."""
        parts = ", ".join(f"{name} {units.format_bytes(count)}" for name, count in self.memory.items() if count >= 1e5)
        return (
            f"plan: {self.trainable_parameters:,} of {self.total_parameters:,} parameters trained, peak memory "
            f"{units.format_bytes(self.peak_memory_bytes)} ({parts}), about {self.seconds:.0f} s of training"
        )

    def as_json(self) -> dict[str, Any]:
        """Return all fields and the peak, JSON-ready."""
        return {**asdict(self), "peak_memory_bytes": self.peak_memory_bytes}


@dataclass(frozen=True)
class PassCost:
    """Seconds of a pass without gradients: `fixed` ones, however few its tokens are, and those of each token (`per_token`).

    Fixed are reading every matrix once, and what the operations cost by themselves.
    """

    fixed: float = 0.0
    per_token: float = 0.0


def cost_of_pass(prepared_model: PreparedModel, scoring: TraceResult, *, rates: HardwareRates) -> PassCost:
    """Return what a pass costs, by the work of a traced one."""
    network = prepared_model.network
    inputs = network.get_input_embeddings().weight
    output = network.get_output_embeddings()
    is_tied = output is not None and output.weight is inputs  # then the embedding is multiplied with too
    weights = [one.numel() for one in network.parameters() if is_tied or one is not inputs]
    num_bytes = (2 if prepared_model.runtime.bfloat16 else 4) * sum(weights)
    num_layers = len(network.get_submodule(prepared_model.architecture.layers))
    fixed = num_bytes / rates.bytes_per_second + OPERATIONS_PER_LAYER * num_layers * rates.operation_seconds
    per_token = rates.seconds(replace(scoring.work, num_operations=0)) / max(1, scoring.num_tokens)
    return PassCost(fixed, per_token)


NOTHING = TraceResult({REST: 0}, Work(), 0)


def prepare_on_meta(base: BaseNetwork, method: Method, *, bfloat16: bool) -> PreparedModel:
    """Return the network as the method prepares it, on the meta device: all shapes, no memory."""
    with torch.device("meta"):
        prepared_model = method.prepare(base)
    experts.use_even_experts(prepared_model.network)
    prepared_model.runtime.objective = "task"  # the products of pairs cost as little as the head's
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
    reference: TraceResult = NOTHING,
) -> CostEstimate:
    """Trace the very update that training runs: the largest ones for memory, a usual one for time.

    `prepared_model`: on the meta device. `scoring`, `filling`, `reference`: from `trace_scoring`, `trace_filling` and
    `trace_reference`, which hold for every setup of a method.
    """
    artifact_bytes = prepared_model.saved_bytes(method.saves)  # before its parameters become fake
    largest, usual = _representative_updates(workload, prepared_model.architecture)
    traced = {index: _trace(prepared_model, workload.steps[index], workload=workload) for index in sorted({*largest, usual})}
    num_scored = workload.row_tokens(workload.evaluated) * workload.evaluations + workload.row_tokens(workload.probed)
    share = num_scored / max(1, scoring.num_tokens)
    fills = sum(map(workload.row_tokens, workload.filled)) / max(1, filling.num_tokens)
    one, tokens = traced[usual], workload.steps[usual].pass_tokens(workload.lengths)
    times = sum(tokens) / one.num_tokens * len(workload.steps)
    shapes = one.work.num_shapes // min(2, len(tokens))  # of one micro-batch: at most two were traced
    new = shapes * packing.count_new_sizes(workload.steps, workload.lengths, remembered=SHAPES_KEPT // max(1, shapes))
    fitting = _fitting_work(workload, width=prepared_model.network.config.hidden_size)
    seconds = (
        rates.seconds(fitting)
        + rates.seconds(one.work) * times
        + rates.seconds(scoring.work) * share
        + rates.seconds(filling.work) * fills
    )
    return CostEstimate(
        method=method.name(),
        trainable_parameters=prepared_model.num_trainable(),
        head_parameters=prepared_model.num_head(),
        total_parameters=total_parameters,
        memory=_largest([*traced.values(), scoring, filling], before=reference, workload=workload),
        flops=int(fitting.flops + one.work.flops * times + scoring.work.flops * share + filling.work.flops * fills),
        seconds=seconds + rates.shape_seconds * (new + scoring.work.num_shapes + filling.work.num_shapes),
        artifact_bytes=artifact_bytes,
        precision="bfloat16" if prepared_model.runtime.bfloat16 else "float32",
        steps=len(workload.steps),
        traced_steps=tuple(sorted(largest)),
    )


def _fitting_work(workload: Workload, *, width: int) -> Work:
    """Return about the work of the regressions that a head starts from: products of the features with vectors, twice each."""
    size, passes = workload.num_fitted * width, 0.0
    if size:
        passes = workload.task.count_fit_passes(num_rows=workload.num_fitted, num_features=width)
    size *= passes
    products = Counter({"float32": int(4 * size * max(1, len(workload.task.labels)))} if size else {})
    return Work(products, moved_bytes=int(8 * size), num_operations=int(OPERATIONS_PER_FIT_PASS * passes))


def _largest(traced: Sequence[TraceResult], *, before: TraceResult, workload: Workload) -> dict[str, int]:
    """Return the largest memory by part: of the work with the frozen-layer cache, or of loading and of what comes `before` it."""
    peak = max((one.memory for one in traced), key=lambda parts: sum(parts.values()))
    peak = peak | ({FROZEN_CACHE: workload.cache_bytes} if workload.cache_bytes else {})
    peak = max(peak, before.memory, key=lambda parts: sum(parts.values()))
    if workload.loaded_bytes <= sum(peak.values()):
        return peak
    weights = peak["weights"]
    return dict.fromkeys([*HELD, REST], 0) | {"weights": weights, LOADING: workload.loaded_bytes - weights}


def _representative_updates(workload: Workload, architecture: Architecture) -> tuple[set[int], int]:
    """Return the indices of the updates with the most tokens and the longest texts in a micro-batch, and of a usual one."""
    lengths, steps = workload.lengths, workload.steps
    numbers, counts = range(len(steps)), [sum(step.pass_tokens(lengths)) for step in steps]

    def largest(power: int) -> int:
        def computed(index: int) -> int:
            return max(_computed([lengths[row] for row in rows], architecture, power=power) for rows in steps[index].batches)

        return max(numbers, key=computed)

    mean = sum(counts) / len(steps)
    usual, most = min(numbers, key=lambda index: abs(counts[index] - mean)), largest(1)
    # an update with about as many tokens is as good, and is traced anyway
    return {most, largest(2)}, most if abs(counts[most] - mean) <= NEAR * mean else usual


class _RecordingTask:
    """The task, which records at the end of a forward pass what is alive: beyond the model these are activations."""

    def __init__(self, task: Task, tracer: MemoryTracer) -> None:
        self.waiting, self._task, self._tracer = set[int](), task, tracer

    def weight(self, targets: torch.Tensor) -> float:
        return self._task.weight(targets)

    def loss(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.waiting |= self._tracer.alive
        return self._task.loss(output, targets)


def _trace(prepared_model: PreparedModel, step: Update, *, workload: Workload) -> TraceResult:
    """Trace one update on fake tensors, with the optimizer's state from the start, as from the second update on."""
    # The two largest micro-batches are enough: from the second on, gradients of earlier ones are in memory.
    passes = sorted(step.batches, key=lambda rows: sum(workload.lengths[row] for row in rows))[-2:]
    what = ["update", workload.optimizer, workload.prompt_tokens, repr(workload.task)]
    what += [[workload.lengths[row] for row in rows] for rows in passes]
    what += [[workload.trained[row] for row in rows] for rows in passes] if workload.trained else []
    what += [[workload.parts[row] for row in rows] for rows in passes] if workload.parts else []
    return cached_trace(prepared_model, what, lambda: _trace_update(prepared_model, passes, workload=workload))


def _trace_update(prepared_model: PreparedModel, passes: Sequence[Sequence[int]], *, workload: Workload) -> TraceResult:
    with without_memory() as tracer, blocks.shortened(prepared_model) as runs, blocks.marked(prepared_model, runs, tracer):
        numbers, optimizer = _make_fake(prepared_model, tracer, workload=workload)
        prepared_model.train()
        tracer.begin_anew()
        updates: list[int] = []
        for parameter in prepared_model.trainable().values():
            parameter.register_post_accumulate_grad_hook(lambda p: numbers["gradients"].add(tracer.number(p.grad)))
        parts, task = (
            [_fake_batch(prepared_model, rows, workload=workload) for rows in passes],
            _RecordingTask(workload.task, tracer),
        )
        settings: dict[str, Any] = {"task": task, "optimizer": optimizer, "lr": 1.0, "max_grad_norm": 1.0}
        optimizer.register_step_pre_hook(lambda *_: updates.append(tracer.mark()))
        train_step(prepared_model, parts, **settings)
        numbers["activations"] = task.waiting - set().union(*(numbers[part] for part in HELD if part != "activations"))
        again, more = blocks.segments(runs), blocks.missing_numbers(runs, tracer, optimizer)
        peak = tracer.peak(numbers, rest=REST, segments=again, more=more)
        num_traced = sum(parameter.numel() for parameter in prepared_model.trainable().values())
        num_trainable = num_traced + blocks.num_missing_trainable(runs)
        work = tracer.work_with_repeats(again).plus(tracer.work_since(updates[0]), times=num_trainable / num_traced - 1)
        return TraceResult(peak, work, sum(workload.lengths[row] for rows in passes for row in rows))


_Rows = tuple[Sequence[int], Sequence[Sequence[int]], Sequence[int]]
"""Of rows that are scored: their lengths, of rows of several texts those of these, and how many tokens of each are targets."""


def trace_scoring(
    prepared_model: PreparedModel,
    *,
    workload: Workload,
    splits: Sequence[Sequence[int]],
    parts: Sequence[Sequence[Sequence[int]]] = ((), (), ()),
    reads: Sequence[Sequence[int]] = ((), (), ()),
) -> TraceResult:
    """Trace evaluation, without gradients: the micro-batch with the most tokens, with the memory of the worst one.

    `splits`: lengths of the texts of every scored split, with a prompt's tokens. If frozen-layer outputs are cached, they are
    for the first split. `parts`: of rows of several texts their tokens, split by split. `reads`: how many tokens of each row are
    targets, all but the first where nothing is known. The optimizer's state is in memory; the training loop frees the gradients
    first.
    """
    if not any(splits):
        splits, parts = [[], workload.lengths[:1]], [[], workload.parts[:1]]
    num_cached = 0 if prepared_model.runtime.frozen_prefix is None else 1
    named: list[_Rows] = list(zip(splits, parts, reads, strict=False))
    groups: list[tuple[list[_Rows], _Part]] = [(named[:num_cached], "above"), (named[num_cached:], "all")]
    return _with_largest_memory(
        [one for some, part in groups for one in _trace_representative(prepared_model, some, workload=workload, part=part)]
    )


def trace_reference(
    prepared_model: PreparedModel,
    *,
    workload: Workload,
    splits: Sequence[Sequence[int]],
    parts: Sequence[Sequence[Sequence[int]]],
    reads: Sequence[Sequence[int]],
) -> TraceResult:
    """Trace the scoring of all rows by the untrained model, before the optimizer has a state and frozen layers are cached; return
    `NOTHING` where the task compares with no reference. The arguments are those of `trace_scoring`."""
    if not workload.task.needs_reference:
        return NOTHING
    rows: list[_Rows] = list(zip(splits, parts, reads, strict=True))
    return _with_largest_memory(_trace_representative(prepared_model, rows, workload=workload, part="reference"))


def trace_filling(prepared_model: PreparedModel, *, workload: Workload) -> TraceResult:
    """Trace the frozen layers alone, as they run to fill the cache; return `NOTHING` without a cache."""
    if prepared_model.runtime.frozen_prefix is None:
        return NOTHING
    filled: list[_Rows] = [(split, (), ()) for split in workload.filled]
    return _with_largest_memory(_trace_representative(prepared_model, filled, workload=workload, part="frozen"))


def _with_largest_memory(traced: Sequence[TraceResult]) -> TraceResult:
    """Return the first result with the largest memory of all."""
    return replace(traced[0], memory=max((one.memory for one in traced), key=lambda parts: sum(parts.values())))


class _Pass(NamedTuple):
    """A pass without gradients. `lengths`: tokens of its rows; `parts`: of the texts of a row; `reads`: targets of each row."""

    lengths: list[int]
    parts: list[Sequence[int]]
    reads: list[int]


def _trace_representative(
    prepared_model: PreparedModel, splits: Sequence[_Rows], *, workload: Workload, part: _Part
) -> list[TraceResult]:
    """Trace the micro-batch with the most tokens, and the one with the most pairs of tokens if it is another. In an architecture
    that cannot pack, its padding counts, and the one with the most real tokens may be a third."""
    architecture = prepared_model.architecture
    passes: list[_Pass] = []
    for lengths, parts, reads in splits:
        for rows in packing.evaluation_batches(lengths, budget=EVALUATION_TOKENS) if lengths else []:
            own = [lengths[row] for row in rows]
            texts = [parts[row] for row in rows] if parts else [[length - workload.prompt_tokens] for length in own]
            known = [reads[row] for row in rows] if reads else [sum(row) - len(row) for row in texts]
            passes.append(_Pass(own, texts, known if workload.trained else []))
    if not passes:
        return []

    def computed(one: _Pass, power: int) -> int:
        texts = [length + workload.prompt_tokens for row in one.parts for length in row]
        return _computed(texts, architecture, power=power)

    largest = [max(passes, key=lambda one: workload.row_tokens(one.lengths))]
    for power in (1, 2) if architecture.not_packable else (2,):
        worst = max(passes, key=partial(computed, power=power))
        largest += [] if worst in largest else [worst]
    return [_trace_pass(prepared_model, one, workload=workload, part=part) for one in largest]


def _computed(lengths: Sequence[int], architecture: Architecture, *, power: int) -> int:
    """Return how many tokens (`power` 1) or pairs of tokens (2) a pass holds at once: those of all texts in a packed row, with
    their padding where each text is a row, and of the largest group where only texts of one length run together."""
    if not architecture.not_packable:
        return sum(length**power for length in lengths)
    if not architecture.needs_equal_lengths:
        return len(lengths) * max(lengths) ** power
    return max(count * length**power for length, count in Counter(lengths).items())


def _trace_pass(prepared_model: PreparedModel, one: _Pass, *, workload: Workload, part: _Part) -> TraceResult:
    what = ["pass", workload.optimizer, workload.prompt_tokens, workload.num_aside, part]
    what += [one.lengths, [[*row] for row in one.parts], one.reads]
    return cached_trace(prepared_model, what, lambda: _trace_scored(prepared_model, one, workload=workload, part=part))


def _trace_scored(prepared_model: PreparedModel, one: _Pass, *, workload: Workload, part: _Part) -> TraceResult:
    with without_memory() as tracer, blocks.shortened(prepared_model) as runs, blocks.marked(prepared_model, runs, tracer):
        numbers, optimizer = _make_fake(prepared_model, tracer, workload=workload)
        prepared_model.trainable_module.eval()
        tracer.begin_anew()
        with torch.inference_mode():
            if part == "frozen":
                layout = PackedLayout(tuple(sorted(length for row in one.parts for length in row)))
                ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
                prepared_model.runtime.frozen_prefix.run(prepared_model, ids, layout)
            else:
                how: dict[str, Any] = {"num_aside": workload.num_aside, "cached": part == "above"}
                forward.compute_outputs(prepared_model, fake_batches.make_batch(prepared_model, one.parts, one.reads, **how))
        again, more = blocks.segments(runs), blocks.missing_numbers(runs, tracer, optimizer)
        peak = {**tracer.peak(numbers, rest="activations", segments=again, more=more), REST: 0}
        if part in ("frozen", "reference"):
            peak["optimizer"] = 0  # it has no state before the first update
        return TraceResult(peak, tracer.work_with_repeats(again), workload.row_tokens(one.lengths))


def _make_fake(
    prepared_model: PreparedModel, tracer: MemoryTracer, *, workload: Workload
) -> tuple[dict[str, set[int]], torch.optim.Optimizer]:
    """Make weights and optimizer state fake, as they are between two updates. Return their storages by kind."""
    made = give_shapes(prepared_model.trainable_module, tracer)
    if prepared_model.prompt is not None:
        prepared_model.prompt = made[id(prepared_model.prompt)]
    numbers: dict[str, set[int]] = {part: set() for part in HELD}
    numbers["weights"] = set(
        map(tracer.number, [*prepared_model.trainable_module.parameters(), *prepared_model.trainable_module.buffers()])
    )
    optimizer = meta_optimizer(prepared_model, kind=workload.optimizer)
    init_state(optimizer)
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    numbers["optimizer"] = set(map(tracer.number, states))
    return numbers, optimizer


def _fake_batch(prepared_model: PreparedModel, rows: Sequence[int], *, workload: Workload) -> Batch:
    lengths, trained = workload.lengths, workload.trained
    parts = [workload.parts[row] for row in rows] if workload.parts else [[lengths[row] - workload.prompt_tokens] for row in rows]
    num_read = [trained[row] for row in rows] if trained else []
    batch = fake_batches.make_batch(prepared_model, parts, num_read, num_aside=workload.num_aside, rows=tuple(rows))
    shape = workload.task.target_shape
    return replace(batch, targets=torch.zeros(len(batch.targets), *shape)) if shape else batch
