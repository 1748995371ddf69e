"""A scikit-learn regressor over `finewright.train`: works in `Pipeline`, `cross_val_score` and `GridSearchCV`."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from finewright.core.config import AUTO_MODEL
from finewright.data.number_cells import write_number
from finewright.sklearn import _read_files, _remove_with, _texts, _write_files

__all__ = ["TextRegressor"]


class TextRegressor(RegressorMixin, BaseEstimator):
    """Fine-tune a pre-trained language model as a scikit-learn regressor of texts.

    Parameters
    ----------
    model : str
        Hub id or folder of the pre-trained model, or `mini`; `auto` takes the best that is at hand.
    method : str
        A fine-tuning method by name, or `auto`.
    learning_rate, epochs, max_steps
        As in `TrainingConfig`; None (or 0) leaves the choice to the program.
    method_options : dict or None
        Options of the method, for instance `{"rank": 4}`.
    training : dict or None
        Further fields of `TrainingConfig`.
    random_state : int
        Seed of the order, the dropout and every new weight.
    output_dir : str or None
        Folder of the run; a temporary one when it is None.

    Attributes
    ----------
    run_ : Run
        The finished run.

    Examples
    --------
    >>> from finewright.sklearn import TextRegressor
    >>> regressor = TextRegressor(model="mini").fit(texts, scores)  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913  scikit-learn wants every parameter by name
        self,
        model: str = AUTO_MODEL,
        method: str = "auto",
        *,
        learning_rate: float | None = None,
        epochs: float | None = None,
        max_steps: int = 0,
        method_options: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        random_state: int = 0,
        output_dir: str | None = None,
    ) -> None:
        self.model = model
        self.method = method
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.max_steps = max_steps
        self.method_options = method_options
        self.training = training
        self.random_state = random_state
        self.output_dir = output_dir

    def fit(self, X: Sequence[str], y: Sequence[float]) -> "TextRegressor":
        """Train on texts and numbers.

        All rows but a validation share are trained on; none is held out as a test. `ValueError` if a number is missing or not
        finite.
        """
        from finewright import api

        texts, numbers = _texts(X), _numbers(y)
        given = {"learning_rate": self.learning_rate, "epochs": self.epochs, "max_steps": self.max_steps}
        place = None if self.output_dir else tempfile.mkdtemp(prefix="finewright-")
        try:
            self.run_ = api.train(
                texts,
                [write_number(number) for number in numbers.tolist()],
                model=self.model,
                method=self.method,
                method_options=self.method_options,
                training={**given, **(self.training or {})},
                data_config={"test_fraction": 0.0},
                options={"task": "regression"},
                seed=self.random_state,
                output_dir=Path(place) / "run" if place else self.output_dir,
            )
        except BaseException:
            if place:
                shutil.rmtree(place, ignore_errors=True)
            raise
        if place:
            _remove_with(self.run_, place)
        self._model = self.run_.load()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the files of the run in it, so that a copy in another process or on another machine predicts."""
        state = dict(super().__getstate__())
        if "run_" in state:
            del state["_model"]
            state["run_"] = _read_files(state["run_"].path)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpack the files of the run into a temporary folder, and load the model from there."""
        from finewright.runs.run import open_run

        super().__setstate__(state)  # type: ignore[missing-attribute]
        if "run_" in state:
            place = tempfile.mkdtemp(prefix="finewright-")
            _write_files(state["run_"], Path(place))
            self.run_ = open_run(place)
            _remove_with(self.run_, place)
            self._model = self.run_.load()

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return the predicted number of every text, float64, shape (texts,)."""
        check_is_fitted(self)
        return np.array([one["value"] for one in self._model.predict(_texts(X))], dtype=np.float64)  # type: ignore[typeddict-item]

    def predict_interval(self, X: Sequence[str], *, level: float = 0.9) -> np.ndarray:
        """Return the ends of the interval that holds this share of new numbers, shape (texts, 2); NaN without validation rows."""
        check_is_fitted(self)
        found = self._model.predict(_texts(X), interval=None if level == 0.9 else level)
        return np.array([[one.get("low", np.nan), one.get("high", np.nan)] for one in found], dtype=np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[missing-attribute]
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _numbers(y: Any) -> np.ndarray:
    """Return numbers as float64. Raise `ValueError` for texts, and for what is not finite."""
    numbers = column_or_1d(y)
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"wanted numbers, found {numbers[0]!r}")
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"numbers must be finite, found {numbers[~np.isfinite(numbers)][0]}")
    return numbers
