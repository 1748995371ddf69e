"""Which methods are planned for the name that the user gave, and which of them are tried on small data first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finewright import baselines, methods
from finewright.core import config
from finewright.core.config import RunConfig, TrainingConfig
from finewright.core.errors import UserError
from finewright.core.option_names import ALIASES
from finewright.methods.base import Method
from finewright.models import optional_packages

if TYPE_CHECKING:
    from finewright.tasks.base import Task

MOST_ROWS = 500
"""Training rows of small data; with more, differences between methods are small and trials take long."""
MOST_PER_LABEL, MOST_ROWS_OF_MANY_LABELS = 16, 2_000
"""Rows of a label up to which data is small too, and how many rows there may be then."""
LEAST_ROWS = 16
LEAST_DECIDING_ROWS = 20
"""Validation rows that may decide for the head's start and against all training; of fewer, one row is more than 5 points."""
SMALL_MODEL = 200_000_000
"""Parameters up to which a model with more than `MOST_ROWS` rows is trained whole: more accurate than adapters (decision 33)."""


def collect_method_options(tree: dict[str, Any], *, method: str) -> dict[str, Any]:
    """Take the options of the method out of a tree of options and return them, whatever group they were given in.

    `rank`, `method.rank` and `lora.rank` mean the same where the method is `lora`, or `auto`, which prefers it. Options of
    training below the method's name, `lora.training.epochs`, stay in the tree as `training.epochs`. Raise `UserError` for options
    of another method, and for one that is given twice.
    """
    own = dict(_as_group(tree.pop("method", {})))
    meant = methods.methods_by_preference()[0].name() if method == methods.AUTO else method
    take_bare_options(tree, own, method=meant)
    for name in [name for name in methods.method_names() if name in tree]:
        options, training = methods.split_group(name, tree.pop(name))
        if name != meant:
            what = f"options of {name} are given, but the method is {method}"
            raise UserError(what, where=name, fix=f"--method {name}, or leave them out")
        given = config.resolve_names(TrainingConfig, _as_group(tree.get("training", {})), prefix="training")
        twice = [*(f"method.{key}" for key in own if key in options), *(f"training.{key}" for key in training if key in given)]
        if twice:
            what = f"{twice[0]} and {name}.{twice[0].removeprefix('method.')} are the same option"
            raise UserError(what, where=name, fix="give one of them")
        own |= options
        if training:
            tree["training"] = {**given, **training}
    return own


def take_bare_options(tree: dict[str, Any], own: dict[str, Any], *, method: str) -> None:
    """Move the options of the method that were given without a group, `rank`, or `r` as in PEFT, from `tree` to `own`."""
    known = _option_names(method)
    before = {known.get(name, name): f"method.{name}" for name in own}
    for name in [name for name in tree if name in known and name not in RunConfig.model_fields]:
        if twice := before.get(known[name]):
            raise UserError(f"{name} and {twice} are the same option", where=name, fix="give one of them")
        before[known[name]] = name
        own[known[name]] = tree.pop(name)


def _option_names(method: str) -> dict[str, str]:
    """Return every name of an option of the method → its own name; none for a method that does not exist."""
    if method in baselines.baseline_names():
        fields = baselines.get_baseline(method).model_fields
    elif method in methods.method_names():
        fields = methods.get_method(method).model_fields
    else:
        return {}
    aliases = {name.removeprefix("method."): own for name, own in ALIASES.items() if name.startswith("method.") and own in fields}
    return {**{name: name for name in fields}, **aliases}


def _as_group(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"wanted a group of options, found {value!r}", where="options", fix="for instance training.epochs=3")
    return value


def candidate_methods(name: str, *, options: Mapping[str, Any]) -> list[Method]:
    """Return the method called `name`; with `auto` every method that can run here, the preferred one first.

    With options of a method, `auto` is the preferred method alone: others would not know them.
    """
    if name in baselines.answer_baseline_names():
        what = f"{name} trains nothing, so there is no run of it"
        raise UserError(what, where="method", fix="`finewright compare` measures it beside fine-tuned language models")
    if name != methods.AUTO:
        return [methods.build_method(name, options, also=baselines.baseline_names())]
    kinds = [kind for kind in methods.methods_by_preference() if kind.weights != "random"]
    if options:
        return [methods.build_method(kinds[0].name(), options)]
    return [kind() for kind in kinds if not kind.needs or not optional_packages.missing_packages()]


def methods_for_task(candidates: Sequence[Method], task: "type[Task]") -> list[Method]:
    """Return the candidates that can train a task. Raise `UserError` with the reason if none can."""
    reasons = [task.why_not(method) for method in candidates]
    found = [method for method, reason in zip(candidates, reasons, strict=True) if not reason]
    if not found:
        raise UserError(reasons[0], where="method", fix="another method; `finewright methods` lists them")
    return found


def is_worth_trying(candidates: Sequence[Method], task: "Task", *, num_rows: int) -> bool:
    """Whether there is a choice, and so few training rows that trials decide it and take little time."""
    return len(candidates) > 1 and _is_small_data(task, num_rows)


def _is_small_data(task: "Task", num_rows: int) -> bool:
    most = max(MOST_ROWS, min(MOST_PER_LABEL * len(task.labels), MOST_ROWS_OF_MANY_LABELS))
    return task.fits_head and LEAST_ROWS <= num_rows <= most


@dataclass(frozen=True)
class DataSize:
    """What the order of methods depends on.

    `num_deciding`: validation rows on which a run compares its trained model with its start. `embeds_texts`: as in
    `pooling.embeds_texts`. `are_pairs`: whether rows are pairs of texts: their label is a relation, and pairs with one label are
    not alike. `total_parameters`: of the model.
    """

    num_rows: int
    num_deciding: int
    embeds_texts: bool
    are_pairs: bool
    total_parameters: int

    @property
    def model(self) -> str:
        """The size of the model in words."""
        return f"{self.total_parameters / 1e6:,.1f} million parameters"

    @property
    def can_draw_together(self) -> bool:
        """Whether rows with one label can be drawn together."""
        return self.embeds_texts and not self.are_pairs


def order_by_data(candidates: Sequence[Method], task: "Task", size: DataSize) -> tuple[tuple[Method, ...], str]:
    """Return the candidates with the one first that suits the data without any trial, and the reason; else as they are, and none.

    Trials compare with the frozen features on small data. They are not made where the validation rows of the run do the same, nor
    with a decoder that does not embed texts: its frozen features say too little (decision 34). With many rows all weights of a
    small model are trained. Otherwise trials decide, or the usual order.
    """
    if len(candidates) < 2 or any(method.model_fields_set for method in candidates):
        return tuple(candidates), ""
    first, reason = None, ""
    if _is_small_data(task, size.num_rows):
        decides = size.num_deciding >= LEAST_DECIDING_ROWS
        if decides or not size.embeds_texts:
            first, why = _choose_for_few_rows(candidates, task, size)
            judge = f"; {size.num_deciding:,} validation rows decide whether training helped" if decides else ""
            reason = f"{why} {size.num_rows:,} rows{judge}"
    elif size.num_rows > MOST_ROWS and size.total_parameters <= SMALL_MODEL and not task.is_language_model():
        first = _trains_whole(candidates)
        reason = f"a model of {size.model} learns most from {size.num_rows:,} rows with all of them"
    if first is None:
        return tuple(candidates), ""
    return (first, *(method for method in candidates if method is not first)), reason


def _choose_for_few_rows(candidates: Sequence[Method], task: "Task", size: DataSize) -> tuple[Method, str]:
    """Return the method for small data where nothing is tried, and why, to go before the number of rows."""
    suiting = [method for method in candidates if method.suits_few_rows and not task.why_not(method)]
    if suiting and size.can_draw_together:
        return suiting[0], "suits"
    whole = _trains_whole(candidates)
    if whole and size.total_parameters <= SMALL_MODEL:
        return whole, f"suits a small model ({size.model}) with"
    return candidates[0], f"suits a large model ({size.model}) with"


def _trains_whole(candidates: Sequence[Method]) -> Method | None:
    return next((method for method in candidates if method.suits_small_models), None)


def tried_methods(candidates: Sequence[Method], size: DataSize) -> list[Method]:
    """Return the candidates that suit small data, each with the options of a trial: those that suit few rows come first.

    Methods that draw texts together made models worse that do not embed texts (decision 30). A small model is trained whole where
    that is possible, not with adapters (decision 33).
    """
    suiting = [one for one in candidates if one.trial_options is not None and (size.can_draw_together or one.objective == "task")]
    whole = [one for one in suiting if one.suits_small_models]
    if whole and size.total_parameters <= SMALL_MODEL:
        suiting = [one for one in suiting if one.saves != "adapter"]
    else:
        suiting = [one for one in suiting if one not in whole]
    tried = [method.model_copy(update=dict(method.trial_options or {})) for method in suiting]
    return sorted(tried, key=lambda method: not method.suits_few_rows)
