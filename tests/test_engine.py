"""The loop: events, order, when it looks and when it stops."""

import pytest

import tiny
from finewright import batches, engine
from finewright.errors import UserError
from finewright.tasks import Classification

TASK = Classification(("a", "b", "c"))
LENGTHS = [4, 6, 3, 5, 4, 6, 2, 5]
ENCODED = batches.Encoded(tiny.texts(LENGTHS), LENGTHS, [0, 1, 2, 0, 1, 2, 0, 1])
PLACES = [f"a.csv:{index + 2}" for index in range(8)]


def recipe(**changes):
    options = {
        "steps": batches.steps(LENGTHS, budget=10, accumulation=1, seed=0, epochs=2),
        "lr": 1e-3,
        "warmup_fraction": 0.3,
        "schedule": "linear",
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "evaluate_every": 3,
        "early_stopping": 0,
    }
    return engine.Recipe(**(options | changes))


def looks(*accuracies):
    """An evaluation that finds these accuracies, one after the other; the last goes on for ever."""
    left = list(accuracies)
    return lambda: {"accuracy": left.pop(0) if len(left) > 1 else left[0], "loss": 1.0}


def fit(evaluate=None, **changes):
    tuned = tiny.tuned("gpt2")
    return list(engine.fit(tuned, ENCODED, task=TASK, recipe=recipe(**changes), evaluate=evaluate, places=PLACES))


def test_one_event_per_step_and_a_look_every_so_often_and_at_the_end():
    events = fit(looks(0.5))
    steps = [event for event in events if isinstance(event, engine.Stepped)]
    assert [event.step for event in steps] == list(range(1, steps[-1].num_steps + 1))
    assert steps[-1].epoch == 2.0
    assert steps[0].lr < steps[1].lr > steps[-1].lr
    assert sum(event.result.num_rows for event in steps) == 2 * len(LENGTHS)
    looked = [event.step for event in events if isinstance(event, engine.Evaluated)]
    assert looked == sorted({*range(3, len(steps) + 1, 3), len(steps)})
    assert events[-1] == engine.Stopped(step=steps[-1].num_steps, early=False)


def test_best_is_better_than_every_time_before_and_ties_go_to_the_lower_loss():
    seen = [event.best for event in fit(looks(0.5, 0.4, 0.5, 0.6), evaluate_every=2) if isinstance(event, engine.Evaluated)]
    assert seen[:4] == [True, False, False, True]
    losses = iter([1.0, 0.9, 1.1, *[2.0] * 9])
    events = fit(lambda: {"accuracy": 0.5, "loss": next(losses)}, evaluate_every=2)
    assert [event.best for event in events if isinstance(event, engine.Evaluated)][:3] == [True, True, False]


def test_early_stopping_waits_so_many_looks():
    events = fit(looks(0.5, 0.4), evaluate_every=1, early_stopping=2)
    assert events[-1] == engine.Stopped(step=3, early=True)


def test_without_validation_nothing_is_looked_at():
    assert not any(isinstance(event, engine.Evaluated) for event in fit())


def test_a_tensor_that_stays_at_zero_gradient_is_refused():
    tuned = tiny.tuned("gpt2")
    for parameter in tuned.network.transformer.h[1].parameters():
        parameter.register_hook(lambda gradient: gradient * 0)
    with pytest.raises(UserError, match=r"step 3: 12 trained tensors get no gradient, for instance transformer\.h\.1"):
        list(engine.fit(tuned, ENCODED, task=TASK, recipe=recipe(), evaluate=None, places=PLACES))


def test_training_puts_dropout_on_and_looking_puts_it_off():
    tuned, modes = tiny.tuned("gpt2"), []

    def look():
        modes.append(tuned.owner.training)
        return {"accuracy": 0.5, "loss": 1.0}

    for event in engine.fit(tuned, ENCODED, task=TASK, recipe=recipe(), evaluate=look, places=PLACES):
        if isinstance(event, engine.Stepped):
            assert tuned.owner.training
    assert modes
    assert not any(modes)
