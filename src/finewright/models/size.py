"""Memory that a network's tensors take."""

from collections.abc import Iterator
from typing import Any


def _scales(parameter: Any) -> Iterator[Any]:
    """Yield the scales that bitsandbytes stores beside a quantized weight, outside parameters and buffers."""
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        yield from (tensor for tensor in (state.absmax, state.code, state.offset) if tensor is not None)
        state = state.state2


def held_bytes(trainable_module: Any, optimizer: Any = None) -> int:
    """Return the bytes of a network's weights, packed copies, and optimizer state; shared tensors count once."""
    import torch

    per_parameter = () if optimizer is None else optimizer.state.values()
    states = [value for state in per_parameter for value in state.values() if isinstance(value, torch.Tensor)]
    parameters = list(trainable_module.parameters())
    tensors = [*parameters, *trainable_module.buffers(), *states, *(tensor for one in parameters for tensor in _scales(one))]
    packed = sum(getattr(module, "packed_bytes", 0) for module in trainable_module.modules())
    return packed + sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
