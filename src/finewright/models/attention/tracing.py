"""Let the largest of many similar pieces of work stand for all of them while work is traced and not done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Piece = TypeVar("Piece")
Stretch = Callable[[float], None]
"""Called with the number of further repetitions of what was traced since the stretch was opened."""

_open: ContextVar[Callable[[], Stretch] | None] = ContextVar("open", default=None)


@contextmanager
def representing(open_stretch: Callable[[], Stretch]) -> Iterator[None]:
    """Within this block one piece stands for all similar ones; `open_stretch` is called before it is worked on."""
    token = _open.set(open_stretch)
    try:
        yield
    finally:
        _open.reset(token)


def representative(pieces: Sequence[Piece], *, size: Callable[[Piece], float]) -> Iterator[Piece]:
    """Yield all pieces; while tracing only the largest, whose work counts for all in proportion to their sizes.

    A piece must have freed its memory before the next one is asked for.
    """
    open_stretch = _open.get()
    if open_stretch is None or len(pieces) < 2:
        yield from pieces
        return
    largest = max(pieces, key=size)
    repeat = open_stretch()
    yield largest
    repeat(sum(map(size, pieces)) / size(largest) - 1)
