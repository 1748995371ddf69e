"""What saved regressions on a vocabulary have in common: of words and phrases of texts, or of features of words.

Shape suffixes: K rows of coefficients, F columns.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from finewright.baselines import saving
from finewright.baselines.base import BaselineModel
from finewright.baselines.saving import SavedBagOfWords, SavedWordWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", SavedBagOfWords, SavedWordWindow)


class VocabularyModel(BaselineModel, Generic[S]):
    """A fitted regression whose columns are a vocabulary. `tensors`: `coefficients` (K, F) and `intercept` (K,) among others."""

    kind: ClassVar[str] = "bag-of-words"

    def __init__(self, settings: S, tensors: "Mapping[str, np.ndarray]") -> None:
        self.settings, self.labels, self.task = settings, settings.labels, settings.task
        self._tensors = dict(tensors)

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {term: column for column, term in enumerate(self.settings.vocabulary)}

    @cached_property
    def _weights_FK(self) -> np.ndarray:
        return np.ascontiguousarray(self._tensors["coefficients"].T, dtype=np.float64)

    @property
    def num_parameters(self) -> int:
        """Coefficients and intercepts."""
        return int(self._tensors["coefficients"].size + self._tensors["intercept"].size)

    def save(self, folder: Path) -> None:
        """Write vocabulary and settings as JSON, numbers as tensors."""
        saving.write(folder, self.settings, self._tensors)
