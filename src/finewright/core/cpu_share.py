"""How much of the processor a piece of work gets: on a machine that others use too, its time says little without that."""

import time

BUSY = 0.8
"""Share of the processor below which other programs are worth a word: a run on a quiet machine gets 0.95 and more."""


class CpuShare:
    """Measures from its creation on. `threads`: that could compute at the same time."""

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def measure(self) -> float | None:
        """Return CPU-seconds of this process over seconds times threads, at most 1; None if no time has passed."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        return min(1.0, cpu / (wall * self._threads)) if wall > 0 else None


def describe_share(share: float | None) -> str:
    """Return a remark that follows a time, empty if the machine was quiet."""
    return "" if share is None or share >= BUSY else f"; it got {share:.0%} of its processor time, the machine was busy"
