"""What the estimators have in common: the parameters, a run, and copies of it in other processes."""

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from finewright.core.config import AUTO_MODEL
from finewright.core.errors import UserError
from finewright.data.labelled_rows import is_blank
from finewright.data.tables import is_pair, to_values


class EstimatorError(UserError, ValueError):
    """A `UserError` of an estimator: programs around scikit-learn, such as a grid search, expect a `ValueError`."""


@contextmanager
def raising_value_errors() -> Iterator[None]:
    """Raise every `UserError` inside as one that is a `ValueError` too."""
    try:
        yield
    except EstimatorError:
        raise
    except UserError as error:
        raise EstimatorError(error.what, where=error.where, fix=error.fix, code=error.code) from None


class TextEstimator(BaseEstimator):
    """An estimator whose `fit` makes a run from texts. `run_`: the finished run."""

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

    def _train(
        self, texts: Sequence[Any], labels: Sequence[Any] | None = None, *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Train on texts and labels, or on rows that have both, and load the model. No row is held out as a test."""
        from finewright import api

        given = {"learning_rate": self.learning_rate, "epochs": self.epochs, "max_steps": self.max_steps}
        place = None if self.output_dir else tempfile.mkdtemp(prefix="finewright-")
        try:
            with raising_value_errors():
                self.run_ = api.train(
                    texts,
                    labels,
                    model=self.model,
                    method=self.method,
                    method_options=self.method_options,
                    training={**given, **(self.training or {})},
                    data_config={"test_fraction": 0.0},
                    seed=self.random_state,
                    output_dir=Path(place) / "run" if place else self.output_dir,
                    options=options,
                )
        except BaseException:
            if place:
                shutil.rmtree(place, ignore_errors=True)
            raise
        if place:
            _remove_with(self.run_, place)
        self._model = self.run_.load()

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


def read_texts(X: Any) -> list[Any]:
    """Return the texts, or pairs of texts, of a column. Raise `ValueError` if something is neither, or is empty: a model would
    say something of it all the same."""
    with raising_value_errors():
        texts = to_values(X, what="texts")
    if other := [text for text in texts if not isinstance(text, str) and not is_pair(text)]:
        raise ValueError(f"wanted texts, found {other[0]!r}")
    for place, text in enumerate(texts):
        if any(is_blank(one) for one in ([text] if isinstance(text, str) else text) if isinstance(one, str)):
            raise ValueError(f"row {place} of {len(texts):,}, counted from 0, has an empty text: leave it out")
    return [tuple(text) if is_pair(text) else text for text in texts]


def check_distinct_names(labels: Iterable[Any], names: Iterable[str], *, whole_numbers: Collection[str] = ()) -> None:
    """Raise `ValueError` if two labels have one name in the saved model. `whole_numbers`: names of labels that are numbers."""
    known: dict[str, Any] = {}
    for label, name in zip(labels, names, strict=True):
        if (other := known.setdefault(name, label)) != label:
            why = "1.0 is 1" if name in whole_numbers else "spaces around a label do not count"
            raise ValueError(f"the labels {other!r} and {label!r} cannot be kept apart: {why}")
