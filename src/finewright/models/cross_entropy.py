"""Cross-entropy over a vocabulary, some tokens at a time: the scores of all tokens are never in memory at once.

A score for every token of a vocabulary of 150,000 takes 600 kB for each trained token; Liger Kernel and Cut Cross-Entropy
(Wijmans et al. 2024, arXiv:2411.09009) describe the saving. Where the output layer is frozen, the gradients of the states are
computed in the forward pass from the same scores, so these are computed once.

Shape suffixes: M trained tokens, H hidden size, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from finewright.core.errors import ExitCode, UserError
from finewright.models.architectures.base import Architecture

MOST_SCORES = 2**24
"""Scores that are in memory at once: 64 MiB in float32."""


_NUM_CHECKED, _CHECK_TOLERANCE = 4, 1e-3
"""Tokens on which an output layer is checked, and the largest difference, as a share of the largest score."""


@dataclass(frozen=True)
class OutputLayer:
    """The output layer of a language model and what the architecture does with its scores.

    `weight`: shape (V, H); `bias`: shape (V,), or None. `scale`: factor of the scores. `softcap`: bound `c` of
    `c·tanh(score / c)`, 0 for none. `multiplied`: the weight in the type that products are computed in; the loss is always in
    float32.
    """

    weight: torch.Tensor
    multiplied: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0

    def scores(self, states_MH: torch.Tensor) -> torch.Tensor:
        """Return the scores of all tokens of the vocabulary, float32, shape (M, V)."""
        scores_MV = (states_MH.to(self.multiplied.dtype) @ self.multiplied.T).float()
        if self.bias is not None:
            scores_MV = scores_MV + self.bias.float()
        if self.scale != 1.0:
            scores_MV = scores_MV * self.scale
        return torch.tanh(scores_MV / self.softcap) * self.softcap if self.softcap else scores_MV

    def gradients(self, scores_MV: torch.Tensor, slopes_MV: torch.Tensor) -> torch.Tensor:
        """Return the gradients of the plain products, from those of the scores; changes `slopes_MV`."""
        if self.softcap:
            slopes_MV = slopes_MV.mul_(1 - (scores_MV / self.softcap) ** 2)
        return slopes_MV.mul_(self.scale) if self.scale != 1.0 else slopes_MV


def read_output_layer(network: Any, *, bfloat16: bool) -> OutputLayer:
    """Return the output layer of a transformers language model.

    `logits_scaling` (Granite) divides the scores, `logit_scale` (Cohere) multiplies them, `final_logit_softcapping` (Gemma 2)
    bounds them, `lm_head_multiplier` (Falcon-H1) multiplies them.
    """
    config, layer = network.config, find_output_layer(network)
    scale = float(getattr(config, "logit_scale", None) or 1.0) * float(getattr(config, "lm_head_multiplier", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
    multiplied = _narrow(layer) if bfloat16 else layer.weight.detach()
    return OutputLayer(layer.weight, multiplied, getattr(layer, "bias", None), scale, softcap)


def find_output_layer(network: Any) -> Any:
    """Return the linear layer from the last states to the scores of the vocabulary."""
    layer = network.get_output_embeddings()
    assert layer is not None, "a causal language model has an output layer"
    return layer


@torch.no_grad()
def check_output_layer(network: Any, architecture: Architecture) -> None:
    """Raise `UserError` if the scores of a network are not those of its output layer on its last states, as is read here.

    Some families have more between the two; what they would be trained with is not what they are used with.
    """
    layer = read_output_layer(network, bfloat16=False)
    ids_1T = torch.arange(_NUM_CHECKED, device=layer.weight.device)[None] % len(layer.weight)
    was_training = network.training
    network.eval()
    states_TH = network.get_submodule(architecture.body)(input_ids=ids_1T, use_cache=False).last_hidden_state[0]
    ours_TV, theirs_TV = layer.scores(states_TH), network(input_ids=ids_1T, use_cache=False).logits[0].float()
    network.train(was_training)
    scale = max(1.0, float(theirs_TV.abs().max()))
    if ours_TV.shape != theirs_TV.shape or not float((ours_TV - theirs_TV).abs().max()) <= _CHECK_TOLERANCE * scale:
        what = f"{architecture.model_type} does more than multiply its last states by its output layer, which is not known here"
        raise UserError(what, where="config.json: model_type", fix="a model of another architecture", code=ExitCode.MISMATCH)


def _narrow(layer: Any) -> torch.Tensor:
    """Return the weight in bfloat16; a frozen one is rounded once."""
    weight = layer.weight
    is_kept = not weight.requires_grad and type(weight.detach()) is torch.Tensor  # a planned network has no values to keep
    kept = vars(layer).get("bfloat16_weight") if is_kept else None
    if kept is None or kept.device != weight.device:
        kept = weight.detach().to(torch.bfloat16)
        if is_kept:
            vars(layer)["bfloat16_weight"] = kept
    return kept


def count_at_once(vocabulary: int) -> int:
    """Return of how many tokens the scores are in memory at once."""
    return max(16, MOST_SCORES // vocabulary)


def token_losses(
    states_MH: torch.Tensor, targets_M: torch.Tensor, *, layer: OutputLayer, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the cross-entropy of each target token, in nats, float32, shape (M,).

    `label_smoothing`: share of the target's probability that is spread over the whole vocabulary (Szegedy et al. 2016,
    arXiv:1512.00567).
    """
    return _TokenLosses.apply(states_MH, layer.weight, layer.bias, targets_M, layer, label_smoothing)  # type: ignore[no-any-return]


@torch.no_grad()
def score_targets(states_MH: torch.Tensor, targets_M: torch.Tensor, *, layer: OutputLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each target token, and whether no other token has a higher score, both of shape (M,)."""
    losses, right = [], []
    for states, targets in _parts(states_MH, targets_M, len(layer.weight)):
        scores = layer.scores(states)
        losses.append(_losses(scores, targets, 0.0)[0])
        right.append(scores.argmax(dim=1) == targets)
    return torch.cat(losses), torch.cat(right)


class _TokenLosses(torch.autograd.Function):
    """The losses, with gradients that are computed part by part."""

    @staticmethod
    def forward(  # noqa: PLR0913  what autograd passes
        ctx: Any,
        states_MH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_M: torch.Tensor,
        layer: OutputLayer,
        smoothing: float,
    ) -> torch.Tensor:
        """Compute the losses; with a frozen output layer also the gradients of the states, for a loss that grows by one."""
        is_frozen = not ctx.needs_input_grad[1] and not ctx.needs_input_grad[2]
        wants_slopes = ctx.needs_input_grad[0] and is_frozen
        losses, slopes = [], []
        for states, targets in _parts(states_MH, targets_M, len(weight_VH)):
            scores = layer.scores(states)
            loss, total = _losses(scores, targets, smoothing)
            losses.append(loss)
            if wants_slopes:
                slopes.append(_state_slopes(scores, total, targets, layer, smoothing).to(states.dtype))
        ctx.layer, ctx.smoothing = layer, smoothing
        ctx.save_for_backward(states_MH, targets_M, torch.cat(slopes) if slopes else None)
        return torch.cat(losses) if losses else states_MH.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, grad_M: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        """Scale the gradients that are known, or compute the scores again for those of the output layer."""
        states_MH, targets_M, slopes_MH = ctx.saved_tensors
        layer, smoothing = ctx.layer, ctx.smoothing
        if not ctx.needs_input_grad[1] and not ctx.needs_input_grad[2]:
            grad_states = None if slopes_MH is None else (slopes_MH * grad_M[:, None]).to(states_MH.dtype)
            return grad_states, None, None, None, None, None
        weight = layer.weight
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(layer.bias) if ctx.needs_input_grad[2] else None
        grads, start = [], 0
        for states, targets in _parts(states_MH, targets_M, len(weight)):
            own = grad_M[start : start + len(states)]
            start += len(states)
            scores = layer.scores(states)
            slopes = _score_slopes(scores, torch.logsumexp(scores, dim=1), targets, smoothing).mul_(own[:, None])
            slopes = layer.gradients(scores, slopes)
            narrow = slopes.to(layer.multiplied.dtype)
            if ctx.needs_input_grad[0]:
                grads.append((narrow @ layer.multiplied).to(states.dtype))
            if grad_weight is not None:
                grad_weight += narrow.T @ states.to(narrow.dtype)
            if grad_bias is not None:
                grad_bias += slopes.sum(dim=0)
        grad_states = torch.cat(grads) if grads else None
        return grad_states, grad_weight, grad_bias, None, None, None


def _parts(states_MH: torch.Tensor, targets_M: torch.Tensor, vocabulary: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    size = count_at_once(vocabulary)
    return zip(states_MH.split(size), targets_M.split(size), strict=True)


def _losses(scores_MV: torch.Tensor, targets_M: torch.Tensor, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses and the logarithm of the sum of the exponentials, both of shape (M,)."""
    total_M = torch.logsumexp(scores_MV, dim=1)
    loss_M = total_M - scores_MV.gather(1, targets_M[:, None])[:, 0]
    if smoothing:
        loss_M = (1 - smoothing) * loss_M + smoothing * (total_M - scores_MV.mean(dim=1))
    return loss_M, total_M


def _score_slopes(scores_MV: torch.Tensor, total_M: torch.Tensor, targets_M: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return the gradient of each loss by its scores, shape (M, V)."""
    slopes_MV = (scores_MV - total_M[:, None]).exp_()
    if smoothing:
        slopes_MV -= smoothing / scores_MV.shape[1]
    return slopes_MV.scatter_add_(1, targets_M[:, None], slopes_MV.new_full((len(targets_M), 1), smoothing - 1))


def _state_slopes(
    scores_MV: torch.Tensor, total_M: torch.Tensor, targets_M: torch.Tensor, layer: OutputLayer, smoothing: float
) -> torch.Tensor:
    """Return the gradient of each loss by its state, shape (M, H)."""
    slopes_MV = layer.gradients(scores_MV, _score_slopes(scores_MV, total_M, targets_M, smoothing))
    return slopes_MV.to(layer.multiplied.dtype) @ layer.multiplied
