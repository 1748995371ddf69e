"""Of many pieces of work that are alike the largest stands for all, while work is not done but only traced."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Piece = TypeVar("Piece")
Stretch = Callable[[float], None]
"""Told how many more times happens what was done since it was opened."""

_open: ContextVar[Callable[[], Stretch] | None] = ContextVar("open", default=None)


@contextmanager
def representing(open_stretch: Callable[[], Stretch]) -> Iterator[None]:
    """Inside, one piece stands for all that are alike; a stretch is opened before it is worked on."""
    token = _open.set(open_stretch)
    try:
        yield
    finally:
        _open.reset(token)


def representative(pieces: Sequence[Piece], *, size: Callable[[Piece], float]) -> Iterator[Piece]:
    """All pieces, one after the other; in tracing the largest alone, whose work counts for all in step with their sizes.

    What a piece takes of memory it must have let go of when the next one comes.
    """
    open_stretch = _open.get()
    if open_stretch is None or len(pieces) < 2:
        yield from pieces
        return
    largest = max(pieces, key=size)
    told = open_stretch()
    yield largest
    told(sum(map(size, pieces)) / size(largest) - 1)
