"""Events of training, of downloads and of comparisons, and notices for the user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Level = Literal["detail", "info", "warning"]


@dataclass(frozen=True)
class Notice:
    """A sentence for the user. `level`: a `detail` matters only to who asks for it. `code`: what it is about; it stays the same
    when the wording changes."""

    message: str
    level: Level = "info"
    code: str = ""

    def __str__(self) -> str:
        """Return the sentence, marked if it is a warning."""
        return f"warning: {self.message}" if self.level == "warning" else self.message


@dataclass(frozen=True)
class StepResult:
    """`loss`: weighted mean over the texts of the update, in nats. `grad_norm`: before clipping. `applied`: both are finite, so
    the weights were changed."""

    loss: float
    grad_norm: float
    num_tokens: int
    num_rows: int
    applied: bool


@dataclass(frozen=True)
class StepCompleted:
    """An update was made. `step` counts from 1. `evaluates`: an evaluation of the validation split follows."""

    step: int
    num_steps: int
    epoch: float
    lr: float
    result: StepResult
    evaluates: bool = False


@dataclass(frozen=True)
class MicroBatchesSplit:
    """Memory ran out in an update. It is repeated with the same texts in `num_micro_batches` micro-batches."""

    step: int
    num_micro_batches: int


@dataclass(frozen=True)
class EvaluationCompleted:
    """The validation split was evaluated. `best`: better than all evaluations before.

    `metric`: name of the task's deciding metric in `metrics`. `shown`: its value as a user reads it.
    """

    step: int
    epoch: float
    metrics: dict[str, Any]
    best: bool
    metric: str
    shown: str


@dataclass(frozen=True)
class TrainingStopped:
    """Training ended. `early`: before its last step, because validation no longer improved."""

    step: int
    early: bool


Event = StepCompleted | MicroBatchesSplit | EvaluationCompleted | TrainingStopped


Stage = Literal["start", "read", "plan", "load", "train", "save", "evaluate", "verify"]
MeasuredStage = Literal[Stage, "untuned"]
"""A stage, or a part of one that is measured apart: `untuned`, the model before its training."""


@dataclass(frozen=True)
class StageStarted:
    """A stage of a run starts. They come in the order of `Stage`, each once in a session. `start`: a program loads libraries."""

    name: Stage


@dataclass(frozen=True)
class RunPlanned:
    """What is trained, before any weight is loaded. Bytes, seconds; `rows`: of each split. `may_stop_early`: it may take less
    time. `answer_seconds`: of generating answers before and after training, beside the `seconds` of training."""

    method: str
    model: str
    rows: dict[str, int]
    num_labels: int
    trainable_parameters: int
    total_parameters: int
    peak_memory_bytes: int
    seconds: float
    may_stop_early: bool = False
    answer_seconds: float = 0.0


@dataclass(frozen=True)
class MemoryMeasured:
    """The peak of the memory that the run has needed so far, where an update or an evaluation was measured."""

    peak_bytes: int


@dataclass(frozen=True)
class AnswersProgress:
    """Answers of a language model are generated: `done` of `total` are finished, with `num_tokens` tokens so far, unfinished
    answers included. `doing`: what for, such as `before training`. `most_tokens`: of the longest answer there may be."""

    doing: str
    done: int
    total: int
    num_tokens: int
    most_tokens: int

    @property
    def share(self) -> float:
        """Share of the work that is done, rather too low than too high: answers that are not finished may be the longest."""
        longest = max(1, self.total * self.most_tokens)
        return max(self.done / max(1, self.total), min(1.0, self.num_tokens / longest))


@dataclass(frozen=True)
class DownloadProgress:
    """A file is downloaded: `done` of `total` bytes."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class RunStarted:
    """A task of a comparison starts."""

    name: str


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run of a comparison."""

    name: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class RunFinished:
    """A task ended, the `number`-th of `total`. `message`: its result, or with `failed` the reason."""

    name: str
    number: int
    total: int
    message: str
    failed: bool


class Notify(Protocol):
    """Passes a sentence on to the user."""

    def __call__(self, message: str, *, level: Level = "info", code: str = "") -> None:
        """Pass it on as a `Notice`."""


Callback = Callable[[Any], None]
"""Is called with every event of a run, and with a `Notice` for everything that was chosen and found."""


def dispatch_to(callbacks: Sequence[Callback]) -> Callback:
    """Return one callback that calls them all, in order."""

    def notify(event: Any) -> None:
        for callback in callbacks:
            callback(event)

    return notify
