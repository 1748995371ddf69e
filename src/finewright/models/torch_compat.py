"""Private names of PyTorch, each with a probe or a fallback.

Another version of PyTorch may lack or change any of them. Callers check the probe first, or get a fallback that is slower but
gives the same results. Other modules do not use private names themselves.
"""

import contextlib
import importlib
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn


@cache
def find_operator(name: str) -> Any:
    """An operator such as `aten._flash_attention_forward`; None if this PyTorch has none of that name."""
    try:
        return operator.attrgetter(name)(torch.ops)
    except AttributeError:
        return None


def flash_attention_operators() -> tuple[Any, ...]:
    """FlashAttention's forward and backward operators; empty if one is missing."""
    found = tuple(find_operator(f"aten._flash_attention_{direction}") for direction in ("forward", "backward"))
    return found if all(one is not None for one in found) else ()


def flash_attention(  # noqa: PLR0913  what the operator takes
    query_QAD: torch.Tensor,
    key_KAD: torch.Tensor,
    value_KAD: torch.Tensor,
    *,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    max_queries: int,
    max_keys: int,
    dropout: float,
    is_causal: bool,
    scale: float,
    window: int | None = None,
) -> torch.Tensor:
    """Attention of many texts in one kernel, shape (Q, A, D). The probe is `varlen.is_usable`, the fallback attention by length.

    `query_ends`, `key_ends`: where the first text begins and each text ends, shape (N + 1,), int32.
    `window`: a query sees its own token and the `window` - 1 before it.
    """
    if not flash_attention_operators():
        raise NotImplementedError("this PyTorch has no FlashAttention operator")
    sides = {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}
    return torch.ops.aten._flash_attention_forward(
        query_QAD,
        key_KAD,
        value_KAD,
        query_ends,
        key_ends,
        max_queries,
        max_keys,
        dropout,
        is_causal,
        False,  # noqa: FBT003  return_debug_mask
        scale=scale,
        **sides,
    )[0]


def softmax_backward(gradient: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The gradient of what a softmax over the last dimension was given, in float32."""
    if find_operator("aten._softmax_backward_data") is None:
        return output * (gradient - (gradient * output).sum(dim=-1, keepdim=True))
    return torch.ops.aten._softmax_backward_data(gradient, output, output.ndim - 1, torch.float32)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN's product with a packed matrix exists and is right on this machine, tried on small matrices.

    In bfloat16 it has to give exactly the numbers of the plain product. The fallback is the plain product.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            states, weight = torch.randn(33, 96).to(dtype), torch.randn(160, 96).to(dtype)
            plain, packed = nn.functional.linear(states, weight), packed_linear(states, pack_weight(weight), None)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.equal(plain, packed) if dtype == torch.bfloat16 else torch.allclose(plain, packed, atol=1e-4, rtol=1e-5)


def pack_weight(weight_OI: torch.Tensor) -> torch.Tensor:
    """A copy of a matrix in the order in which oneDNN reads it."""
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous(), None)


def packed_linear(states_TI: torch.Tensor, packed_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    """`linear` with a packed matrix, without gradients."""
    return torch.ops.mkldnn._linear_pointwise(states_TI, packed_OI, bias_O, "none", [], "")


def tensor_version(tensor: torch.Tensor) -> object:
    """A value that changes when a tensor is written in place; without PyTorch's counter, a new one each time."""
    return tensor._version if hasattr(tensor, "_version") else object()


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has forward hooks; True if PyTorch does not say."""
    return any(getattr(module, name, True) for name in ("_forward_hooks", "_forward_pre_hooks"))


def forget_compiled(module: nn.Module) -> None:
    """Undo `module.compile()`: the plain `forward` runs again. A PyTorch without this attribute compiles nothing in place."""
    if hasattr(module, "_compiled_call_impl"):
        module._compiled_call_impl = None


def load_compiler() -> None:
    """Import PyTorch's compiler, which takes seconds, before processes are forked that need it; without one, do nothing."""
    with contextlib.suppress(ImportError):
        importlib.import_module("torch._dynamo")


def fake_tensor_types() -> tuple[Any, Any, Any]:
    """`FakeTensor`, `FakeTensorMode` and `in_kernel_invocation_manager`, for tracing without memory.

    Raise `ImportError` if they are missing; then no plan can be traced.
    """
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

    return FakeTensor, FakeTensorMode, in_kernel_invocation_manager


def dispatch_mode_type() -> Any:
    """`TorchDispatchMode`; raise `ImportError` if it is missing."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return TorchDispatchMode


def record_memory() -> Callable[[], Any] | None:
    """Start to record allocations alone and return what ends it; None if this PyTorch cannot.

    The fallback is `torch.profiler`: it records every operation, which takes as long as a small network's own work, and first
    loads PyTorch's compiler, which takes up to a second.
    """
    try:
        from torch._C._profiler import RecordScope
        from torch.autograd import _disable_profiler, _enable_profiler, _prepare_profiler
        from torch.autograd.profiler import profile

        settings: Any = profile(profile_memory=True)
        enable: Any = _enable_profiler  # PyTorch's own stub of it leaves out the scopes
        _prepare_profiler(settings.config(), settings.kineto_activities)
        enable(settings.config(), settings.kineto_activities, {RecordScope.STATIC_RUNTIME_OP})  # a scope without operations
    except (ImportError, AttributeError, TypeError):
        return None
    return _disable_profiler
