"""Parts of Llama-like layers that save less for the backward pass: the RMS norm, and the gated product of the MLP.

PyTorch's autograd keeps every tensor between their operations; here the inputs are kept, and the rest is computed again. The
forward passes are the same operations in the same order, so outputs are equal bit for bit.

Shape suffixes: T tokens, H hidden size.
"""

import inspect
from functools import cache
from typing import Any

import torch
from torch import nn

_NORMS = (
    (
        "input_dtype = hidden_states.dtype",
        "hidden_states = hidden_states.to(torch.float32)",
        "variance = hidden_states.pow(2).mean(-1, keepdim=True)",
        "hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)",
        "return self.weight * hidden_states.to(input_dtype)",
    ),
)
_PRODUCT = "self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))"
_GATED = ((f"down_proj = {_PRODUCT}", "return down_proj"), (f"return {_PRODUCT}",))
"""Bodies of forward passes that are replaced: families name and write these parts alike, and some compute otherwise."""


class _RmsNorm(torch.autograd.Function):
    """weight · states / sqrt(mean(states²) + epsilon) (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, states_TH: torch.Tensor, weight_H: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide_TH = states_TH.to(torch.float32)
        scale_T1 = torch.rsqrt(wide_TH.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(states_TH, weight_H, scale_T1)
        return weight_H * (wide_TH * scale_T1).to(states_TH.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_TH, weight_H, scale_T1 = ctx.saved_tensors
        grad_TH = gradients[0].float()
        normed_TH = states_TH.float() * scale_T1
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad_TH * normed_TH).flatten(0, -2).sum(dim=0).to(weight_H.dtype)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None
        inner_TH = grad_TH.mul(weight_H)
        mean_T1 = (inner_TH * normed_TH).mean(-1, keepdim=True)
        grad_states = inner_TH.sub_(normed_TH.mul_(mean_T1)).mul_(scale_T1)
        return grad_states.to(states_TH.dtype), grad_weight, None


class _SiluProduct(torch.autograd.Function):
    """silu(gate) · up, of the MLP of SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        gate, up = ctx.saved_tensors
        grad = gradients[0]
        grad_gate = torch.ops.aten.silu_backward(grad * up, gate) if ctx.needs_input_grad[0] else None
        return grad_gate, grad * nn.functional.silu(gate) if ctx.needs_input_grad[1] else None


def _norm_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    return _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-any-return]


def _gated_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.down_proj(_SiluProduct.apply(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]


@cache
def _fused_class(kind: type[nn.Module]) -> type[nn.Module] | None:
    """Return the class with another forward pass; None if its own is not one of those that are known."""
    try:
        source = inspect.getsource(kind.forward)
    except (OSError, TypeError):
        return None
    lines = tuple(line.strip() for line in source.splitlines() if line.strip())[1:]
    for bodies, forward in ((_NORMS, _norm_forward), (_GATED, _gated_forward)):
        if lines in bodies:
            return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "is_fused": True})
    return None


def fuse_layers(network: nn.Module) -> None:
    """Replace the RMS norms and the gated products of a network, in place; weights and their names stay."""
    for module in network.modules():
        if getattr(module, "is_fused", False):
            continue
        found = _fused_class(type(module))
        gated = found is not None and found.forward is _gated_forward
        if found is not None and (not gated or isinstance(getattr(module, "act_fn", None), nn.SiLU) or _is_silu(module)):
            module.__class__ = found


def unfuse_layers(network: nn.Module) -> None:
    """Give every module its own forward pass again, in place: a compiler fuses by itself, and cannot look into ours."""
    for module in network.modules():
        if getattr(module, "is_fused", False):
            module.__class__ = type(module).__mro__[1]


def _is_silu(module: Any) -> bool:
    """Whether the activation of an MLP is SiLU, under whatever name."""
    return type(getattr(module, "act_fn", None)).__name__ in ("SiLUActivation", "SiLU")
