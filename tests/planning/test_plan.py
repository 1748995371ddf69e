"""Which setup is taken when memory is short."""

import random
from dataclasses import dataclass

import pytest

from finewright.core.config import RunConfig, build_options
from finewright.planning.plan import MemoryBudget, MemorySetup, _chains, _split, _updates, choose_setup


@dataclass
class Cost:
    setup: MemorySetup
    peak: int
    budget: MemoryBudget

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
        return Cost(setup, 100 + setup.pass_tokens * (1 if setup.gradient_checkpointing else 4), MemoryBudget(limit, ""))

    settings = build_options(RunConfig, {"training": train})
    first = MemorySetup(settings.training.tokens_per_micro_batch or 1600, 1, settings.training.gradient_checkpointing == "on")
    return choose_setup(_chains(first, longest=longest, settings=settings), cost=cost).setup, seen


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        (10_000, MemorySetup(1600, 1, False)),
        (6_499, MemorySetup(1600, 1, False, 1)),
        (1_700, MemorySetup(1600, 1, False, 2)),
        (500, MemorySetup(1600, 1, False, 4)),
        (499, MemorySetup(1600, 1, True, 3)),
        (200, MemorySetup(1600, 1, True, 4)),
        (150, MemorySetup(1600, 1, True, 4)),
    ],
)
def test_smaller_micro_batches_come_before_computing_layers_twice(limit, wanted):
    setup, _ = choose(limit)
    assert setup == wanted, "the last does not fit and is the tightest there is"


def test_few_setups_are_looked_at():
    _, seen = choose(1_700, longest=1)
    assert len(seen) == 2, "1600 down to 1 are eleven passes; the first tells which one fits"


def test_what_was_asked_for_stays():
    assert choose(300, tokens_per_micro_batch=400)[0] == MemorySetup(400, 1, True)
    assert choose(300, tokens_per_micro_batch=400, gradient_checkpointing="off")[0] == MemorySetup(400, 1, False)
    assert choose(10_000, gradient_checkpointing="on")[0] == MemorySetup(1600, 1, True)


def test_weights_that_do_not_fit_are_not_tried_in_every_setup():
    setup, seen = choose(99)
    assert setup == MemorySetup(1600, 1, True, 4)
    assert len(seen) == 2


def test_smaller_micro_batches_are_of_the_same_updates():
    lengths = [random.Random(row).randint(20, 59) for row in range(300)] + [512]
    settings = build_options(RunConfig, {})
    roomy, *others = _chains(MemorySetup(630, 1, False), longest=512, settings=settings)[0]
    assert others, "the longest text is shorter than a pass"

    def updates(setup):
        made = _split(_updates(lengths, setup, seed=settings.seed, epochs=2), lengths, setup)
        return [sorted(row for rows in step.batches for row in rows) for step in made], [step.epochs_done for step in made]

    for setup in [*others, MemorySetup(630, 1, False, 5)]:
        assert updates(setup) == updates(roomy)
    single = MemorySetup(630, 1, False, 5)
    cut = _split(_updates(lengths, single, seed=settings.seed, epochs=1), lengths, single)
    assert max(len(rows) for step in cut for rows in step.batches) == 1
