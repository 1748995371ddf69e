"""Everything of a training run that must survive a stop, as tensors and JSON, and back."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finewright.core.errors import ExitCode, UserError
from finewright.models.prepared import PreparedModel

TRAINED, REST = "trained", "state"
"""Groups of tensors: what is trained; the optimizer's moments and the state of the random numbers."""
_OPTIMIZER, _RANDOM, _NUMBER = "optimizer", "random", "#"


@dataclass
class Best:
    """The evaluation that did best so far."""

    step: int
    epoch: float
    metrics: dict[str, Any]


@dataclass
class Progress:
    """Where the loop stands. `step`: updates made. `waited`: evaluations since the best one. `halvings`: how often passes
    were cut in two to fit into memory. `unreached`: trained tensors that got no gradient yet, None before the first step."""

    step: int = 0
    evaluated_step: int = 0
    evaluations_without_improvement: int = 0
    best: Best | None = None
    num_tokens: int = 0
    num_rows: int = 0
    micro_batch_splits: int = 0
    unreached: list[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """By name, JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """What `as_json` made."""
        made = cls(**{name: value for name, value in values.items() if name != "best"})
        made.best = Best(**values["best"]) if values["best"] else None
        return made


class TrainState:
    """The trained weights, the optimizer, the random numbers and the place in the loop: one object, saved and restored whole."""

    def __init__(self, prepared_model: PreparedModel, optimizer: torch.optim.Optimizer) -> None:
        self.prepared_model = prepared_model
        self.optimizer = optimizer
        self.progress = Progress()

    @property
    def device(self) -> torch.device:
        """Where the trained weights are."""
        return next(iter(self.prepared_model.trainable().values())).device

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Both groups, sharing memory with what is trained."""
        names = self._names()
        rest = {f"{_RANDOM}/{device}": state for device, state in get_random_state(self.device).items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in _flat(entries):
                is_number = not isinstance(value, torch.Tensor)
                rest[f"{_OPTIMIZER}/{names[index]}/{key}{_NUMBER * is_number}"] = torch.tensor(value) if is_number else value
        return {TRAINED: {name: parameter.detach() for name, parameter in self.prepared_model.trainable().items()}, REST: rest}

    def restore(self, groups: dict[str, dict[str, torch.Tensor]], progress: Progress) -> None:
        """Take on what `tensors` and `progress` were."""
        set_weights(self.prepared_model, groups[TRAINED])
        indices = {name: index for index, name in enumerate(self._names())}
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

    def _names(self) -> list[str]:
        """Names of the trained tensors in the optimizer's own order."""
        names = {id(parameter): name for name, parameter in self.prepared_model.trainable().items()}
        return [names[id(parameter)] for group in self.optimizer.param_groups for parameter in group["params"]]

    def release(self) -> None:
        """Drop gradients and the optimizer's state: training is over, and what was committed has it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def finite(self) -> bool:
        """Whether every trained number is one."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.prepared_model.trainable().values())


def _flat(entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps for a tensor. bitsandbytes hides its packed moments in a dict of their own, and takes them
    back without it."""
    for key, value in entries.items():
        yield from _flat(value) if isinstance(value, dict) else [(key, value)]


def set_weights(prepared_model: PreparedModel, weights: dict[str, torch.Tensor]) -> None:
    """Put saved numbers into what is trained; other names or shapes are a `UserError`."""
    trained = prepared_model.trainable()
    strange = {name for name in {*trained, *weights} if _shape(trained.get(name)) != _shape(weights.get(name))}
    if strange:
        name = min(strange)
        what = f"{len(strange)} trained tensors are not those of the checkpoint, for instance {name}: "
        what += f"{_shape(weights.get(name)) or 'absent'} → {_shape(trained.get(name)) or 'absent'}"
        raise UserError(what, fix="begin a new run with another --out", code=ExitCode.MISMATCH)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])


def _shape(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)


def get_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of the generators that dropout on `device` draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: dict[str, torch.Tensor]) -> None:
    """Go back to what `random_state` gave."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def preserving_random_state(device: torch.device) -> Iterator[None]:
    """Inside, random numbers may be drawn; afterwards it is as if none had been."""
    kept = get_random_state(device)
    try:
        yield
    finally:
        set_random_state(kept)


@contextlib.contextmanager
def preserving_process_state() -> Iterator[None]:
    """Restore the number of threads and the random numbers of the process, whatever happens inside."""
    threads, cpu = torch.get_num_threads(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
