"""Bytes that a network's tensors hold."""

from collections.abc import Iterator
from typing import Any


def _scales(parameter: Any) -> Iterator[Any]:
    """What bitsandbytes keeps beside a packed matrix, where no list of parameters or buffers shows it."""
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        yield from (tensor for tensor in (state.absmax, state.code, state.offset) if tensor is not None)
        state = state.state2


def held_bytes(trainable_module: Any, optimizer: Any = None) -> int:
    """Bytes of a network's weights and of its optimizer's state, shared tensors counted once, and packed copies."""
    import torch

    kept = () if optimizer is None else optimizer.state.values()
    states = [value for state in kept for value in state.values() if isinstance(value, torch.Tensor)]
    parameters = list(trainable_module.parameters())
    tensors = [*parameters, *trainable_module.buffers(), *states, *(tensor for one in parameters for tensor in _scales(one))]
    packed = sum(getattr(module, "packed_bytes", 0) for module in trainable_module.modules())
    return packed + sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
