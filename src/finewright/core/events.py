"""What a run says besides sentences and the engine's own events."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepResult:
    """`loss`: weighted mean over the texts of the step, nats. `grad_norm`: before clipping. `applied`: both are numbers, so
    the weights are changed."""

    loss: float
    grad_norm: float
    num_tokens: int
    num_rows: int
    applied: bool


@dataclass(frozen=True)
class StepCompleted:
    """An update was made. `step` counts from 1. `looks`: validation is looked at next."""

    step: int
    num_steps: int
    epoch: float
    lr: float
    result: StepResult
    looks: bool = False


@dataclass(frozen=True)
class MicroBatchesSplit:
    """Memory ran out in an update: it is made again, with the same texts in `num_passes` passes."""

    step: int
    num_passes: int


@dataclass(frozen=True)
class EvaluationCompleted:
    """The validation split was looked at; `best`: better than every time before."""

    step: int
    epoch: float
    metrics: dict[str, Any]
    best: bool


@dataclass(frozen=True)
class TrainingStopped:
    """Training is over. `early`: it stopped before its last step because validation no longer improved."""

    step: int
    early: bool


Event = StepCompleted | MicroBatchesSplit | EvaluationCompleted | TrainingStopped


@dataclass(frozen=True)
class DownloadProgress:
    """A file is on its way: `done` of `total` bytes."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class RunStarted:
    """A piece of a comparison's work starts."""

    name: str


@dataclass(frozen=True)
class RunProgress:
    """How far a run of a comparison is."""

    name: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class RunFinished:
    """`number` pieces of `total` are over. `message`: what came of it; `failed`: why it came to nothing."""

    name: str
    number: int
    total: int
    message: str
    failed: bool
