"""A small search over the main options of each method, on the validation rows. Every trial is saved, so that it can resume."""

import importlib.util
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import computed_field

from finewright.core import config
from finewright.core.errors import UserError
from finewright.methods.base import Method, Span
from finewright.runs.schema import Artifact

LR_FACTOR = 5.0
"""The learning rate is searched from its default divided by this to its default times this, within the method's range."""

Params = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run with these options (dotted names; none: the defaults) and its result on validation; it failed if that is None.

    `by_loss`: the task has no accuracy; the loss alone says which trial is the best.
    """

    params: Params
    accuracy: float | None
    loss: float | None = None
    by_loss: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether it has a result."""
        return (self.loss if self.by_loss else self.accuracy) is not None

    @property
    def value(self) -> float:
        """What is searched for, higher is better: the accuracy, or the loss with its sign turned."""
        return -(self.loss or 0.0) if self.by_loss else self.accuracy or 0.0


class TrialRecord(Artifact):
    """Every trial of a method, in order. The first has the defaults."""

    trials: list[Trial] = []

    @computed_field
    @property
    def best(self) -> Trial | None:
        """The trial with the highest accuracy; of several the one with the lowest loss, then the earliest. Where the task has no
        accuracy, the one with the lowest loss."""
        done = [trial for trial in self.trials if trial.is_finished]
        return max(done, key=lambda trial: (trial.value, -(trial.loss or 0.0))) if done else None


def check_installed() -> None:
    """Raise `UserError` if Optuna is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("a search needs Optuna, which is not installed", where="--search", fix="pip install 'finewright[search]'")


def trials_per_method(num_trials: int, *, num_methods: int) -> int:
    """Return the number of trials of each method, the same for all. Raise `UserError` if it is below two."""
    if num_trials < 2 * num_methods:
        what = f"{num_trials} trials are too few for {num_methods} methods: each needs its defaults and one more"
        raise UserError(what, where="--search", fix=f"--search {2 * num_methods} or more, or fewer --methods")
    return num_trials // num_methods


def search_space(method: type[Method], *, fixed: set[str], learning_rate: float | None = None) -> dict[str, Any]:
    """Return the range of each option by dotted name, without those that the user fixed. `learning_rate`: the default."""
    (low, high), middle = method.learning_rate_range, learning_rate or method.learning_rate
    rates = Span(max(low, middle / LR_FACTOR), min(high, middle * LR_FACTOR), log=True)
    return {option: span for option, span in {"training.learning_rate": rates, **method.search}.items() if option not in fixed}


def propose_trials(
    method: type[Method], *, number: int, folder: Path, fixed: set[str], seed: int = 0, learning_rate: float | None = None
) -> Generator[tuple[int, Params], Trial, TrialRecord]:
    """Yield (number of the trial, options), receive its result, until there are `number`. Return all of them.

    Trial 0 has the defaults. The others are proposed by Optuna (TPE, Bergstra et al. 2011), whose journal is in `folder`.
    Trials in the journal count. Each proposal is a function of the seed and of the trials before it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(folder / "journal.log", name=method.name())
    space = search_space(method, fixed=fixed, learning_rate=learning_rate)
    record = TrialRecord()
    saved = study.user_attrs.get("defaults")
    record.trials.append(Trial(**saved) if saved else (yield 0, {}))
    study.set_user_attr("defaults", vars(record.trials[0]))
    for index in range(1, number if space else 1):
        known = study.get_trials(deepcopy=False)
        if index <= len(known) and known[index - 1].state.is_finished():
            done = known[index - 1]
            by_loss, loss = study.user_attrs.get("by loss", False), study.user_attrs.get(f"loss {done.number}")
            record.trials.append(Trial(done.params, None if by_loss else done.value, loss, by_loss))
            continue
        if index <= len(known):  # it was running when the search was stopped
            proposed, params = known[index - 1].number, known[index - 1].params
        else:
            study.sampler = optuna.samplers.TPESampler(seed=seed + index)
            trial = study.ask({option: _distribution(span) for option, span in space.items()})
            proposed, params = trial.number, trial.params
        outcome = yield index, params
        record.trials.append(outcome)
        _save_outcome(study, proposed, outcome)
    return record


def _open_study(journal: Path, *, name: str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def _save_outcome(study: Any, number: int, outcome: Trial) -> None:
    import optuna

    if not outcome.is_finished:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        return
    if outcome.by_loss:
        study.set_user_attr("by loss", True)
    study.set_user_attr(f"loss {number}", outcome.loss)
    study.tell(number, outcome.value)


def _distribution(span: Any) -> Any:
    import optuna

    if not isinstance(span, Span):
        return optuna.distributions.CategoricalDistribution(span)
    if isinstance(span.low, int) and isinstance(span.high, int):
        return optuna.distributions.IntDistribution(span.low, span.high, log=span.log)
    return optuna.distributions.FloatDistribution(span.low, span.high, log=span.log)


def nest_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with dotted names as a tree."""
    tree: dict[str, Any] = {}
    for option, value in params.items():
        config.set_option(tree, option, value)
    return tree
