"""First weights of a new head, which were fitted to features.

Shape suffixes: N rows, F features, C outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


class HeadNotFitted(Exception):
    """No head can be fitted to these features; the message says why."""


@dataclass(frozen=True)
class HeadWeights:
    """Weights of a linear head that were fitted to features. `weight`: shape (C, F); `bias`: shape (C,), None if it has none.

    `strength`: the regularisation that was chosen, scikit-learn's C of a regression. `described`: how they were fitted, if not
    by a regression. `softness`: the factor from `find_softness`, which the weights do not have yet.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    strength: float
    described: str = ""
    softness: float = 1.0

    def scores(self, features_NF: np.ndarray) -> np.ndarray:
        """Return the head's outputs for features, float32, shape (N, C)."""
        scores_NC = features_NF @ self.weight.T
        return scores_NC if self.bias is None else scores_NC + self.bias

    def soften(self) -> "HeadWeights":
        """Return the head with its outputs times `softness`: which of them is the highest stays as it is."""
        bias = None if self.bias is None else np.float32(self.softness) * self.bias
        return replace(self, weight=np.float32(self.softness) * self.weight, bias=bias, softness=1.0)


_SOFTNESS_STEPS = 30
"""Bisections of the interval from 0 to 1."""
_MOST_OF_GUESSING = 0.9
"""Most of the loss of guessing that a softened head has: rows that are left out can have more, when their label has few rows."""


def find_softness(measure_loss: Callable[[float], float], *, held_out_loss: float) -> float:
    """Return the factor for a head's outputs, at most 1, at which training rows have the loss that they had while left out.

    Of few rows with many features a head knows every one: their loss is near 0, and so is the gradient of all that is below. As
    uncertain as it is about other rows it leaves the method something to learn.

    `measure_loss`: the mean loss of the training rows with a factor, which falls between 0 and 1.
    """
    wanted = min(held_out_loss, _MOST_OF_GUESSING * measure_loss(0.0))
    if measure_loss(1.0) >= wanted:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_SOFTNESS_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if measure_loss(middle) > wanted else (low, middle)
    return high


def check_finite(features_NF: np.ndarray) -> None:
    """Raise `HeadNotFitted` if a feature is not finite."""
    if not np.isfinite(features_NF).all():
        raise HeadNotFitted("the features are not all finite")


def check_every_label(targets_N: np.ndarray, num_labels: int) -> None:
    """Raise `HeadNotFitted` if there is one label alone, or one without a row."""
    if num_labels < 2 or len(np.unique(targets_N)) < num_labels:
        raise HeadNotFitted("the training rows do not have every label")
