"""Run the last layer only for the tokens that the head reads: one query for each text, keys and values of all its tokens.

No later layer reads the other tokens, so their attention outputs and their MLP are not needed. The layer's code stays
transformers' own; hooks cut the row short between its modules.

Shape suffixes: T tokens of the row, N texts, H hidden size.
"""

from dataclasses import dataclass
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.architectures.base import Architecture
from finewright.models.attention.packed import POOLED_ATTRIBUTE


@dataclass
class PooledLastLayer:
    """What the hooks of one network hand to each other during a forward pass.

    `reads`: the token of each text that the head reads, `first` or `last`. `layer`: the last one.
    `active`: the row is cut short in this pass. `states`: the layer's whole input (1, T, H).
    `attended`: set by the attention. `outputs`: the network's last states of the tokens the head reads, (1, N, H).
    """

    reads: str
    layer: Any
    active: bool = False
    states: torch.Tensor | None = None
    attended: torch.Tensor | None = None
    outputs: torch.Tensor | None = None

    def take(self) -> torch.Tensor | None:
        """Return the pooled states, shape (N, H), once; None if the pass ran over the whole row."""
        outputs, self.outputs = self.outputs, None
        return None if outputs is None else outputs[0]

    def enter_layer(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give the layer only the pooled tokens; save its whole input for keys and values."""
        layout: PackedLayout | None = kwargs.get("layout")
        self.active = layout is not None and layout.lengths[-1] + layout.prefix > 1
        if layout is None or not self.active:
            return None
        self.states = args[0]
        rows = layout.last if self.reads == "last" else layout.first
        return (args[0][:, rows.to(args[0].device)], *args[1:]), kwargs

    def enter_attention(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give the attention the whole row."""
        if not self.active:
            return None
        return ((self.states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": self.states})

    def leave_attention(self, module: Any, args: tuple[Any, ...]) -> Any:
        """Replace the placeholder of the row's shape by the outputs of the pooled tokens."""
        return (self.attended.flatten(2),) if self.active and self.attended is not None else None

    def leave(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> Any:
        """Save the outputs and return a placeholder of the row's shape, which the body may check."""
        if not self.active or self.states is None:
            return None
        self.outputs, num_tokens = output, self.states.shape[1]
        if not (self.layer.training and getattr(self.layer, "gradient_checkpointing", False)):  # else it runs again in backward
            self.active, self.states, self.attended = False, None, None
        return output[:, :1].detach().expand(1, num_tokens, output.shape[2])


def install_pooled_last_layer(network: Any, *, architecture: Architecture) -> PooledLastLayer | None:
    """Add hooks to the last layer; return None, with no hooks, where the head reads more than a token or texts share no row."""
    if architecture.not_packable or not architecture.attention_entry or architecture.pooling not in ("first", "last"):
        return None
    layer = network.get_submodule(architecture.layers)[-1]
    pooled = PooledLastLayer(architecture.pooling, layer)
    setattr(layer.get_submodule(architecture.attention), POOLED_ATTRIBUTE, pooled)
    layer.register_forward_pre_hook(pooled.enter_layer, with_kwargs=True)
    layer.get_submodule(architecture.attention_entry).register_forward_pre_hook(pooled.enter_attention, with_kwargs=True)
    layer.get_submodule(architecture.projections["output"][0]).register_forward_pre_hook(pooled.leave_attention)
    end = network.get_submodule(architecture.final_norm) if architecture.final_norm else layer
    end.register_forward_hook(pooled.leave)
    return pooled
