"""The last block only where the head reads: one token of each text asks, all its tokens answer.

Nothing above the last block's keys and values looks at the other tokens, so their attention output and their MLP would be
computed for nothing. The block's code stays transformers' own; hooks cut the row short between its modules.

Shape suffixes: T tokens of the row, N texts, H hidden size.
"""

from dataclasses import dataclass
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.architectures.base import Architecture
from finewright.models.attention.packed import NARROW


@dataclass
class PooledLastLayer:
    """What the hooks of one network hand to each other during a pass.

    `reads`: which token of a text the head reads, `first` or `last`. `block`: the last one.
    `active`: the row is being cut in this pass. `states`: the block's whole input (1, T, H).
    `attended`: put there by the attention. `outcome`: the network's last states where the head reads, (1, N, H).
    """

    reads: str
    block: Any
    active: bool = False
    states: torch.Tensor | None = None
    attended: torch.Tensor | None = None
    outcome: torch.Tensor | None = None

    def take(self) -> torch.Tensor | None:
        """The states to read, shape (N, H), or None when the pass went over the whole row."""
        taken, self.outcome = self.outcome, None
        return None if taken is None else taken[0]

    def enter_block(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Into the block go only the tokens that are read; its whole input is kept for keys and values."""
        layout: PackedLayout | None = kwargs.get("layout")
        self.active = layout is not None and layout.lengths[-1] + layout.prefix > 1
        if layout is None or not self.active:
            return None
        self.states = args[0]
        rows = layout.last if self.reads == "last" else layout.first
        return (args[0][:, rows.to(args[0].device)], *args[1:]), kwargs

    def enter_attention(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keys and values are made of the whole row."""
        return ((self.states, *args[1:]), kwargs) if self.active else None

    def leave_attention(self, module: Any, args: tuple[Any, ...]) -> Any:
        """What the tokens that are read have seen; what came through the module is a placeholder of the row's shape."""
        return (self.attended.flatten(2),) if self.active and self.attended is not None else None

    def leave(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> Any:
        """Keep the outcome; the body gets a placeholder, because it may check the row's shape."""
        if not self.active or self.states is None:
            return None
        self.outcome, num_tokens = output, self.states.shape[1]
        if not (self.block.training and getattr(self.block, "gradient_checkpointing", False)):  # else it will run once more
            self.active, self.states, self.attended = False, None, None
        return output[:, :1].detach().expand(1, num_tokens, output.shape[2])


def install_pooled_last_layer(network: Any, *, architecture: Architecture) -> PooledLastLayer | None:
    """Hook up the last block; None where the architecture does not say how, which runs it over the whole row."""
    if architecture.not_packable or not architecture.attention_entry or architecture.pooling not in ("first", "last"):
        return None
    block = network.get_submodule(architecture.layers)[-1]
    last = PooledLastLayer(architecture.pooling, block)
    setattr(block.get_submodule(architecture.attention), NARROW, last)
    block.register_forward_pre_hook(last.enter_block, with_kwargs=True)
    block.get_submodule(architecture.attention_entry).register_forward_pre_hook(last.enter_attention, with_kwargs=True)
    block.get_submodule(architecture.projections["output"][0]).register_forward_pre_hook(last.leave_attention)
    end = network.get_submodule(architecture.final_norm) if architecture.final_norm else block
    end.register_forward_hook(last.leave)
    return last
