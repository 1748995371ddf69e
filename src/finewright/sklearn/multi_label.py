"""A scikit-learn classifier with any number of labels for each text."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from finewright.sklearn.base import TextEstimator, check_distinct_names, raising_value_errors, read_texts

_TASK = "multi-label-classification"


class MultiLabelTextClassifier(ClassifierMixin, TextEstimator):
    """Fine-tune a pre-trained language model as a scikit-learn classifier with any number of labels for each text.

    The parameters are those of `TextClassifier`.

    Attributes
    ----------
    classes_ : ndarray
        Labels in the order of the columns of `predict` and `predict_proba`: those of the lists that were given to `fit`, the
        names of the columns of a DataFrame, or the numbers of the columns of a matrix.
    run_ : Run
        The finished run. The thresholds of its labels are fitted on its validation rows.

    Examples
    --------
    >>> from finewright.sklearn import MultiLabelTextClassifier
    >>> topics = [["billing"], ["billing", "urgent"], []]
    >>> classifier = MultiLabelTextClassifier(model="mini").fit(texts, topics)  # doctest: +SKIP
    """

    def fit(self, X: Sequence[str], y: Any) -> "MultiLabelTextClassifier":
        """Train on texts and their labels: a list of lists, or a matrix of 0 and 1 with a column for each label.

        All rows but a validation share are trained on; none is held out as a test. `ValueError` if there is no label at all, a
        row is neither, or texts and rows differ in number.
        """
        texts, (classes, rows) = read_texts(X), read_label_sets(y)
        if len(texts) != len(rows):
            raise ValueError(f"{len(texts):,} texts, but labels of {len(rows):,}")
        if not any(rows):
            raise ValueError("no text has a label: there is nothing to learn")
        self.classes_ = classes
        self._train(texts, rows, options={"task": _TASK})
        return self

    @raising_value_errors()
    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Return the probability of every label, shape (texts, labels), in the order of `classes_`; 0 for a label that no
        training text had."""
        check_is_fitted(self)
        return self._spread(self._model.predict_proba(read_texts(X)))

    @raising_value_errors()
    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return 1 for each label that a text has, else 0, shape (texts, labels), in the order of `classes_`."""
        check_is_fitted(self)
        predictions: list[Any] = self._model.predict(read_texts(X))
        known = self._model.labels
        found = np.array([[label in one["labels"] for label in known] for one in predictions], dtype=np.int64)
        return self._spread(found.reshape(len(predictions), len(known)))

    def predict_labels(self, X: Sequence[str]) -> list[list[Any]]:
        """Return the labels of each text as they were given to `fit`."""
        return [self.classes_[row.astype(bool)].tolist() for row in self.predict(X)]

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Return columns in the order of `classes_`. The run knows the labels that training texts have."""
        place = {label: number for number, label in enumerate(self._model.labels)}
        found = np.zeros((len(values), len(self.classes_)), dtype=values.dtype)
        for column, label in enumerate(self.classes_.tolist()):
            if (name := str(label).strip()) in place:
                found[:, column] = values[:, place[name]]
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[missing-attribute]
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.two_d_labels = True
        return tags


def read_label_sets(y: Any) -> tuple[np.ndarray, list[list[str]]]:
    """Return (labels in order, the names of the labels of each text). Raise `ValueError` for what are no sets of labels."""
    if hasattr(y, "toarray"):
        y = y.toarray()
    names = getattr(y, "columns", None)
    values = np.asarray(y) if names is not None or isinstance(y, np.ndarray) else None
    if values is not None and values.ndim == 2:
        if not np.isin(values.astype(object), (0, 1)).all():
            raise ValueError("wanted a matrix of 0 and 1 with a column for each label")
        classes = np.arange(values.shape[1]) if names is None else np.array([str(name) for name in names])
        return classes, [[str(classes[column]).strip() for column in np.flatnonzero(row)] for row in values.astype(int)]
    rows = list(y)
    if wrong := [row for row in rows if isinstance(row, str | bytes) or not isinstance(row, Iterable)]:
        raise ValueError(f"wanted a list of labels for each text, or a matrix of 0 and 1, found {wrong[0]!r:.60}")
    found = [[label.item() if isinstance(label, np.generic) else label for label in row] for row in rows]
    kinds = {"text" if isinstance(label, str) else "number" for row in found for label in row}
    if len(kinds) > 1:
        raise ValueError("labels must be of one type, found texts and numbers")
    known = sorted({label for row in found for label in row})
    names = [str(label).strip() for label in known]
    if "" in names:
        raise ValueError("a label is empty")
    check_distinct_names(known, names)
    return np.array(known), [[str(label).strip() for label in row] for row in found]
