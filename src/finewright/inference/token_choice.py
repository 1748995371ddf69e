"""Choose the next token of each answer: greedy, or by chance within temperature, top-k and top-p.

Shape suffixes: B answers, V tokens of the vocabulary.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch

from finewright.core.errors import ExitCode, UserError


def choose_tokens(
    logits_BV: torch.Tensor, *, options: Any, seen: Sequence[Sequence[int]], draws: Sequence[random.Random]
) -> list[int]:
    """Return the next token of each answer.

    Parameters
    ----------
    logits_BV
        Outputs for the next token, float32; tokens that are not allowed have minus infinity. They are changed in place.
    options
        `GenerationOptions`: greedy at temperature 0. Else as in transformers: temperature, then the `top_k` most probable
        tokens, then the fewest tokens whose probabilities sum to `top_p` (Holtzman et al. 2020, arXiv:1904.09751).
    seen
        Tokens of each prompt and its answer so far, for the repetition penalty (Keskar et al. 2019, arXiv:1909.05858).
    draws
        A source of random numbers for each answer: what is drawn does not depend on the other answers of a batch.

    Raises
    ------
    UserError
        If the outputs are not finite.
    """
    if options.repetition_penalty != 1:
        for logits_V, ids in zip(logits_BV, seen, strict=True):
            penalise_repetition(logits_V, ids, penalty=options.repetition_penalty)
    best_B = logits_BV.max(dim=-1)
    if not torch.isfinite(best_B.values).all():
        what = "the model's outputs are not finite, so there is no next token"
        fix = "another model or checkpoint; a run whose loss became NaN has none that can be used"
        raise UserError(what, where="generate", fix=fix, code=ExitCode.NON_FINITE)
    if options.temperature == 0:
        return best_B.indices.tolist()
    order_BV, cumulative_BV = _sorted_cumulative(logits_BV, options=options)
    wanted_B1 = torch.tensor([[draw.random()] for draw in draws], dtype=torch.float64, device=logits_BV.device)
    places_B1 = torch.searchsorted(cumulative_BV, wanted_B1 * cumulative_BV[:, -1:], right=True)
    # the product may be rounded up to the sum itself; then the last token that has any probability is meant
    last_B1 = torch.searchsorted(cumulative_BV, cumulative_BV[:, -1:].contiguous())
    return order_BV.gather(1, torch.minimum(places_B1, last_B1)).squeeze(1).tolist()


def penalise_repetition(logits_V: torch.Tensor, ids: Sequence[int], *, penalty: float) -> None:
    """Divide positive outputs of tokens that occurred by the penalty, and multiply negative ones, in place."""
    known = torch.tensor(sorted(set(ids)), device=logits_V.device)
    if len(known):
        own = logits_V[known]
        logits_V[known] = torch.where(own < 0, own * penalty, own / penalty)


def _sorted_cumulative(logits_BV: torch.Tensor, *, options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens by falling probability, and the cumulative probabilities of those that may be drawn, float64."""
    size = logits_BV.shape[1]
    count = min(options.top_k or size, size)
    scores, order = torch.sort(logits_BV, dim=-1, descending=True, stable=True)
    scores, order = scores[:, :count].double() / options.temperature, order[:, :count]
    probabilities = scores.softmax(dim=-1)
    if options.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        outside = before >= options.top_p
        outside[:, 0] = False
        probabilities = probabilities.masked_fill(outside, 0)
    return order, probabilities.cumsum(dim=-1).contiguous()
