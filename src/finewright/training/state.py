"""The state that a training run needs to resume, as tensors and JSON."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.models.prepared import PreparedModel

TRAINED, REST = "trained", "state"
"""Groups of tensors: the trained parameters; the optimizer's state with that of the random number generators."""
_OPTIMIZER, _RANDOM, _NUMBER = "optimizer", "random", "#"


@dataclass
class EvaluatedStep:
    """An evaluation of the validation split: the update after which it was made, and its metrics."""

    step: int
    epoch: float
    metrics: dict[str, Any]


@dataclass
class Progress:
    """Position of the loop. `step`: number of completed updates. `micro_batch_splits`: how often micro-batches were split in
    two to fit into memory. `best`: the evaluation with the best metric so far, `last`: the latest one,
    `evaluations_without_improvement`: how many in a row were clearly worse than the best or the same. `unreached`: trained
    tensors whose gradients were all zero so far, None before the first step.
    `probe`: how the head started (`head_start.ProbeStart`), None if at random. `start_metrics`: those of the validation split
    before the first update, None if it was not evaluated then. `untuned`: metrics of the test split before the first update,
    where the model can do the task already, `untuned_answers` what it said to some of the test rows, `untuned_choices` the index
    of what it chose of the possible answers of a question."""

    step: int = 0
    evaluated_step: int = 0
    evaluations_without_improvement: int = 0
    best: EvaluatedStep | None = None
    num_tokens: int = 0
    num_rows: int = 0
    micro_batch_splits: int = 0
    unreached: list[str] | None = None
    last: EvaluatedStep | None = None
    probe: dict[str, Any] | None = None
    start_metrics: dict[str, Any] | None = None
    untuned: dict[str, Any] | None = None
    untuned_answers: list[str] | None = None
    untuned_choices: list[int] | None = None

    @property
    def is_evaluated(self) -> bool:
        """Whether the validation split was evaluated after the last update, or before the first one."""
        return self.evaluated_step == self.step if self.step else self.best is not None

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Build the progress from what `as_json` returned."""
        progress = cls(**{name: value for name, value in values.items() if name not in ("best", "last")})
        progress.best, progress.last = (EvaluatedStep(**values[name]) if values.get(name) else None for name in ("best", "last"))
        return progress


class TrainState:
    """Trained weights, optimizer, random number generators and progress, saved and restored together."""

    def __init__(self, prepared_model: PreparedModel, optimizer: torch.optim.Optimizer) -> None:
        self.prepared_model = prepared_model
        self.optimizer = optimizer
        self.progress = Progress()

    @property
    def device(self) -> torch.device:
        """Device of the trained weights."""
        return next(iter(self.prepared_model.trainable().values())).device

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return both groups by name; the trained parameters share memory with the model."""
        names = self._parameter_names()
        rest = {f"{_RANDOM}/{device}": state for device, state in get_random_state(self.device).items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in _flatten(entries):
                is_number = not isinstance(value, torch.Tensor)
                rest[f"{_OPTIMIZER}/{names[index]}/{key}{_NUMBER * is_number}"] = torch.tensor(value) if is_number else value
        return {TRAINED: {name: parameter.detach() for name, parameter in self.prepared_model.trainable().items()}, REST: rest}

    def restore(self, groups: dict[str, dict[str, torch.Tensor]], progress: Progress) -> None:
        """Restore the state from what `tensors` returned and the progress at that time."""
        set_weights(self.prepared_model, groups[TRAINED])
        indices = {name: index for index, name in enumerate(self._parameter_names())}
        state: dict[int, dict[str, Any]] = {}
        random = {}
        for path, tensor in groups[REST].items():
            kind, _, rest = path.partition("/")
            if kind == _RANDOM:
                random[rest] = tensor
                continue
            name, _, key = rest.rpartition("/")
            value = tensor.item() if key.endswith(_NUMBER) else tensor
            state.setdefault(indices[name], {})[key.removesuffix(_NUMBER)] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        set_random_state(random)
        self.progress = progress

    def _parameter_names(self) -> list[str]:
        """Return the names of the trained tensors in the optimizer's order."""
        names = {id(parameter): name for name, parameter in self.prepared_model.trainable().items()}
        return [names[id(parameter)] for group in self.optimizer.param_groups for parameter in group["params"]]

    def release(self) -> None:
        """Free gradients and the optimizer's state after training; the checkpoints on disk have it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def finite(self) -> bool:
        """Return whether every trained parameter is finite."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.prepared_model.trainable().values())


def _flatten(entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the optimizer's state of a tensor without nesting. bitsandbytes returns its packed moments in a nested dict but
    loads them without it."""
    for key, value in entries.items():
        yield from _flatten(value) if isinstance(value, dict) else [(key, value)]


def set_weights(prepared_model: PreparedModel, weights: dict[str, torch.Tensor]) -> None:
    """Copy saved weights into the trained parameters. Raise `UserError` if names or shapes differ."""
    trained = prepared_model.trainable()
    differing = {name for name in {*trained, *weights} if _shape(trained.get(name)) != _shape(weights.get(name))}
    if differing:
        name = min(differing)
        tensors = counted(len(differing), "trained tensor is not that", "trained tensors are not those")
        what = f"{tensors} of the checkpoint, for instance {name}: "
        what += f"{_shape(weights.get(name)) or 'absent'} → {_shape(trained.get(name)) or 'absent'}"
        raise UserError(what, fix="start a new run with another --out", code=ExitCode.MISMATCH)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])


def _shape(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)


def get_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of the random number generators that dropout on `device` uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: dict[str, torch.Tensor]) -> None:
    """Restore what `get_random_state` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def preserving_random_state(device: torch.device) -> Iterator[None]:
    """Restore the random number generators of `device` at exit."""
    saved = get_random_state(device)
    try:
        yield
    finally:
        set_random_state(saved)


@contextlib.contextmanager
def preserving_process_state() -> Iterator[None]:
    """Restore the number of threads and the random number generators of the process at exit."""
    threads, cpu = torch.get_num_threads(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
