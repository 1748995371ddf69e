"""A small search over each way's main knobs, on the validation rows alone; every trial is kept, so that it can go on later."""

import importlib.util
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.methods.base import Method, Span

LR_FACTOR = 5.0
"""A learning rate is looked for between its default by this and its default times this, within the way's range."""

Params = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run with these knobs (dotted; none: the defaults) and what it reached on validation; None: it failed."""

    params: Params
    accuracy: float | None
    loss: float | None = None


@dataclass
class TrialRecord:
    """Every trial of a way, in order; the first has the defaults."""

    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """The highest accuracy, then the lowest loss, then the earliest."""
        done = [trial for trial in self.trials if trial.accuracy is not None]
        return max(done, key=lambda trial: (trial.accuracy, -(trial.loss or 0.0))) if done else None

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "TrialRecord":
        """What `as_json` made."""
        return cls([Trial(**trial) for trial in kept["trials"]])

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        best = self.best
        return {"trials": [vars(trial) for trial in self.trials], "best": vars(best) if best else None}


def check_installed() -> None:
    """Optuna is an extra."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("a search wants Optuna, not installed here", where="--search", fix="pip install 'finewright[search]'")


def share_out(trials: int, candidates: int) -> int:
    """Trials for each way: the same for all."""
    if trials < 2 * candidates:
        what = f"{trials} trials are too few for {candidates} ways: each wants its defaults and something to hold against them"
        raise UserError(what, where="--search", fix=f"--search {2 * candidates} or more, or fewer --methods")
    return trials // candidates


def ranges(kind: type[Method], *, fixed: set[str], lr: float | None = None) -> dict[str, Any]:
    """Where to look for each knob, by dotted name; what the user fixed is left out. `lr`: what is taken without a search."""
    (low, high), middle = kind.learning_rate_range, lr or kind.learning_rate
    found = {"training.learning_rate": Span(max(low, middle / LR_FACTOR), min(high, middle * LR_FACTOR), log=True), **kind.search}
    return {option: where for option, where in found.items() if option not in fixed}


def trials(
    kind: type[Method], *, number: int, folder: Path, fixed: set[str], seed: int = 0, lr: float | None = None
) -> Generator[tuple[int, Params], Trial, TrialRecord]:
    """Yields (trial's number, knobs) and is sent what came of it, until there are `number`; returns all of them.

    Trial 0 has the defaults; the others are Optuna's (TPE, Bergstra et al. 2011), whose journal lies in `folder`. What is
    there already counts. Each proposal is a function of the seed and of the trials before it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(folder / "journal.log", name=kind.name())
    spaces = ranges(kind, fixed=fixed, lr=lr)
    record = TrialRecord()
    kept = study.user_attrs.get("defaults")
    record.trials.append(Trial(**kept) if kept else (yield 0, {}))
    study.set_user_attr("defaults", vars(record.trials[0]))
    for index in range(1, number if spaces else 1):
        known = study.get_trials(deepcopy=False)
        if index <= len(known) and known[index - 1].state.is_finished():
            done = known[index - 1]
            record.trials.append(Trial(done.params, done.value, study.user_attrs.get(f"loss {done.number}")))
            continue
        if index <= len(known):  # it was under way when the search was stopped
            asked, params = known[index - 1].number, known[index - 1].params
        else:
            study.sampler = optuna.samplers.TPESampler(seed=seed + index)
            trial = study.ask({option: _distribution(where) for option, where in spaces.items()})
            asked, params = trial.number, trial.params
        outcome = yield index, params
        record.trials.append(outcome)
        _tell(study, asked, outcome)
    return record


def _study(journal: Path, *, name: str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def _tell(study: Any, number: int, outcome: Trial) -> None:
    import optuna

    if outcome.accuracy is None:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        return
    study.set_user_attr(f"loss {number}", outcome.loss)
    study.tell(number, outcome.accuracy)


def _distribution(where: Any) -> Any:
    import optuna

    if not isinstance(where, Span):
        return optuna.distributions.CategoricalDistribution(where)
    if isinstance(where.low, int) and isinstance(where.high, int):
        return optuna.distributions.IntDistribution(where.low, where.high, log=where.log)
    return optuna.distributions.FloatDistribution(where.low, where.high, log=where.log)


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted knobs as a tree."""
    from finewright.core import config

    tree: dict[str, Any] = {}
    for option, value in params.items():
        config.set_option(tree, option, value)
    return tree
