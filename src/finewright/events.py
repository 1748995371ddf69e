"""What a run says besides sentences and the engine's own events."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Downloading:
    """A file is on its way: `done` of `total` bytes."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class MemberBegan:
    """A piece of a comparison's work starts."""

    name: str


@dataclass(frozen=True)
class MemberStepped:
    """How far a run of a comparison is."""

    name: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class MemberEnded:
    """`number` pieces of `total` are over. `message`: what came of it; `failed`: why it came to nothing."""

    name: str
    number: int
    total: int
    message: str
    failed: bool
