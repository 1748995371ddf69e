"""A classification network made ready by a way of fine-tuning."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch

from finewright.models.adapters.peft import dense_state
from finewright.models.architectures.base import Architecture
from finewright.models.last_layer import PooledLastLayer

_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original\d*$")


@dataclass(frozen=True)
class BaseModelRef:
    """Where the pre-trained weights came from: what an adapter must name to be loaded again."""

    name: str
    revision: str
    tokenizer: Any


@dataclass
class PreparedModel:
    """What a way hands back.

    `network`: the transformers classification model; every forward pass goes through it.
    `owner`: the outermost module, which holds all that is trained (the network itself, or PEFT's wrapper around it).
    `prompt`: soft prompt put before every text, shape (num_tokens, hidden_size), or None.
    `notes`: what was decided on the way, for the user.
    `start`: first values of tensors whose difference to them is what is saved.
    `exact_reload`: whether the saved form is bit for bit what was trained; else equal to 1e-5.
    `still_blocks`: so many of the lowest blocks are frozen with all that lies below them; they run without dropout.
    `trunk`: those blocks, when their outcome is kept (see `trunk`).
    `last_block`: runs the last block only where the head reads; None runs it over every token.
    `checkpointed`: blocks keep their input alone and compute the rest again on the way back.
    `bfloat16`: matrix products in bfloat16 (autocast), with trained weights, head and loss in float32.
    """

    network: Any
    trainable_module: Any
    architecture: Architecture
    prompt: torch.Tensor | None = None
    notes: list[str] = field(default_factory=list)
    start: dict[str, torch.Tensor] = field(default_factory=dict)
    exact_reload: bool = True
    bfloat16: bool = False
    pooled_last_layer: PooledLastLayer | None = None
    num_frozen_layers: int = 0
    frozen_prefix: Any = None
    gradient_checkpointing: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens the prompt adds to every text."""
        return 0 if self.prompt is None else int(self.prompt.shape[0])

    def train(self) -> None:
        """Turn dropout on, above what is still."""
        self.trainable_module.train()
        if not self.num_frozen_layers:
            return
        names = [name for name in (self.architecture.final_norm, self.architecture.pooler) if name]
        self.network.get_submodule(self.architecture.body).eval()
        for module in [
            *self.network.get_submodule(self.architecture.layers)[self.num_frozen_layers :],
            *map(self.network.get_submodule, names),
        ]:
            module.train()

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter that is trained, by its name in `owner`."""
        return {name: parameter for name, parameter in self.trainable_module.named_parameters() if parameter.requires_grad}

    def num_trainable(self) -> int:
        """How many numbers are trained, the head's included, and embeddings of tokens that happen not to occur."""
        idle = sum(getattr(module, "num_idle", 0) for module in self.trainable_module.modules())
        return sum(parameter.numel() for parameter in self.trainable().values()) + idle

    def num_head(self) -> int:
        """How many of the trained numbers are the head's."""
        heads = [self.network.get_submodule(name) for name in self.architecture.head]
        return sum(p.numel() for head in heads for p in head.parameters() if p.requires_grad)

    def saved_bytes(self, saves: str) -> int:
        """Size of the saved weights, of the network or (`saves` is `adapter`) of what is trained: in the dtypes they have."""
        if saves == "adapter":
            dense = dense_state(self.trainable_module)
            state = {name: dense[name] for name in {_PARAMETRIZED.sub(r".\1", name) for name in self.trainable()}}
        else:
            state = self.network.state_dict()
        tensors = [*state.values(), *self.start.values()]  # what starts from a part of the base is saved as a difference
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def use_bfloat16(prepared_model: PreparedModel) -> None:
    """Matrix products in bfloat16; frozen matrices of the blocks are kept in it.

    Autocast would round them to the very same numbers at every step. What is trained, the head, the norms and the
    embeddings stay in float32.
    """
    from transformers.pytorch_utils import Conv1D

    prepared_model.bfloat16 = True
    for module in prepared_model.network.get_submodule(prepared_model.architecture.layers).modules():
        packed = isinstance(module, torch.nn.Linear) and not module.weight.is_floating_point()
        if isinstance(module, torch.nn.Linear | Conv1D) and not packed and not any(p.requires_grad for p in module.parameters()):
            module.to(torch.bfloat16)
