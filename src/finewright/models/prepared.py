"""A network as a fine-tuning method prepared it, and how it is run."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from finewright.models.adapters.peft import dense_state
from finewright.models.architectures.base import Architecture
from finewright.models.head_spec import Reads
from finewright.models.last_layer import PooledLastLayer

Objective = Literal["task", "pairs"]
"""What training minimises: the task's loss, or one on pairs of texts."""

_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original\d*$")


@dataclass(frozen=True)
class BaseModelRef:
    """Where the pre-trained weights came from; a saved adapter names it."""

    name: str
    revision: str
    tokenizer: Any


@dataclass
class Runtime:
    """How a prepared model is run, whatever method made it.

    `reads`: which states the head reads, one of each text or every token; the task says it.
    `bfloat16`: matrix products run in bfloat16 (autocast); trained weights, head and loss stay in float32.
    `pooled_last_layer`: runs the last layer only for the tokens the head reads; None runs it for every token.
    `num_frozen_layers`: so many of the lowest layers are frozen with everything below them; they run without dropout.
    `frozen_prefix`: those layers (`frozen_cache.FrozenPrefix`), if their outputs are cached.
    `gradient_checkpointing`: layers save only their input and compute the rest again in the backward pass.
    `objective`: what training minimises. `embedding_noise`: alpha of NEFTune's noise on the embeddings in training, 0 for none.
    `label_smoothing`: of the losses of tokens.
    """

    reads: Reads = "pooled"
    bfloat16: bool = False
    pooled_last_layer: PooledLastLayer | None = None
    num_frozen_layers: int = 0
    frozen_prefix: Any = None
    gradient_checkpointing: bool = False
    objective: Objective = "task"
    embedding_noise: float = 0.0
    label_smoothing: float = 0.0


@dataclass
class PreparedModel:
    """What a method makes of a network.

    `network`: the transformers model; every forward pass goes through it.
    `trainable_module`: the outermost module, which holds everything that is trained: the network, or PEFT's wrapper around it.
    `prompt`: a soft prompt before every text, shape (num_tokens, hidden_size), or None.
    `notes`: decisions of the method, for the user.
    `start`: initial values of tensors that are saved as the difference to them.
    `exact_reload`: whether the saved form is bit for bit what was trained; otherwise it is equal to 1e-5.
    `runtime`: set after the method is done.
    """

    network: Any
    trainable_module: Any
    architecture: Architecture
    prompt: torch.Tensor | None = None
    notes: list[str] = field(default_factory=list)
    start: dict[str, torch.Tensor] = field(default_factory=dict)
    exact_reload: bool = True
    runtime: Runtime = field(default_factory=Runtime)

    @property
    def prompt_tokens(self) -> int:
        """Tokens the prompt adds to every text."""
        return 0 if self.prompt is None else int(self.prompt.shape[0])

    def train(self) -> None:
        """Turn dropout on, but not in frozen layers."""
        self.trainable_module.train()
        num_frozen = self.runtime.num_frozen_layers
        if not num_frozen:
            return
        above = [name for name in (self.architecture.final_norm, self.architecture.pooler) if name]
        self.network.get_submodule(self.architecture.body).eval()
        for layer in self.network.get_submodule(self.architecture.layers)[num_frozen:]:
            layer.train()
        for name in above:
            self.network.get_submodule(name).train()

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter that is trained, by its name in `trainable_module`."""
        return {name: parameter for name, parameter in self.trainable_module.named_parameters() if parameter.requires_grad}

    def num_trainable(self) -> int:
        """Return how many parameters are trained, with the head's and with embeddings of tokens that do not occur."""
        idle = sum(getattr(module, "num_idle", 0) for module in self.trainable_module.modules())
        return sum(parameter.numel() for parameter in self.trainable().values()) + idle

    def num_head(self) -> int:
        """Return how many of the trained parameters are the head's."""
        heads = [self.network.get_submodule(name) for name in self.architecture.head]
        return sum(p.numel() for head in heads for p in head.parameters() if p.requires_grad)

    def saved_bytes(self, saves: str) -> int:
        """Return the size of the saved weights: of the whole network, or if `saves` is `adapter` of what is trained."""
        if saves == "adapter":
            dense = dense_state(self.trainable_module)
            state = {name: dense[name] for name in {_PARAMETRIZED.sub(r".\1", name) for name in self.trainable()}}
        else:
            state = self.network.state_dict()
        tensors = [*state.values(), *self.start.values()]  # initial values are saved too
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def use_bfloat16(prepared_model: PreparedModel) -> None:
    """Run matrix products in bfloat16, and store the frozen matrices of the layers in it.

    Autocast would round them to the same values at every step. Trained parameters, head, norms and embeddings stay in float32.
    """
    from transformers.pytorch_utils import Conv1D

    prepared_model.runtime.bfloat16 = True
    for module in prepared_model.network.get_submodule(prepared_model.architecture.layers).modules():
        quantized = isinstance(module, torch.nn.Linear) and not module.weight.is_floating_point()
        if (
            isinstance(module, torch.nn.Linear | Conv1D)
            and not quantized
            and not any(p.requires_grad for p in module.parameters())
        ):
            module.to(torch.bfloat16)
