"""A scikit-learn classifier over `finewright.train`: works in `Pipeline`, `cross_val_score` and `GridSearchCV`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from finewright.data.labels import find_whole_numbers
from finewright.sklearn.base import TextEstimator, check_distinct_names, raising_value_errors, read_texts


class TextClassifier(ClassifierMixin, TextEstimator):
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

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> "TextClassifier":
        """Train on texts and labels.

        All rows but a validation share are trained on; none is held out as a test. Labels may be texts, integers or booleans,
        but of one kind; `ValueError` if they are mixed, missing, or cannot be kept apart as names.
        """
        texts, labels = read_texts(X), _labels(y)
        self.classes_ = np.unique(labels)
        names = _name_classes(self.classes_)
        known = dict(zip(self.classes_.tolist(), names, strict=True))
        self._train(texts, [known[label] for label in labels.tolist()], options={"task": "text-classification"})
        return self

    @raising_value_errors()
    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Return the probability of every class, shape (texts, classes), in the order of `classes_`."""
        check_is_fitted(self)
        order = [self._model.labels.index(name) for name in _name_classes(self.classes_)]
        return self._model.predict_proba(read_texts(X))[:, order]

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return the most probable label of every text."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]


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


def _name_classes(classes: np.ndarray) -> list[str]:
    """Return the names of the labels in the saved model: without spaces around them and, if all are numbers, 1 for 1.0, as in a
    file. Raise `ValueError` if two labels would have one name."""
    names = [str(label).strip() for label in classes.tolist()]
    whole = find_whole_numbers(names)
    names = [whole.get(name, name) for name in names]
    check_distinct_names(classes.tolist(), names, whole_numbers=whole.values())
    return names
