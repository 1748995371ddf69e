"""Importing large libraries."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Inside, no garbage is collected: imports make hundreds of thousands of objects, which stay, and each pass looks at them.

    For commands that import, compute little and end. Reference counts still free what is not part of a cycle.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def leave_garbage_at_exit() -> None:
    """Spare the process that ends the search for garbage among all objects: 0.9 of 4 s after transformers was imported.

    Call it last. The system takes back all memory anyhow; exit handlers run as ever.
    """
    gc.disable()
    gc.freeze()
