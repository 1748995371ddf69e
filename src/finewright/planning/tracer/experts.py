"""Mixtures of experts without values: which tokens an expert gets is not known, so each gets as many.

The memory and the work are those of transformers' grouped products, which do not depend on who gets what.

Shape suffixes: T tokens, K experts of each, S = T · K, H hidden size.
"""

from typing import Any

import torch

NAME = "finewright_even"


def even_experts(self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
    """The forward pass of transformers' experts with an equal share of the tokens for each."""
    order_S = torch.sort(top_k_index.reshape(-1))[1]
    chosen_SH = hidden_states[order_S // top_k_index.shape[-1]]
    inner = _products(self, chosen_SH, "gate_up_proj" if self.has_gate else "up_proj")
    inner = self._apply_gate(inner) if self.has_gate else self.act_fn(inner)
    out_SH = _products(self, inner, "down_proj") * top_k_weights.reshape(-1)[order_S][:, None]
    return torch.zeros_like(hidden_states).index_add(0, order_S // top_k_index.shape[-1], out_SH.to(hidden_states.dtype))


def _products(experts: Any, states: torch.Tensor, name: str) -> torch.Tensor:
    weights = getattr(experts, name)
    bias = getattr(experts, f"{name}_bias", None) if experts.has_bias else None
    pieces = []
    for number, share in enumerate(states.tensor_split(len(weights))):
        weight = weights[number] if experts.is_transposed else weights[number].transpose(0, 1)
        product = share @ weight.to(share.dtype)
        pieces.append(product if bias is None else product + bias[number])
    return torch.cat(pieces)


def use_even_experts(network: Any) -> None:
    """Let a network without values run mixtures of experts, if it has any."""
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:  # older releases run experts in a loop over all of them
        return
    if not any(
        getattr(module, "is_transposed", None) is not None and hasattr(module, "has_gate") for module in network.modules()
    ):
        return
    ALL_EXPERTS_FUNCTIONS.register(NAME, even_experts)
    for module in network.modules():
        if hasattr(module, "has_gate") and hasattr(module, "config"):
            module.config._experts_implementation = NAME
