"""A wish to stop: made by a signal or a person, heard where it does no harm."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0
"""How long a piece of a comparison's work may go on after it was asked to end; then it is killed. Before that it drops a step
that does not end; who waits for it waits longer."""


def handle_signals(heard: Callable[[int, Any], None]) -> None:
    """Ctrl-C, a termination, a lost terminal: all are heard, the last one unless it is ignored already, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, heard)


class Interrupted(SystemExit):
    """Work stopped on wish. `number`: of the signal. `run`: the folder of the run that was at work. `again`: the command that
    goes on with a comparison."""

    run: Path | None = None
    again: str = ""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class StopRequest:
    """Whether a stop is wished for, and whether that may be acted on at once or only between two steps."""

    def __init__(self) -> None:
        self.number = 0
        self.patient = False
        self.droppable = False

    @property
    def requested(self) -> bool:
        """Whether somebody wants the work to end."""
        return self.number != 0

    def request(self, number: int) -> None:
        """What a signal's handler calls: remembered while steps are made, else work ends here and now."""
        self.number = number
        if not self.patient:
            raise Interrupted(number)

    def overdue(self) -> None:
        """What an alarm calls when a wish has waited long enough: what is half done is dropped, if that leaves no trace."""
        if self.requested and self.patient and self.droppable:
            self.droppable = False
            raise Interrupted(self.number)

    def wait_at_most(self, seconds: float) -> None:
        """Set that alarm, again and again each second after: it may come where nothing can be dropped. For the main thread."""
        signal.signal(signal.SIGALRM, lambda *_: self.overdue())
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)

    @contextlib.contextmanager
    def abortable(self) -> Iterator[Callable[..., None]]:
        """Inside, a wish that is overdue drops the work, until what is handed out is called: then it must come to its end."""

        def keep(*_: Any) -> None:
            self.droppable = False

        self.droppable = True
        try:
            yield keep
        finally:
            self.droppable = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a wish waits until somebody asks for it."""
        with self._being(patient=True):
            yield

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, nothing is half done that matters: a wish ends it; an earlier one does too."""
        with self._being(patient=False):
            if self.requested:
                raise Interrupted(self.number)
            yield

    @contextlib.contextmanager
    def _being(self, *, patient: bool) -> Iterator[None]:
        before, self.patient = self.patient, patient
        try:
            yield
        finally:
            self.patient = before
