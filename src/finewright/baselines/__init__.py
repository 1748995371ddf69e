"""What trains no weight of a model, one file each. The folder is the registry: names are file names with hyphens.

Those for labelled rows are classifiers (`Baseline`) and can be trained as runs; those for conversations (`AnswerBaseline`) answer
prompts, and are measured in comparisons.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from finewright.baselines import saving
from finewright.baselines.answering import AnswerBaseline
from finewright.baselines.base import Baseline, BaselineModel
from finewright.core.config import build_options, describe_options

_HELPER_MODULES = (
    "answering",
    "base",
    "described",
    "label_sets",
    "majority",
    "number_regression",
    "pair_features",
    "predictor",
    "regression",
    "saving",
    "similarity",
    "tagging",
    "vocabulary_model",
    "word_window",
)
_ANSWER_MODULES = ("untuned", "few_shot", "nearest_answer")
"""In the order of tables."""


def baseline_names() -> list[str]:
    """Return the names of all baselines that can be trained, in alphabetical order."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if module.name not in (*_HELPER_MODULES, *_ANSWER_MODULES)
    )


def get_baseline(name: str) -> type[Baseline]:
    """Return the class of a baseline, which must be one of `baseline_names()`."""
    return _find_class(name, Baseline)


def answer_baseline_names() -> list[str]:
    """Return the names of all baselines that answer prompts."""
    return [name.replace("_", "-") for name in _ANSWER_MODULES]


def describe_answer_baselines() -> list[dict[str, str]]:
    """Return all baselines that answer prompts, ready for JSON."""
    return [{"method": name, "summary": get_answer_baseline(name).summary} for name in answer_baseline_names()]


def get_answer_baseline(name: str) -> type[AnswerBaseline]:
    """Return the class of a baseline, which must be one of `answer_baseline_names()`."""
    return _find_class(name, AnswerBaseline)


B = TypeVar("B")


def _find_class(name: str, kind: type[B]) -> type[B]:
    """Return the class of this kind in the file of a baseline."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    (found,) = (one for one in classes if issubclass(one, kind))
    return found


def build_baseline(name: str, options: Mapping[str, Any]) -> Baseline:
    """Build a baseline. Raise `UserError` if an option is wrong."""
    return build_options(get_baseline(name), options, prefix="method")


def load_model(folder: Path) -> BaselineModel:
    """Load what a baseline saved. Raise `UserError` if a file is missing or damaged."""
    name = saving.read_kind(folder, known=baseline_names())
    return get_baseline(name).load(folder)


def describe_baselines() -> list[dict[str, Any]]:
    """Return all baselines with their options, ready for JSON."""
    rows = []
    for name in baseline_names():
        kind = get_baseline(name)
        options = [
            {"option": option, "default": default, "help": text}
            for option, default, text in describe_options(kind, prefix="method.")
        ]
        rows.append({"method": name, "summary": kind.summary, "options": options})
    return rows
