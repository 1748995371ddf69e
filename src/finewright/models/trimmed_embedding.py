"""Train only the embedding rows of tokens that occur in the training texts.

The other rows have a gradient of exactly zero at every step: AdamW without weight decay does not change them, and with weight
decay they would only shrink. Leaving them out saves their gradients, their two moments and their updates.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from finewright.models.prepared import PreparedModel

WORTHWHILE_SHARE = 0.75
"""With a larger share of rows in use there is too little to save."""


class TrimmedEmbedding(nn.Embedding):
    """An embedding that trains `rows` (U, H), those of the tokens in use; saving copies them into `weight` (V, H).

    `used`: token ids of the rows. `slots`: for every token id its index in `rows`, -1 if it has none. The saved state is that
    of a plain embedding.
    """

    rows: nn.Parameter
    used: torch.Tensor
    slots: torch.Tensor
    padding_slot: int | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Look tokens up; in training every token has a row."""
        slots = self.slots[input]
        trained = nn.functional.embedding(slots.clamp(min=0), self.rows, self.padding_slot)
        return trained if self.training else torch.where(slots[..., None] < 0, self.weight[input], trained)

    @property
    def num_idle(self) -> int:
        """Parameters of the rows that no training text uses."""
        return self.weight.numel() - self.rows.numel()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        with torch.no_grad():
            self.weight.index_copy_(0, self.used, self.rows)
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}rows"]


def trim_embedding(prepared_model: PreparedModel, used: Sequence[int]) -> int:
    """Let a trained embedding train only the rows of `used` (token ids); return how many, 0 if nothing was done.

    An embedding that shares its weight with another module, such as an output layer, is left alone: that module would go on
    with the old weight.
    """
    embedding = prepared_model.network.get_input_embeddings()
    rows = sorted(set(used))
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad or embedding.max_norm is not None:
        return 0
    if len(rows) > WORTHWHILE_SHARE * embedding.num_embeddings or _is_tied(embedding, prepared_model.trainable_module):
        return 0
    weight, used_U = embedding.weight, torch.tensor(rows, device=embedding.weight.device)
    slots = torch.full((embedding.num_embeddings,), -1, device=weight.device)
    slots[used_U] = torch.arange(len(rows), device=weight.device)
    embedding.__class__ = TrimmedEmbedding
    embedding.register_buffer("used", used_U, persistent=False)
    embedding.register_buffer("slots", slots, persistent=False)
    embedding.rows = nn.Parameter(weight.detach()[used_U].clone())
    vars(embedding)["padding_slot"] = rows.index(embedding.padding_idx) if embedding.padding_idx in rows else None
    weight.requires_grad_(False)
    return len(rows)


def _is_tied(embedding: nn.Embedding, network: nn.Module) -> bool:
    """Whether another module holds the embedding's weight too."""
    others = (module for module in network.modules() if module is not embedding)
    return any(parameter is embedding.weight for module in others for parameter in module.parameters(recurse=False))
