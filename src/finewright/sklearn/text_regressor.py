"""A regressor of texts: predicted numbers, and intervals that hold a share of new ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from finewright.data.number_cells import write_number
from finewright.sklearn.base import TextEstimator, raising_value_errors, read_texts


class TextRegressor(RegressorMixin, TextEstimator):
    """Fine-tune a pre-trained language model as a scikit-learn regressor of texts.

    The parameters are those of `TextClassifier`.

    Attributes
    ----------
    run_ : Run
        The finished run.

    Examples
    --------
    >>> from finewright.sklearn import TextRegressor
    >>> regressor = TextRegressor(model="mini").fit(texts, scores)  # doctest: +SKIP
    """

    def fit(self, X: Sequence[str], y: Sequence[float]) -> "TextRegressor":
        """Train on texts and numbers.

        All rows but a validation share are trained on; none is held out as a test. `ValueError` if a number is missing or not
        finite.
        """
        texts, numbers = read_texts(X), _numbers(y)
        self._train(texts, [write_number(number) for number in numbers.tolist()], options={"task": "regression"})
        return self

    @raising_value_errors()
    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return the predicted number of every text, float64, shape (texts,)."""
        check_is_fitted(self)
        return np.array([one["value"] for one in self._model.predict(read_texts(X))], dtype=np.float64)  # type: ignore[typeddict-item]

    @raising_value_errors()
    def predict_interval(self, X: Sequence[str], *, level: float = 0.9) -> np.ndarray:
        """Return the ends of the interval that holds this share of new numbers, shape (texts, 2); NaN without validation rows."""
        check_is_fitted(self)
        found = self._model.predict(read_texts(X), interval=None if level == 0.9 else level)
        return np.array([[one.get("low", np.nan), one.get("high", np.nan)] for one in found], dtype=np.float64)


def _numbers(y: Any) -> np.ndarray:
    """Return numbers as float64. Raise `ValueError` for texts, and for what is not finite."""
    numbers = column_or_1d(y)
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"wanted numbers, found {numbers[0]!r}")
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"numbers must be finite, found {numbers[~np.isfinite(numbers)][0]}")
    return numbers
