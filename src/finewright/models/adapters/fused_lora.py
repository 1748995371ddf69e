"""One step of autograd for a frozen matrix and its low-rank update, in training in bfloat16 on a CPU.

PEFT computes the same in a dozen operations, each of which reads and writes all states, and keeps the dropped-out states, their
mask and their copies for the backward pass. Here the update is added to the product in place, and what is kept is the dropped-out
states and the mask in bfloat16. Evaluation is PEFT's.

Shape suffixes: T tokens, I inputs, O outputs of the matrix, R rank.
"""

from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from finewright.models import torch_compat
from finewright.models.kernels import DropoutMask, PackedWeight, read_matrix


class _LowRankProduct(torch.autograd.Function):
    """states · Wᵀ + bias + scaling · dropout(states) · Aᵀ · Bᵀ (Hu et al. 2021, arXiv:2106.09685) for a frozen W."""

    @staticmethod
    def forward(  # noqa: PLR0913
        ctx: Any,
        states: torch.Tensor,
        down_RI: torch.Tensor,
        up_OR: torch.Tensor,
        base: nn.Module,
        scaling: float,
        rate: float,
    ) -> torch.Tensor:
        states_TI = states.detach().flatten(0, -2).to(torch.bfloat16)
        output_TO = _product(base, states_TI)
        mask = DropoutMask(rate, states.device)
        mask_TI = mask.sample(states_TI) if mask.drops else None
        kept_TI = states_TI if mask_TI is None else states_TI * mask_TI
        # the scale of what dropout leaves is the update's too
        scale = scaling * mask.weight if mask_TI is not None else scaling
        down_RI, up_OR = down_RI.to(torch.bfloat16), (up_OR * scale).to(torch.bfloat16)
        inner_TR = kept_TI @ down_RI.T
        output_TO.addmm_(inner_TR, up_OR.T)
        ctx.save_for_backward(kept_TI, mask_TI if ctx.needs_input_grad[0] else None, inner_TR, down_RI, up_OR)
        ctx.base, ctx.scale, ctx.shape, ctx.dtype = base, scale, states.shape, states.dtype
        return output_TO.unflatten(0, states.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept_TI, mask_TI, inner_TR, down_RI, up_OR = ctx.saved_tensors
        grad_TO = gradients[0].flatten(0, -2).to(torch.bfloat16)
        grad_TR = grad_TO @ up_OR
        grad_up_OR = (grad_TO.T @ inner_TR).float() * ctx.scale
        grad_down_RI = (grad_TR.T @ kept_TI).float()
        if not ctx.needs_input_grad[0]:
            return None, grad_down_RI, grad_up_OR, None, None, None
        grad_TI = grad_TO @ read_matrix(ctx.base)
        if mask_TI is None:
            grad_TI.addmm_(grad_TR, down_RI)
        else:
            grad_TI.addcmul_(grad_TR @ down_RI, mask_TI)
        return grad_TI.to(ctx.dtype).unflatten(0, ctx.shape[:-1]), grad_down_RI, grad_up_OR, None, None, None


def _product(base: Any, states_TI: torch.Tensor) -> torch.Tensor:
    """states · Wᵀ + bias, without gradients."""
    if isinstance(getattr(base, "packed", None), PackedWeight):
        return base.packed.product(states_TI)  # type: ignore[no-any-return]
    return nn.functional.linear(states_TI, read_matrix(base), base.bias)


@cache
def _fused_class(kind: type[nn.Module]) -> type[nn.Module]:
    """PEFT's layer with another forward pass in training."""

    def forward(self: Any, x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        adapter = _only_adapter(self)
        if arguments or named or adapter is None or not torch.is_grad_enabled():
            return kind.forward(self, x, *arguments, **named)
        dropout = self.lora_dropout[adapter]
        rate = dropout.p if isinstance(dropout, nn.Dropout) else 0.0
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        return _LowRankProduct.apply(x, down, up, self.base_layer, self.scaling[adapter], rate)  # type: ignore[no-any-return]

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "is_fused": True})


def _only_adapter(layer: Any) -> str | None:
    """The adapter of a layer in training, if it is the only active one and a plain one in bfloat16 on a CPU."""
    if not layer.training or layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return None
    (adapter,) = layer.active_adapters
    variants, biases = getattr(layer, "lora_variant", {}), getattr(layer, "lora_bias", {})
    if adapter not in layer.lora_A or adapter in variants or biases.get(adapter):
        return None
    base, weight = layer.base_layer, layer.base_layer.weight
    is_plain = isinstance(base, nn.Linear | Conv1D) and weight.dtype == torch.bfloat16 and not torch_compat.has_hooks(base)
    is_plain = is_plain and not any(one.requires_grad for one in base.parameters())
    return adapter if is_plain and torch.is_autocast_enabled("cpu") and weight.device.type in ("cpu", "meta") else None


def fuse_lora(network: nn.Module) -> None:
    """Give PEFT's plain linear layers with a low-rank update another forward pass in training, in place."""
    for module in network.modules():
        kind = type(module)
        if (kind.__module__, kind.__name__) == ("peft.tuners.lora.layer", "Linear") and not getattr(module, "is_fused", False):
            module.__class__ = _fused_class(kind)
