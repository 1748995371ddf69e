"""Memory as time goes by: bytes by kind, and the moment of the most."""

from collections.abc import Sequence


class Story:
    """Bytes by kind as time goes by, and the moment when their sum was largest."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.now = dict.fromkeys(kinds, 0)
        self.best = dict(self.now)
        self._at_open = dict(self.now)
        self._best_since: dict[str, int] | None = None

    def add(self, kind: str, count: int) -> None:
        self.now[kind] += count
        if sum(self.now.values()) > sum(self.best.values()):
            self.best = dict(self.now)
        if self._best_since is not None and sum(self.now.values()) > sum(self._best_since.values()):
            self._best_since = dict(self.now)

    def open(self) -> None:
        """A stretch begins that may be told again."""
        self._at_open, self._best_since = dict(self.now), dict(self.now)

    def tell_again(self, times: int) -> None:
        """The stretch since `open` happens `times` more: each adds what it left behind, so first or last is the largest."""
        assert self._best_since is not None, "a stretch is opened before it is told again"
        left = {kind: self.now[kind] - self._at_open[kind] for kind in self.now}
        for number in (1, times):
            moment = {kind: self._best_since[kind] + number * left[kind] for kind in self.now}
            if sum(moment.values()) > sum(self.best.values()):
                self.best = moment
        self.now = {kind: self.now[kind] + times * left[kind] for kind in self.now}
        self._best_since = None
