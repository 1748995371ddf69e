"""The search: fair, on top of the defaults, and able to go on where it stopped."""

import importlib.util

import pytest

from finewright import methods
from finewright.comparison import search
from finewright.comparison.search import Trial, TrialRecord
from finewright.core.errors import UserError
from finewright.methods.base import Span

LORA = methods.get_method("lora")


def run(folder, *, number, stop_after=None, fixed=(), judge=lambda params: params.get("training.learning_rate", 0.0)):
    """(record, what was asked); stops as a killed process would, before the answer is told."""
    asked = []
    asking = search.trials(LORA, number=number, folder=folder, fixed=set(fixed))
    try:
        index, params = next(asking)
        while True:
            asked.append((index, params))
            if len(asked) == stop_after:
                return None, asked
            index, params = asking.send(Trial(params, judge(params), 0.5))
    except StopIteration as stop:
        return stop.value, asked


def test_the_first_trial_has_the_defaults_and_the_best_wins(tmp_path):
    record, asked = run(tmp_path, number=6)
    assert [index for index, _ in asked] == [0, 1, 2, 3, 4, 5]
    assert asked[0] == (0, {})
    assert len(record.trials) == 6
    assert record.best.accuracy == max(params["training.learning_rate"] for _, params in asked[1:])
    assert all(set(params) == set(search.ranges(LORA, fixed=set())) for _, params in asked[1:])


def test_defaults_stay_when_nothing_is_better(tmp_path):
    record, _ = run(tmp_path, number=4, judge=lambda params: 0.2 if params else 0.9)
    assert record.best.params == {}


def test_a_stopped_search_asks_the_same_trial_again_and_ends_like_an_unbroken_one(tmp_path):
    whole, asked = run(tmp_path / "a", number=6)
    for stop_after in (1, 3):
        place = tmp_path / f"b{stop_after}"
        _, before = run(place, number=6, stop_after=stop_after)
        record, after = run(place, number=6)
        assert before[-1] == after[0]
        assert [*before[:-1], *after] == asked
        assert record == whole
    again, nothing = run(tmp_path / "a", number=6)
    assert (again, nothing) == (whole, [])


def test_failed_trials_count_and_do_not_win(tmp_path):
    record, asked = run(tmp_path, number=4, judge=lambda params: None if params else 0.1)
    assert len(asked) == 4
    assert record.best == Trial({}, 0.1, 0.5)
    nothing, _ = run(tmp_path / "none", number=3, judge=lambda params: None)
    assert nothing.best is None
    assert TrialRecord.from_json(nothing.as_json()) == nothing


def test_ties_go_to_the_lower_loss_then_to_the_earlier():
    trials = [Trial({}, 0.8, 0.5), Trial({"a": 1}, 0.8, 0.4), Trial({"a": 2}, 0.8, 0.4)]
    assert TrialRecord(trials).best == trials[1]


def test_it_looks_around_the_rate_that_would_be_taken():
    around = search.ranges(LORA, fixed=set(), lr=5e-3)["training.learning_rate"]
    assert (around.low, around.high) == pytest.approx((1e-3, 1e-2)), "within the way's range"


def test_what_the_user_fixed_is_not_searched(tmp_path):
    _, asked = run(tmp_path, number=3, fixed=["training.learning_rate", "method.rank"], judge=lambda params: 0.5)
    assert all(not {"training.learning_rate", "method.rank"} & set(params) for _, params in asked)
    everything = set(search.ranges(LORA, fixed=set()))
    record, asked = run(tmp_path / "all", number=3, fixed=everything, judge=lambda params: 0.5)
    assert len(asked) == len(record.trials) == 1, "nothing is left to look for"


def test_trials_are_shared_out_evenly():
    assert search.share_out(20, 5) == 4
    assert search.share_out(23, 5) == 4
    with pytest.raises(UserError, match=r"9 trials are too few for 5 ways[\s\S]*--search 10 or more"):
        search.share_out(9, 5)


@pytest.mark.parametrize("name", methods.method_names())
def test_every_way_declares_knobs_it_has(name):
    kind = methods.get_method(name)
    ranges = search.ranges(kind, fixed=set())
    low, high = kind.learning_rate_range
    assert low <= ranges["training.learning_rate"].low < kind.learning_rate < ranges["training.learning_rate"].high <= high
    for corner in (0, -1):
        tree = search.nested(
            {option: where[corner and 1] if isinstance(where, Span) else where[corner] for option, where in ranges.items()}
        )
        methods.build_method(name, tree.get("method", {}))


def test_without_optuna_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'finewright\[search\]'"):
        search.check_installed()
