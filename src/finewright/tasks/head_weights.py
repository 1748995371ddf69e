"""First weights of a new head, which were fitted to features.

Shape suffixes: N rows, F features, C outputs.
"""

from dataclasses import dataclass

import numpy as np


class HeadNotFitted(Exception):
    """No head can be fitted to these features; the message says why."""


@dataclass(frozen=True)
class HeadWeights:
    """Weights of a linear head that were fitted to features. `weight`: shape (C, F); `bias`: shape (C,), None if it has none.

    `strength`: the regularisation that was chosen, scikit-learn's C of a regression. `described`: how they were fitted, if not
    by a regression.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    strength: float
    described: str = ""

    def scores(self, features_NF: np.ndarray) -> np.ndarray:
        """Return the head's outputs for features, float32, shape (N, C)."""
        scores_NC = features_NF @ self.weight.T
        return scores_NC if self.bias is None else scores_NC + self.bias


def check_finite(features_NF: np.ndarray) -> None:
    """Raise `HeadNotFitted` if a feature is not finite."""
    if not np.isfinite(features_NF).all():
        raise HeadNotFitted("the features are not all finite")


def check_every_label(targets_N: np.ndarray, num_labels: int) -> None:
    """Raise `HeadNotFitted` if there is one label alone, or one without a row."""
    if num_labels < 2 or len(np.unique(targets_N)) < num_labels:
        raise HeadNotFitted("the training rows do not have every label")
