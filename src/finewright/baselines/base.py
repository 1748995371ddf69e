"""The interface of a baseline: it is fitted by scikit-learn, saved as tensors and JSON, and scores texts from what was saved.

Shape suffixes: N texts, C labels, or 1 for a number.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from finewright.baselines.described import DescribedBaseline
from finewright.core.config import FILE_OPTIONS, RunConfig, describe_options
from finewright.core.errors import UserError
from finewright.data.conversation_shapes import RowKind
from finewright.data.text_pairs import as_input

if TYPE_CHECKING:
    import numpy as np

    from finewright.baselines.frozen_features import FrozenEncoder
    from finewright.data.dataset import Dataset
    from finewright.tasks.base import Task

FIT_WITHOUT_MEANING = ("model", "task", "seed", "force", "training.baselines")
"""Run options that a baseline may ignore in silence: they name the run, or change nothing that it could give."""


class BaselineModel(ABC):
    """A fitted baseline in the form that is saved. It needs no scikit-learn."""

    kind: ClassVar[str]
    labels: tuple[str, ...]
    task: str
    """Name of the task."""
    texts_at_once: ClassVar[int] = 4096
    """Texts that are scored together, so that memory does not grow with their number."""

    def read_input(self, value: Any) -> Any:
        """Return what `score` takes of an input of the task: of a text, or of what JSON has for one (`Task.probes`)."""
        return as_input(value)

    @abstractmethod
    def score(self, texts: Sequence[Any]) -> "np.ndarray":
        """Return what the task makes predictions of, float32, shape (N, C): log probabilities up to a constant, the log odds of
        every label, or numbers; of tags of words shape (N, words of the longest text, C)."""

    @abstractmethod
    def estimate(self, scores_NC: "np.ndarray") -> "np.ndarray":
        """Return, from scores, what `FittedBaseline.estimate` returns."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `baseline.json` and `baseline.safetensors`."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of coefficients and intercepts that were fitted."""

    @property
    def num_frozen_parameters(self) -> int:
        """Number of parameters of the frozen model that the baseline reads, 0 if it reads none."""
        return 0


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline after `fit`.

    `model`: the form that is saved. `chosen`: what was chosen, in words. `choices`: the same by the dotted
    names of the options that were left open. `validation_accuracy`: None without such rows, or labels. `estimate`: by
    scikit-learn itself, float64, shape (N, C): the probability of every label, or numbers in standard deviations of the training
    numbers; of tags of words as of the model. `notes`: what the user should know.
    `reason`: why these are the `choices`.
    """

    model: BaselineModel
    chosen: str
    choices: dict[str, Any]
    validation_accuracy: float | None
    estimate: Callable[[Sequence[Any]], "np.ndarray"]
    notes: tuple[str, ...] = ()
    reason: str = ""


class Baseline(DescribedBaseline):
    """A regression that trains no weight of a model: properties (class variables), options (fields), `fit` and `load`."""

    row_kind: ClassVar[RowKind] = "labelled"
    reads: ClassVar[str]
    """What of a text the regression reads, in a few words."""
    reads_of_words: ClassVar[str] = ""
    """What it reads of each word to tag it; empty if it cannot."""
    text_options: ClassVar[tuple[str, ...]] = ()
    """Its options that are of whole texts alone."""
    run_options: ClassVar[tuple[str, ...]]
    """Options of a run that it uses, by dotted name, besides those that say how the data is read."""

    def load_libraries(self) -> None:
        """Import what fitting and measuring need, so that importing it does not count as time of training."""
        for module in ("sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.preprocessing", "sklearn.metrics"):
            importlib.import_module(module)

    @abstractmethod
    def fit(self, dataset: "Dataset", *, task: str, encoder: "FrozenEncoder | None" = None) -> FittedBaseline:
        """Fit on the training rows, and choose what is open on rows that are held out.

        Parameters
        ----------
        dataset
            Rows with at least two labels, or different numbers.
        task
            Name of the task, which is saved.
        encoder
            The frozen model, if the baseline reads one.

        Raises
        ------
        UserError
            If the training rows have one label alone, or no word.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> BaselineModel:
        """Load what `BaselineModel.save` wrote. Raise `UserError` if it is damaged."""

    def check_settings(self, settings: RunConfig) -> None:
        """Raise `UserError` if an option was set that this baseline would ignore."""
        ignored = [name for name in self.find_ignored(settings) if name not in FIT_WITHOUT_MEANING]
        if ignored:
            what = f"{self.name()} does not use {', '.join(ignored)}: it is fitted by a regression, not by steps"
            raise UserError(what, where=ignored[0], fix="leave it out, or take a fine-tuning method")

    def check_task(self, task: "Task") -> None:
        """Raise `UserError` for a task that it cannot be fitted to: one without labels and numbers, or with tags that it does not
        predict, or not with these options."""
        if task.row_kind == "tagged-tokens" and not self.reads_of_words:
            what = f"{self.name()} reads whole texts, and {task.name} wants a tag for each word"
            raise UserError(what, where="task", fix="--method bag-of-words, or a fine-tuning method")
        usual = type(self)()
        of_texts = [name for name in self.text_options if getattr(self, name) != getattr(usual, name)]
        if task.row_kind == "tagged-tokens" and of_texts:
            what = f"{of_texts[0]} is about whole texts, and {task.name} wants a tag for each word"
            raise UserError(what, where=f"method.{of_texts[0]}", fix="leave it out")
        if not task.labels and not task.predicts_numbers:
            what = f"{self.name()} predicts labels, numbers or tags, and {task.name} has none"
            raise UserError(what, where="task", fix="take a fine-tuning method")

    @classmethod
    def describe(cls, row_kind: RowKind) -> str:
        """Return what it does with rows of a kind, in one line."""
        if row_kind == "tagged-tokens":
            return f"logistic regression on {cls.reads_of_words}"
        return f"{'ridge' if row_kind == 'number' else 'logistic'} regression on {cls.reads}"

    def find_ignored(self, settings: RunConfig) -> list[str]:
        """Return the options of a run that differ from their defaults and that this baseline does not use."""
        now, usual = settings.model_dump(), RunConfig().model_dump()
        names = [name for name, _, _ in describe_options(RunConfig)]
        used = (*self.run_options, "data.split_seed", "data.validation_fraction", "data.test_fraction")
        used += tuple(f"data.{name}" for name in FILE_OPTIONS)
        return [name for name in names if name not in used and _value(now, name) != _value(usual, name)]


def _value(tree: dict[str, Any], dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[part]
    return tree
