"""What several runs in one process need only once: the rows of a source and the token ids of a text."""

from pathlib import Path

from finewright import data
from finewright.config import DataKnobs
from finewright.data import Dataset


class Shared:
    """Filled as runs go along; a run of its own gets a fresh one. What it hands out must not be changed."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str, DataKnobs], Dataset] = {}
        self._ids: dict[str, dict[str, list[int]]] = {}

    def read(self, source: str | Path, *, knobs: DataKnobs, test: str | Path | None = None) -> Dataset:
        """As `data.read`, once for each source."""
        key = (str(source), str(test or ""), knobs)
        if key not in self._datasets:
            self._datasets[key] = data.read(source, knobs=knobs, test=test)
        return self._datasets[key]

    def ids(self, model: str) -> dict[str, list[int]]:
        """Token ids, uncut, of every text that a model's tokenizer has seen; `batches.encode` reads and fills it."""
        return self._ids.setdefault(model, {})
