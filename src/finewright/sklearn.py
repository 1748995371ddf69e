"""A scikit-learn classifier over `finewright.train`: works in `Pipeline`, `cross_val_score` and `GridSearchCV`."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from finewright.core.config import AUTO_MODEL
from finewright.core.errors import UserError
from finewright.data.tables import is_pair, to_values

__all__ = ["TextClassifier"]


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Fine-tune a pre-trained language model as a scikit-learn classifier of texts.

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
    classes_ : ndarray
        Labels, as they were given to `fit`.
    run_ : Run
        The finished run.

    Examples
    --------
    >>> from finewright.sklearn import TextClassifier
    >>> classifier = TextClassifier(model="mini").fit(texts, labels)  # doctest: +SKIP
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

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> "TextClassifier":
        """Train on texts and labels.

        All rows but a validation share are trained on; none is held out as a test. Labels may be texts, integers or booleans,
        but of one kind; `ValueError` if they are mixed, missing, or cannot be kept apart as names.
        """
        from finewright import api

        texts, labels = _texts(X), _labels(y)
        self.classes_ = np.unique(labels)
        _check_names(self.classes_)
        given = {"learning_rate": self.learning_rate, "epochs": self.epochs, "max_steps": self.max_steps}
        place = None if self.output_dir else tempfile.mkdtemp(prefix="finewright-")
        try:
            self.run_ = api.train(
                texts,
                [_name(label) for label in labels],
                model=self.model,
                method=self.method,
                method_options=self.method_options,
                training={**given, **(self.training or {})},
                data_config={"test_fraction": 0.0},
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

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Return the probability of every class, shape (texts, classes), in the order of `classes_`."""
        check_is_fitted(self)
        order = [self._model.labels.index(_name(label)) for label in self.classes_]
        return self._model.predict_proba(_texts(X))[:, order]

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return the most probable label of every text."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[missing-attribute]
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _remove_with(run: Any, place: str) -> None:
    """Remove the temporary folder when the run is gone."""
    weakref.finalize(run, shutil.rmtree, place, ignore_errors=True)


def _read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a run by their relative names, without checkpoints."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("checkpoints/")}


def _write_files(contents: dict[str, bytes], folder: Path) -> None:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _texts(X: Any) -> list[Any]:
    try:
        texts = to_values(X, what="texts")
    except UserError as error:
        raise ValueError(str(error)) from None
    if other := [text for text in texts if not isinstance(text, str) and not is_pair(text)]:
        raise ValueError(f"wanted texts, found {other[0]!r}")
    return [tuple(text) if is_pair(text) else text for text in texts]


def _labels(y: Any) -> np.ndarray:
    """Return labels in the type that scikit-learn gives them.

    Mixed ones are refused: NumPy would make one label of 1, "1" and True.
    """
    if not (isinstance(y, np.ndarray) and y.dtype != object):
        found = {"text" if isinstance(one, str) else "truth" if isinstance(one, bool | np.bool_) else "number": one for one in y}
        if len(found) > 1:
            first, second, *_ = found.values()
            raise ValueError(f"labels must be of one type, found {first!r} and {second!r}")
    labels = column_or_1d(y)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError("labels must not be missing, found NaN")
    check_classification_targets(labels)
    return labels


def _name(label: Any) -> str:
    """Return the name of a label in the saved model. Spaces around a name are no part of it, as in a file."""
    return str(label).strip()


def _check_names(classes: np.ndarray) -> None:
    """Raise `ValueError` if two labels would have one name."""
    known: dict[str, Any] = {}
    for label in classes.tolist():
        if (other := known.setdefault(_name(label), label)) != label:
            raise ValueError(f"the labels {other!r} and {label!r} cannot be kept apart: spaces around a label do not count")
