"""The search: the same number of trials for all, the defaults among them, and resumable."""

import importlib.util

import pytest

from finewright import methods
from finewright.comparison import search
from finewright.comparison.search import Trial, TrialRecord
from finewright.core.errors import UserError
from finewright.methods.base import Span

LORA = methods.get_method("lora")


def run(folder, *, number, stop_after=None, fixed=(), judge=lambda params: params.get("training.learning_rate", 0.0)):
    """Return (record, proposals). With `stop_after` it stops like a killed process, before the result is sent."""
    proposed = []
    proposals = search.propose_trials(LORA, number=number, folder=folder, fixed=set(fixed))
    try:
        index, params = next(proposals)
        while True:
            proposed.append((index, params))
            if len(proposed) == stop_after:
                return None, proposed
            index, params = proposals.send(Trial(params, judge(params), 0.5))
    except StopIteration as stop:
        return stop.value, proposed


def test_the_first_trial_has_the_defaults_and_the_best_wins(tmp_path):
    record, proposed = run(tmp_path, number=6)
    assert [index for index, _ in proposed] == [0, 1, 2, 3, 4, 5]
    assert proposed[0] == (0, {})
    assert len(record.trials) == 6
    assert record.best.accuracy == max(params["training.learning_rate"] for _, params in proposed[1:])
    assert all(set(params) == set(search.search_space(LORA, fixed=set())) for _, params in proposed[1:])


def test_the_defaults_stay_when_nothing_is_better(tmp_path):
    record, _ = run(tmp_path, number=4, judge=lambda params: 0.2 if params else 0.9)
    assert record.best.params == {}


def test_a_stopped_search_repeats_its_trial_and_ends_like_an_uninterrupted_one(tmp_path):
    whole, proposed = run(tmp_path / "a", number=6)
    for stop_after in (1, 3):
        place = tmp_path / f"b{stop_after}"
        _, before = run(place, number=6, stop_after=stop_after)
        record, after = run(place, number=6)
        assert before[-1] == after[0]
        assert [*before[:-1], *after] == proposed
        assert record == whole
    again, nothing = run(tmp_path / "a", number=6)
    assert (again, nothing) == (whole, [])


def test_failed_trials_count_and_do_not_win(tmp_path):
    record, proposed = run(tmp_path, number=4, judge=lambda params: None if params else 0.1)
    assert len(proposed) == 4
    assert record.best == Trial({}, 0.1, 0.5)
    nothing, _ = run(tmp_path / "none", number=3, judge=lambda params: None)
    assert nothing.best is None
    assert TrialRecord.model_validate(nothing.model_dump()) == nothing


def test_ties_go_to_the_lower_loss_then_to_the_earlier():
    trials = [Trial({}, 0.8, 0.5), Trial({"a": 1}, 0.8, 0.4), Trial({"a": 2}, 0.8, 0.4)]
    assert TrialRecord(trials=trials).best == trials[1]


def test_rates_around_the_default_are_searched():
    around = search.search_space(LORA, fixed=set(), learning_rate=5e-3)["training.learning_rate"]
    assert (around.low, around.high) == pytest.approx((1e-3, 1e-2)), "within the method's range"


def test_what_the_user_fixed_is_not_searched(tmp_path):
    _, proposed = run(tmp_path, number=3, fixed=["training.learning_rate", "method.rank"], judge=lambda params: 0.5)
    assert all(not {"training.learning_rate", "method.rank"} & set(params) for _, params in proposed)
    everything = set(search.search_space(LORA, fixed=set()))
    record, proposed = run(tmp_path / "all", number=3, fixed=everything, judge=lambda params: 0.5)
    assert len(proposed) == len(record.trials) == 1, "nothing is left to search"


def test_each_method_gets_the_same_number_of_trials():
    assert search.trials_per_method(20, num_methods=5) == 4
    assert search.trials_per_method(23, num_methods=5) == 4
    with pytest.raises(UserError, match=r"9 trials are too few for 5 methods[\s\S]*--search 10 or more"):
        search.trials_per_method(9, num_methods=5)


@pytest.mark.parametrize("name", methods.method_names())
def test_every_method_declares_options_it_has(name):
    method = methods.get_method(name)
    space = search.search_space(method, fixed=set())
    low, high = method.learning_rate_range
    assert low <= space["training.learning_rate"].low < method.learning_rate < space["training.learning_rate"].high <= high
    for corner in (0, -1):
        tree = search.nest_options(
            {option: span[corner and 1] if isinstance(span, Span) else span[corner] for option, span in space.items()}
        )
        methods.build_method(name, tree.get("method", {}))


def test_without_optuna_the_fix_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'finewright\[search\]'"):
        search.check_installed()


def test_without_an_accuracy_the_lowest_loss_wins_also_after_a_stop(tmp_path):
    losses = iter([2.0, 3.0, 1.0, 1.5])
    found = []
    for stop in (2, None):
        proposals = search.propose_trials(LORA, number=4, folder=tmp_path, fixed=set())
        try:
            _, params = next(proposals)
            while True:
                if stop is not None and len(found) == stop:
                    break
                found.append(params)
                _, params = proposals.send(Trial(params, None, next(losses), by_loss=True))
        except StopIteration as ended:
            record = ended.value
    assert [trial.loss for trial in record.trials] == [2.0, 3.0, 1.0, 1.5]
    assert {trial.accuracy for trial in record.trials} == {None}
    assert (record.best.loss, record.best.params) == (1.0, found[2])
    assert TrialRecord(trials=[Trial({}, None, None, by_loss=True)]).best is None, "it failed"
