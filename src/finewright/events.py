"""What a run says besides sentences and the engine's own events."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Downloading:
    """A file is on its way: `done` of `total` bytes."""

    name: str
    done: int
    total: int
