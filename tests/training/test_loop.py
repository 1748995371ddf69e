"""The training loop: events, their order, when it evaluates and when it stops."""

import gc
import itertools
import resource
from collections import Counter
from pathlib import Path

import pytest
import torch

from finewright.core import events as run_events
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.tasks.text_classification import TextClassification
from finewright.training import loop
from finewright.training.state import EvaluatedStep, Progress
from support import tiny

TASK = TextClassification(("a", "b", "c"))
LENGTHS = [4, 6, 3, 5, 4, 6, 2, 5]
ENCODED = packing.EncodedSplit(tiny.texts(LENGTHS), LENGTHS, [0, 1, 2, 0, 1, 2, 0, 1])
PLACES = [f"a.csv:{index + 2}" for index in range(8)]


def schedule(**changes):
    options = {
        "steps": packing.schedule_updates(LENGTHS, budget=10, gradient_accumulation_steps=1, seed=0, epochs=2),
        "lr": 1e-3,
        "warmup_ratio": 0.3,
        "lr_scheduler": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "evaluate_every": 3,
        "early_stopping_patience": 0,
    }
    return loop.TrainingSchedule(**(options | changes))


def fixed_evaluation(*accuracies):
    """An evaluation that returns these accuracies one after the other, then the last one again."""
    left = list(accuracies)
    return lambda: {"accuracy": left.pop(0) if len(left) > 1 else left[0], "loss": 1.0}


def fit(evaluate=None, **changes):
    prepared_model = tiny.prepared_model("gpt2")
    return list(loop.train(prepared_model, ENCODED, task=TASK, schedule=schedule(**changes), evaluate=evaluate, places=PLACES))


def test_one_event_per_step_and_evaluations_at_intervals_and_at_the_end():
    events = fit(fixed_evaluation(0.5))
    steps = [event for event in events if isinstance(event, run_events.StepCompleted)]
    assert [event.step for event in steps] == list(range(1, steps[-1].num_steps + 1))
    assert steps[-1].epoch == 2.0
    assert steps[0].lr < steps[1].lr > steps[-1].lr
    assert sum(event.result.num_rows for event in steps) == 2 * len(LENGTHS)
    evaluated = [event.step for event in events if isinstance(event, run_events.EvaluationCompleted)]
    assert evaluated == sorted({*range(3, len(steps) + 1, 3), len(steps)})
    assert events[-1] == run_events.TrainingStopped(step=steps[-1].num_steps, early=False)


def test_best_is_better_than_all_before_and_ties_are_broken_by_lower_loss():
    best = [
        event.best
        for event in fit(fixed_evaluation(0.5, 0.4, 0.5, 0.6), evaluate_every=2)
        if isinstance(event, run_events.EvaluationCompleted)
    ]
    assert best[:4] == [True, False, False, True]
    losses = iter([1.0, 0.9, 1.1, *[2.0] * 9])
    events = fit(lambda: {"accuracy": 0.5, "loss": next(losses)}, evaluate_every=2)
    assert [event.best for event in events if isinstance(event, run_events.EvaluationCompleted)][:3] == [True, True, False]


def measured(*rights, num_rows=40):
    """An evaluation of `num_rows` rows that gets so many of them right, one after the other."""
    left = list(rights)
    losses = itertools.count(1)  # never the same, never better
    return lambda: {"accuracy": left.pop(0) / num_rows, "loss": float(next(losses)), "num_rows": num_rows}


def test_an_evaluation_within_a_standard_error_of_the_best_does_not_count_towards_the_stop():
    # 30 of 40 right: a standard error of 0.068, 2.7 rows
    events = fit(measured(30, *[28] * 20), evaluate_every=1, early_stopping_patience=2)
    assert events[-1].early is False
    events = fit(measured(30, 27, 27, *[30] * 20), evaluate_every=1, early_stopping_patience=2)
    assert events[-1] == run_events.TrainingStopped(step=3, early=True)
    events = fit(measured(30, *[27, 28] * 10), evaluate_every=1, early_stopping_patience=2)
    assert events[-1].early is False, "not two in a row"


def evaluated(step, num_right, *, num_rows=40, loss=1.0):
    return EvaluatedStep(step, step / 4, {"accuracy": num_right / num_rows, "loss": loss, "num_rows": num_rows})


@pytest.mark.parametrize(
    ("best", "last", "start", "kept"),
    [
        (evaluated(4, 30), evaluated(8, 28), None, 8),
        (evaluated(4, 30), evaluated(8, 27), None, 4),
        (evaluated(4, 20, num_rows=20), evaluated(8, 20, num_rows=20), None, 8),  # equal: the later one
        (evaluated(4, 20, num_rows=20), evaluated(8, 19, num_rows=20), None, 4),
        (evaluated(4, 300, num_rows=400), evaluated(8, 290, num_rows=400), None, 4),  # more rows tell more
        (evaluated(0, 30), evaluated(8, 30), evaluated(0, 30).metrics, 0),  # no gain over the start
        (evaluated(0, 30), evaluated(8, 29), evaluated(0, 30).metrics, 0),
        (evaluated(4, 32), evaluated(8, 31), evaluated(0, 30).metrics, 8),
        (evaluated(4, 32), evaluated(8, 30), evaluated(0, 30).metrics, 4),
        (evaluated(4, 30), evaluated(6, 30), None, 4),  # the last weights were not evaluated
        (None, None, None, None),
    ],
)
def test_the_last_weights_are_kept_unless_the_best_are_clearly_better(best, last, start, kept):
    progress = Progress(step=8, best=best, last=last, start_metrics=start)
    found = loop.choose_kept(progress, TASK)
    assert (found and found.step) == kept


def test_a_metric_without_a_standard_error_keeps_the_best():
    best, last = evaluated(4, 30), evaluated(8, 29)
    del best.metrics["num_rows"], last.metrics["num_rows"]
    assert loop.choose_kept(Progress(step=8, best=best, last=last), TASK) is best
    assert TASK.standard_error(best.metrics) == 0.0


def test_early_stopping_waits_for_its_number_of_evaluations():
    events = fit(fixed_evaluation(0.5, 0.4), evaluate_every=1, early_stopping_patience=2)
    assert events[-1] == run_events.TrainingStopped(step=3, early=True)


def test_a_slowly_falling_loss_does_not_keep_training_going():
    """All rows are right from the second evaluation on; the loss then falls by a tenth each time, from 0.01."""
    found = iter([(0.5, 1.0), (1.0, 0.01), *[(1.0, 0.01 * 0.9**power) for power in range(1, 20)]])

    def evaluate():
        accuracy, loss = next(found)
        return {"accuracy": accuracy, "loss": loss}

    events = fit(evaluate, evaluate_every=1, early_stopping_patience=3)
    best = [event.best for event in events if isinstance(event, run_events.EvaluationCompleted)]
    assert best == [True, True, False, False, False]
    assert events[-1] == run_events.TrainingStopped(step=5, early=True)


def test_a_run_may_stop_early_only_if_evaluations_are_left_after_the_patience_is_used_up():
    num_steps = len(schedule().steps)
    for patience, possible in ((0, False), (1, True), (num_steps - 2, True), (num_steps - 1, False), (99, False)):
        assert schedule(evaluate_every=1, early_stopping_patience=patience).may_stop_early == possible, patience
        events = fit(fixed_evaluation(0.5), evaluate_every=1, early_stopping_patience=patience)
        assert events[-1].early == possible


def test_without_a_validation_split_there_are_no_evaluations():
    assert not any(isinstance(event, run_events.EvaluationCompleted) for event in fit())


def test_a_fitted_head_is_evaluated_before_the_first_update_and_may_stay_the_best():
    events = fit(fixed_evaluation(0.6, 0.5), evaluate_every=1, early_stopping_patience=2, evaluates_start=True)
    assert isinstance(events[0], run_events.EvaluationCompleted)
    assert (events[0].step, events[0].epoch, events[0].best) == (0, 0.0, True)
    assert not any(event.best for event in events[1:] if isinstance(event, run_events.EvaluationCompleted))
    assert events[-1] == run_events.TrainingStopped(step=2, early=True), "early stopping counts from there"
    assert schedule(evaluates_start=True).num_evaluations == schedule().num_evaluations + 1
    num_steps = len(schedule().steps)
    for patience in (num_steps - 1, num_steps):
        possible = schedule(evaluate_every=1, early_stopping_patience=patience, evaluates_start=True).may_stop_early
        events = fit(fixed_evaluation(0.5), evaluate_every=1, early_stopping_patience=patience, evaluates_start=True)
        assert possible == events[-1].early == (patience < num_steps)


def test_the_start_is_evaluated_once_and_its_metrics_stay_in_the_progress():
    prepared_model, calls = tiny.prepared_model("gpt2"), []
    state = loop.start_state(prepared_model, schedule())
    how = {"task": TASK, "places": PLACES, "state": state, "schedule": schedule(evaluates_start=True)}

    def evaluate():
        calls.append(state.progress.step)
        return {"accuracy": 0.5, "loss": 1.0 / len(calls)}

    next(loop.train(prepared_model, ENCODED, evaluate=evaluate, **how))  # as if the session ended after this event
    assert calls == [0]
    list(loop.train(prepared_model, ENCODED, evaluate=evaluate, **how))
    assert calls.count(0) == 1
    assert state.progress.start_metrics == {"accuracy": 0.5, "loss": 1.0}
    assert type(state.progress).from_json(state.progress.as_json()) == state.progress


def test_the_first_loss_of_a_fitted_head_may_be_low_and_must_not_be_above_guessing():
    for loss in (0.01, 1.3):
        loop._check_first_loss(run_events.StepResult(loss, 1.0, 10, 36, True), task=TASK, spread=0.5)
    with pytest.raises(UserError, match=r"the first loss is 2\.0000, that of guessing among 3 labels is 1\.0986, and") as caught:
        loop._check_first_loss(run_events.StepResult(2.0, 1.0, 10, 36, True), task=TASK, spread=0.5)
    assert caught.value.code == ExitCode.MISMATCH
    loop._check_first_loss(run_events.StepResult(2.0, 1.0, 10, 4, True), task=TASK, spread=0.5)  # of four rows, the hardest ones
    with pytest.raises(UserError, match="the first loss is 0.0100, a fresh head over 3 labels starts at 1.0986"):
        loop._check_first_loss(run_events.StepResult(0.01, 1.0, 10, 36, True), task=TASK, spread=None)


def test_the_first_loss_with_mixed_up_labels_is_refused():
    prepared_model = tiny.prepared_model("gpt2")
    prepared_model.network.score.weight.data *= 500
    with pytest.raises(UserError, match="the head was fitted to be better"):
        list(
            loop.train(prepared_model, ENCODED, task=TASK, evaluate=None, places=PLACES, schedule=schedule(start_loss_spread=0.1))
        )


def test_a_tensor_that_stays_at_zero_gradient_is_refused():
    prepared_model = tiny.prepared_model("gpt2")
    for parameter in prepared_model.network.transformer.h[1].parameters():
        parameter.register_hook(lambda gradient: gradient * 0)
    with pytest.raises(UserError, match=r"step 3: 12 trained tensors get no gradient, for instance transformer\.h\.1"):
        list(loop.train(prepared_model, ENCODED, task=TASK, schedule=schedule(), evaluate=None, places=PLACES))


def test_dropout_is_on_in_training_and_off_in_evaluation():
    prepared_model, modes = tiny.prepared_model("gpt2"), []

    def evaluate():
        modes.append(prepared_model.trainable_module.training)
        return {"accuracy": 0.5, "loss": 1.0}

    for event in loop.train(prepared_model, ENCODED, task=TASK, schedule=schedule(), evaluate=evaluate, places=PLACES):
        if isinstance(event, run_events.StepCompleted):
            assert prepared_model.trainable_module.training
    assert modes
    assert not any(modes)


def refused(prepared_model, **changes):
    """The error of a training that must fail at the first step."""
    with pytest.raises(UserError, match="step 1: loss nan|step 1: loss inf|gradient norm nan") as caught:
        list(loop.train(prepared_model, ENCODED, task=TASK, schedule=schedule(lr=1e-3, **changes), evaluate=None, places=PLACES))
    assert caught.value.code == ExitCode.NON_FINITE
    assert "--resume RUN --change learning_rate=0.0005" in caught.value.fix
    return caught.value


def one_update():
    """All eight rows in two micro-batches of one update."""
    return packing.schedule_updates(LENGTHS, budget=20, gradient_accumulation_steps=9, seed=0, epochs=1)


def test_only_the_row_with_a_non_finite_loss_is_named():
    """One row has a token that no other row has, and the token's embedding is NaN."""
    prepared_model = tiny.prepared_model("gpt2")
    counts = Counter(token for ids in ENCODED.ids for token in set(ids))
    token = next(token for token in ENCODED.ids[5] if counts[token] == 1)
    prepared_model.network.transformer.wte.weight.data[token] = float("nan")
    found = refused(prepared_model, steps=one_update())
    assert found.where == "a.csv:7"
    assert "of its 8 rows these have a non-finite loss even alone" in found.what
    assert "correct or remove them" in found.fix


def test_the_weights_are_the_cause_if_every_row_has_a_non_finite_loss():
    prepared_model = tiny.prepared_model("gpt2")
    prepared_model.network.score.weight.data[0, 0] = float("nan")
    found = refused(prepared_model, steps=one_update())
    assert "each of its 8 rows has a non-finite loss even alone, so the weights are the cause" in found.what
    assert sorted(found.where.split(", ")) == PLACES


def test_the_error_says_so_if_no_row_has_a_non_finite_loss_alone():
    """Every loss is finite, the gradient is not."""
    prepared_model = tiny.prepared_model("gpt2")
    prepared_model.network.score.weight.register_hook(lambda gradient: gradient * float("nan"))
    found = refused(prepared_model, steps=one_update())
    assert "none of its 8 rows has a non-finite loss alone" in found.what
    assert "tries again from the last checkpoint at half the learning rate; if that fails here too" in found.fix, (
        "it may not help"
    )
    assert sorted(found.where.split(", ")) == PLACES


def live_tensors():
    gc.collect()
    return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())


def test_a_step_leaves_no_tensors():
    """As many tensors after step 40 as after step 8: none accumulate in a long run."""
    plan = packing.schedule_updates(LENGTHS, budget=10, gradient_accumulation_steps=1, seed=0, epochs=20, max_steps=40)
    num_tensors = {}
    for event in loop.train(
        tiny.prepared_model("gpt2"), ENCODED, task=TASK, schedule=schedule(steps=plan), evaluate=None, places=PLACES
    ):
        if isinstance(event, run_events.StepCompleted) and event.step in (8, 40):
            num_tensors[event.step] = live_tensors()
    assert num_tensors[40] == num_tensors[8]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_two_thousand_steps_and_thirty_runs_take_no_more_memory():
    """Less than 1 MB for every hundred steps, after the first hundreds in which caches fill."""
    resident = {}
    for run in range(31):
        steps = 2000 if run == 30 else 20
        plan = packing.schedule_updates(LENGTHS, budget=10, gradient_accumulation_steps=1, seed=run, epochs=1000, max_steps=steps)
        for event in loop.train(
            tiny.prepared_model("gpt2"), ENCODED, task=TASK, schedule=schedule(steps=plan), evaluate=None, places=PLACES
        ):
            if isinstance(event, run_events.StepCompleted) and event.step in (20, 500, 2000):
                resident[run, event.step] = resident_bytes()
    assert resident[30, 2000] - resident[30, 500] < 15e6
    assert resident[29, 20] - resident[9, 20] < 20e6
