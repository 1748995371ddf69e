"""What operations make of tensors without memory: asked once, for a network asks the same of block after block."""

import operator
from typing import Any

import torch

_NAMES = """clone.default _to_copy.default zeros_like.default cat.default mm.default bmm.default addmm.default linear.default
add.Tensor sub.Tensor mul.Tensor div.Tensor sum.dim_IntList gelu.default gelu_backward.default silu.default softmax.int
_softmax.default _softmax_backward_data.default layer_norm.default native_layer_norm.default
native_layer_norm_backward.default"""
MAKE_ANEW = frozenset(operator.attrgetter(name)(torch.ops.aten) for name in _NAMES.split())
"""Operations whose outcome shares no memory with what they are given, and has a shape that depends on shapes, dtypes and
plain values alone."""


class Outcomes:
    """What became of the questions so far: shape, strides and dtype of each tensor."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def of(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operation on tensors of the meta device makes."""
        if func not in MAKE_ANEW:
            return func(*args, **kwargs)
        question = func, _outline(args), _outline(tuple(kwargs.items()))
        if question in self._known:
            return _made(self._known[question])
        outcome = func(*args, **kwargs)
        self._known[question] = _outline(outcome)
        return outcome


def _outline(value: Any) -> Any:
    """All that an outcome can depend on, to be compared; the type of a number too, for it decides a dtype."""
    if isinstance(value, torch.Tensor):
        return _Outline((value.shape, value.stride(), value.dtype))
    if isinstance(value, (tuple, list)):
        return tuple(map(_outline, value))
    return type(value), value


class _Outline(tuple[Any, ...]):
    """Of a tensor, unlike that of a list of values."""

    __slots__ = ()


def _made(outline: Any) -> Any:
    """The tensors of an outcome, anew. Where an operation is told to leave one out, there is None."""
    if isinstance(outline, _Outline):
        shape, strides, dtype = outline
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    if outline == (type(None), None):
        return None
    return tuple(map(_made, outline))
