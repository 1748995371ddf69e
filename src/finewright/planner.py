"""What a run will cost: parameters, peak memory by part, work and time; from the model's config and the texts' lengths."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from finewright import batches, fast, models, optim, tasks, trace
from finewright.attention import Layout
from finewright.batches import Batch, Step
from finewright.evaluate import EVALUATION_TOKENS
from finewright.layers import dense_state
from finewright.methods.base import AbstractMethod
from finewright.models import Base
from finewright.rates import Rates
from finewright.step import train_step
from finewright.tasks import Classification
from finewright.tuned import Tuned

PARTS = ("weights", "gradients", "optimizer")
REST = "activations"
KEPT = "trunk"
_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original\d*$")


@dataclass(frozen=True)
class Workload:
    """What a run has to do. `lengths`: tokens of each training text, a prompt's included; `evaluated`: of all texts that are
    scored without training, each as often as it is. `filled`: of the texts that the frozen lower blocks are run over once;
    `kept_bytes`: memory for what comes out.
    """

    task: Classification
    lengths: Sequence[int]
    steps: Sequence[Step]
    evaluated: Sequence[int]
    prompt_tokens: int = 0
    filled: Sequence[int] = ()
    kept_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """One way's cost. `memory`: bytes by part at the moment of the peak; `flops`, `seconds`: of the whole training."""

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

    @property
    def peak_memory_bytes(self) -> int:
        """Memory beyond what the program itself takes."""
        return sum(self.memory.values())

    def sentence(self) -> str:
        """The plan in a line."""
        parts = ", ".join(f"{name} {count / 1e6:,.0f}" for name, count in self.memory.items() if count)
        return (
            f"plan: {self.trainable_parameters:,} of {self.total_parameters:,} parameters trained, peak memory "
            f"{self.peak_memory_bytes / 1e6:,.0f} MB ({parts}), about {self.seconds:.0f} s"
        )

    def as_json(self) -> dict[str, Any]:
        """Every number by name."""
        return {**asdict(self), "peak_memory_bytes": self.peak_memory_bytes}


def sketch(base: Base, method: AbstractMethod, *, precision: str, device: str = "cpu") -> Tuned:
    """The way's own network on the meta device: what is trained and in which shape, without memory."""
    with torch.device("meta"):
        tuned = method.prepare(base.network, anatomy=base.anatomy, head=base.new, origin=base.origin)
    if precision == "bfloat16":
        models.use_bfloat16(tuned)
    fast.apply(tuned, device=device)
    return tuned


def plan(tuned: Tuned, *, method: AbstractMethod, total_parameters: int, workload: Workload, rates: Rates, folder: Path) -> Plan:
    """Trace the step that training will run, once for its largest batches and once for its usual one.

    `tuned` is a sketch; `folder` holds the tokenizer's files, which are saved with the model.
    """
    trainable, head = tuned.num_trainable(), tuned.num_head()
    artifact_bytes = _artifact_bytes(tuned, method=method, folder=folder)
    largest, usual = _telling_steps(workload)
    peaks, work = [], trace.Work()
    for step in {*largest, usual}:
        traced = _trace(tuned, step, workload=workload)
        peaks.append(traced.memory)
        if step is usual:
            work = traced.work
    scoring = _trace_scoring(tuned, workload=workload)
    peaks.append(scoring.memory)
    share = sum(workload.evaluated) / max(1, scoring.num_tokens)
    filling = _trace_filling(tuned, workload=workload)
    peaks.append(filling.memory)
    fill_share = sum(workload.filled) / max(1, filling.num_tokens)
    num_steps = len(workload.steps)
    return Plan(
        method=method.name(),
        trainable_parameters=trainable,
        head_parameters=head,
        total_parameters=total_parameters,
        memory=max(peaks, key=lambda parts: sum(parts.values())) | ({KEPT: workload.kept_bytes} if workload.kept_bytes else {}),
        flops=int(work.flops * num_steps + scoring.work.flops * share + filling.work.flops * fill_share),
        seconds=rates.seconds(work) * num_steps + rates.seconds(scoring.work) * share + rates.seconds(filling.work) * fill_share,
        artifact_bytes=artifact_bytes,
        precision="bfloat16" if tuned.bfloat16 else "float32",
        steps=num_steps,
    )


@dataclass(frozen=True)
class _Traced:
    memory: dict[str, int]
    work: trace.Work
    num_tokens: int


def _telling_steps(workload: Workload) -> tuple[set[Step], Step]:
    """The steps with the most tokens and with the longest texts in one pass, and the one nearest to the mean."""
    lengths = workload.lengths

    def tokens(step: Step) -> int:
        return sum(lengths[row] for rows in step.batches for row in rows)

    def pairs(step: Step) -> int:
        return max(sum(lengths[row] ** 2 for row in rows) for rows in step.batches)

    steps = workload.steps
    mean = sum(map(tokens, steps)) / len(steps)
    return {max(steps, key=tokens), max(steps, key=pairs)}, min(steps, key=lambda step: abs(tokens(step) - mean))


def _trace(tuned: Tuned, step: Step, *, workload: Workload) -> _Traced:
    """Two updates on fake tensors: the second one has the optimizer's state from its start."""
    with trace.without_memory() as ledger:
        _make_fake(tuned)
        tuned.train()
        numbers: dict[str, set[int]] = {part: set() for part in PARTS}
        numbers["weights"] = _numbers(ledger, [*tuned.owner.parameters(), *tuned.owner.buffers()])
        for parameter in tuned.trainable().values():
            parameter.register_post_accumulate_grad_hook(lambda p: numbers["gradients"].add(ledger.number(p.grad)))
        optimizer = optim.build(tuned, lr=1.0, weight_decay=0.0)
        parts = [_fake_batch(tuned, rows, workload=workload) for rows in step.batches]
        for _ in range(2):
            work = trace.work_of(
                ledger, lambda: train_step(tuned, parts, task=workload.task, optimizer=optimizer, lr=1.0, clip_norm=1.0)
            )
        states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
        numbers["optimizer"] = _numbers(ledger, states)
        memory = ledger.peak(numbers, rest=REST)
    return _Traced(memory, work, sum(part.num_tokens for part in parts))


def _trace_scoring(tuned: Tuned, *, workload: Workload) -> _Traced:
    """One pass without gradients, as evaluation makes it: the one with the most tokens."""
    lengths = list(workload.evaluated) or list(workload.lengths[:1])
    traced = _trace_pass(tuned, lengths, workload=workload, trunk=False)
    # While validation is scored between two steps, gradients and the optimizer's state are still there.
    trained = sum(p.numel() * p.element_size() for p in tuned.trainable().values())
    traced.memory.update({"gradients": trained, "optimizer": 2 * trained})
    return traced


def _trace_filling(tuned: Tuned, *, workload: Workload) -> _Traced:
    """One pass of the frozen lower blocks alone; nothing when they are not run apart."""
    if not workload.filled or tuned.trunk is None:
        return _Traced(dict.fromkeys((*PARTS, REST), 0), trace.Work(), 0)
    return _trace_pass(tuned, list(workload.filled), workload=workload, trunk=True)


def _trace_pass(tuned: Tuned, lengths: list[int], *, workload: Workload, trunk: bool) -> _Traced:
    rows = max(batches.by_length(lengths, budget=EVALUATION_TOKENS), key=lambda rows: sum(lengths[row] for row in rows))
    with trace.without_memory() as ledger:
        _make_fake(tuned)
        tuned.owner.eval()
        weights = _numbers(ledger, [*tuned.owner.parameters(), *tuned.owner.buffers()])
        layout = Layout(tuple(sorted(lengths[row] - workload.prompt_tokens for row in rows)))
        ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
        states = None if trunk else _fake_states(tuned, len(ids))
        with torch.no_grad():
            run = (lambda: tuned.trunk.run(tuned, ids, layout)) if trunk else (lambda: tasks.logits(tuned, ids, layout, states))
            work = trace.work_of(ledger, run)
        memory = ledger.peak({**{part: set() for part in PARTS}, "weights": weights}, rest=REST)
    return _Traced(memory, work, sum(lengths[row] for row in rows))


def _make_fake(tuned: Tuned) -> None:
    made = trace.give_shapes(tuned.owner)
    if tuned.prompt is not None:
        tuned.prompt = made[id(tuned.prompt)]


def _fake_states(tuned: Tuned, num_tokens: int) -> torch.Tensor | None:
    """What comes out of the frozen lower blocks, where a step starts from that."""
    return None if tuned.trunk is None else torch.zeros(num_tokens, tuned.network.config.hidden_size)


def _fake_batch(tuned: Tuned, rows: Sequence[int], *, workload: Workload) -> Batch:
    layout = Layout(tuple(sorted(workload.lengths[row] - workload.prompt_tokens for row in rows)))
    ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
    return Batch(tuple(rows), ids, layout, torch.zeros(len(rows), dtype=torch.long), _fake_states(tuned, len(ids)))


def _numbers(ledger: trace.Ledger, tensors: Sequence[torch.Tensor]) -> set[int]:
    return {ledger.number(tensor) for tensor in tensors}


def _artifact_bytes(tuned: Tuned, *, method: AbstractMethod, folder: Path) -> int:
    """Size of the saved folder: weights in float32 and the tokenizer's files."""
    state = dense_state(tuned.owner) if method.saves == "adapter" else tuned.network.state_dict()
    if method.saves == "adapter":
        state = {name: state[name] for name in {_PARAMETRIZED.sub(r".\1", name) for name in tuned.trainable()}}
    tensors = [*state.values(), *tuned.start.values()]  # what starts from a part of the base is saved as a difference
    files = [file for pattern in ("tokenizer*", "vocab*", "merges*") for file in folder.glob(pattern)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + sum(file.stat().st_size for file in files)
