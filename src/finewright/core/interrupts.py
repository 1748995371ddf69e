"""Requests to stop, from a signal or a person, handled where they do no harm."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0
"""How long a task of a comparison may continue after a request to stop; then it is killed. Before that it drops a step that
does not end. The process that waits for it waits longer."""


def handle_signals(handler: Callable[[int, Any], None]) -> None:
    """Handle Ctrl-C, a termination and a lost terminal; the last one not if it is ignored already, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


class Interrupted(SystemExit):
    """Work stopped on request. `number`: of the signal. `run`: the folder of the run. `again`: the command that continues a
    comparison."""

    run: Path | None = None
    again: str = ""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class StopRequest:
    """Whether a stop is requested, and whether it takes effect at once or only between two steps."""

    def __init__(self) -> None:
        self.number = 0
        self.patient = False
        self.droppable = False

    @property
    def requested(self) -> bool:
        """Whether a stop is requested."""
        return self.number != 0

    def request(self, number: int) -> None:
        """Request a stop, from a signal's handler: remembered during steps, else raised at once."""
        self.number = number
        if not self.patient:
            raise Interrupted(number)

    def overdue(self) -> None:
        """Drop unfinished work if that leaves no trace, from an alarm after the request has waited long enough."""
        if self.requested and self.patient and self.droppable:
            self.droppable = False
            raise Interrupted(self.number)

    def wait_at_most(self, seconds: float) -> None:
        """Set that alarm, repeated every second since it may come when nothing can be dropped. Call it in the main thread."""
        signal.signal(signal.SIGALRM, lambda *_: self.overdue())
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)

    @contextlib.contextmanager
    def abortable(self) -> Iterator[Callable[..., None]]:
        """Inside, an overdue request drops the work, until the yielded function is called: from then on the work must end."""

        def finish(*_: Any) -> None:
            self.droppable = False

        self.droppable = True
        try:
            yield finish
        finally:
            self.droppable = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a request waits until `requested` is read."""
        with self._with_patience(patient=True):
            yield

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a request, also an earlier one, raises at once: no unfinished work matters."""
        with self._with_patience(patient=False):
            if self.requested:
                raise Interrupted(self.number)
            yield

    @contextlib.contextmanager
    def _with_patience(self, *, patient: bool) -> Iterator[None]:
        before, self.patient = self.patient, patient
        try:
            yield
        finally:
            self.patient = before
