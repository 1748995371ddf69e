"""How much of the processor a piece of work gets: on a machine that others use too, its time says little without that."""

import time

BUSY = 0.8
"""Share of the processor below which other programs are worth a word: a run on a quiet machine gets 0.95 and more."""
LEAST_SECONDS = 2.0
"""Shorter work says little: one interruption is a large share of it."""


class CpuShare:
    """Measures the calling thread from its creation on: it takes part in all computation, however many threads help it."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.thread_time()

    def measure(self) -> float | None:
        """Return the thread's CPU-seconds over seconds, at most 1; None if too little time has passed. Call it in that thread."""
        wall, cpu = time.monotonic() - self._wall, time.thread_time() - self._cpu
        return min(1.0, cpu / wall) if wall >= LEAST_SECONDS else None


def describe_share(share: float | None) -> str:
    """Return a remark that follows a time, empty if the machine was quiet."""
    return "" if share is None or share >= BUSY else f"; it got {share:.0%} of its processor time, the machine was busy"
