"""Which setup is taken when memory is short."""

import random
from dataclasses import dataclass

import pytest

from finewright.config import Settings, build
from finewright.forecast import Budget, Setup, _chains, _cut, _updates, roomiest


@dataclass
class Cost:
    setup: Setup
    peak: int
    budget: Budget

    @property
    def fits(self):
        return self.peak <= self.budget.num_bytes

    @property
    def plan(self):
        return self

    @property
    def memory(self):
        return {"weights": 100, "optimizer": 0, "activations": self.peak - 100}


def choose(limit, *, longest=100, **train):
    seen = []

    def cost(setup):
        seen.append(setup)
        return Cost(setup, 100 + setup.pass_tokens * (1 if setup.checkpoint_activations else 4), Budget(limit, ""))

    settings = build(Settings, {"train": train})
    first = Setup(settings.train.batch_tokens or 1600, 1, settings.train.checkpoint_activations == "on")
    return roomiest(_chains(first, longest=longest, settings=settings), cost=cost).setup, seen


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        (10_000, Setup(1600, 1, False)),
        (6_499, Setup(1600, 1, False, 1)),
        (1_700, Setup(1600, 1, False, 2)),
        (500, Setup(1600, 1, False, 4)),
        (499, Setup(1600, 1, True, 3)),
        (200, Setup(1600, 1, True, 4)),
        (150, Setup(1600, 1, True, 4)),
    ],
)
def test_smaller_passes_come_before_computing_blocks_twice(limit, wanted):
    setup, _ = choose(limit)
    assert setup == wanted, "the last does not fit and is the tightest there is"


def test_few_setups_are_looked_at():
    _, seen = choose(1_700, longest=1)
    assert len(seen) == 2, "1600 down to 1 are eleven passes; the first tells which one fits"


def test_what_was_asked_for_stays():
    assert choose(300, batch_tokens=400)[0] == Setup(400, 1, True)
    assert choose(300, batch_tokens=400, checkpoint_activations="off")[0] == Setup(400, 1, False)
    assert choose(10_000, checkpoint_activations="on")[0] == Setup(1600, 1, True)


def test_weights_that_do_not_fit_are_not_tried_in_every_setup():
    setup, seen = choose(99)
    assert setup == Setup(1600, 1, True, 4)
    assert len(seen) == 2


def test_smaller_passes_are_of_the_same_updates():
    lengths = [random.Random(row).randint(20, 59) for row in range(300)] + [512]
    settings = build(Settings, {})
    roomy, *others = _chains(Setup(630, 1, False), longest=512, settings=settings)[0]
    assert others, "the longest text is shorter than a pass"

    def updates(setup):
        made = _cut(_updates(lengths, setup, seed=settings.seed, epochs=2), lengths, setup)
        return [sorted(row for rows in step.batches for row in rows) for step in made], [step.epochs_done for step in made]

    for setup in [*others, Setup(630, 1, False, 5)]:
        assert updates(setup) == updates(roomy)
    single = Setup(630, 1, False, 5)
    cut = _cut(_updates(lengths, single, seed=settings.seed, epochs=1), lengths, single)
    assert max(len(rows) for step in cut for rows in step.batches) == 1
