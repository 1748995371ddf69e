"""The next token: greedy, or drawn as transformers draws it."""

import random
from collections import Counter

import pytest
import torch

from finewright.core.errors import UserError
from finewright.inference import token_choice
from finewright.inference.generation import GenerationOptions

LOGITS = torch.tensor([[1.0, 3.0, 2.5, -1.0, 0.5, 2.0]])


def choose(logits, *, seed=0, seen=(), **options):
    draws = [random.Random(f"{seed} {row}") for row in range(len(logits))]
    return token_choice.choose_tokens(logits.clone(), options=GenerationOptions(**options), seen=seen, draws=draws)


def warped(**options):
    """Probabilities after the warpers of transformers."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(options["temperature"])(None, LOGITS.clone())
    if options.get("top_k"):
        scores = TopKLogitsWarper(options["top_k"])(None, scores)
    if options.get("top_p"):
        scores = TopPLogitsWarper(options["top_p"])(None, scores)
    return scores.softmax(dim=-1)[0]


def test_greedy_is_the_most_probable():
    assert choose(LOGITS) == [1]
    assert choose(torch.cat([LOGITS, -LOGITS])) == [1, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"temperature": 0.5, "top_k": 3},
        {"temperature": 1.5, "top_p": 0.8},
        {"temperature": 2.0, "top_k": 5, "top_p": 0.7},
        {"temperature": 1.0, "top_p": 0.01},
        {"temperature": 1.0, "top_k": 99},
    ],
)
def test_the_probabilities_are_those_of_transformers(options):
    order, cumulative = token_choice._sorted_cumulative(LOGITS, options=GenerationOptions(**options))
    found = torch.zeros(LOGITS.shape[1], dtype=torch.float64)
    found[order[0]] = torch.diff(cumulative[0], prepend=torch.zeros(1, dtype=torch.float64)) / cumulative[0, -1]
    assert torch.allclose(found.float(), warped(**options), atol=1e-6)


def test_draws_follow_the_probabilities():
    expected = warped(temperature=1.0)
    counts = Counter(token for seed in range(4000) for token in choose(LOGITS, seed=seed, temperature=1.0))
    for token, share in enumerate(expected.tolist()):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


def test_a_forbidden_token_is_never_drawn():
    logits = LOGITS.clone()
    logits[0, [1, 2]] = -torch.inf
    drawn = {choose(logits, seed=seed, temperature=5.0)[0] for seed in range(300)}
    assert drawn == {0, 3, 4, 5}


@pytest.mark.parametrize("end", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_a_token_that_has_a_probability(end):
    class End:
        def random(self):
            return end

    options = GenerationOptions(temperature=1.0, top_p=0.5)
    (token,) = token_choice.choose_tokens(LOGITS.clone(), options=options, seen=[], draws=[End()])
    assert token in (1, 2)


def test_the_repetition_penalty_is_that_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    seen = [[1, 3, 3]]
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor(seen), LOGITS.clone())
    found = LOGITS.clone()
    token_choice.penalise_repetition(found[0], seen[0], penalty=1.7)
    assert torch.equal(found, expected)
    assert choose(LOGITS, seen=seen, repetition_penalty=1.7) == [2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_outputs_that_are_not_finite_are_refused(value):
    logits = LOGITS.clone()
    logits[0, 4] = value
    with pytest.raises(UserError, match="not finite"):
        choose(logits)
