"""What collects the outputs of a split while it is evaluated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from finewright.data.splits import Example


class Evaluation(ABC):
    """Collects the outputs of a split batch by batch, so that a task decides what to store of them."""

    @abstractmethod
    def update(self, rows: Sequence[int], outputs: "np.ndarray") -> None:
        """Add the outputs of some rows of the split."""

    @abstractmethod
    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the rows so far, JSON-ready."""

    def row_losses(self) -> "np.ndarray | None":
        """Return how wrong the prediction of each row is, shape (N,), higher is worse; None if the task does not say."""
        return None

    def calibration_error(self, *, calibrated: bool = True) -> float | None:
        """Return how far confidences are from the share of right rows, 0 to 1; None if predictions have no confidence.

        `calibrated`: with the task's temperature, else with none.
        """
        return None

    def row_confidences(self) -> "tuple[np.ndarray, np.ndarray] | None":
        """Return the confidence of each row and whether it is right, shapes (N,); None if predictions have no confidence."""
        return None

    @abstractmethod
    def worst_mistakes(self, examples: "Sequence[Example]") -> list[dict[str, Any]]:
        """Return the examples that the model got most wrong."""

    @abstractmethod
    def prediction_lines(self, examples: "Sequence[Example]") -> list[dict[str, Any]]:
        """Return a line of predictions.jsonl for every example, with its `text`, `label` and `where` among others."""
