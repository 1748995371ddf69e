"""Trained embeddings, restricted to the tokens that training ever sees.

The other rows get a gradient of exactly zero at every step, so AdamW without weight decay leaves them as they are; with it they
would only shrink, unseen. Leaving them out spares their gradient, their two moments and their update.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from finewright.models.prepared import PreparedModel

WORTHWHILE_SHARE = 0.75
"""Above this share of rows in use there is too little to spare."""


class TrimmedEmbedding(nn.Embedding):
    """An embedding that trains `rows`, those of the tokens in use, shape (U, H); `weight` (V, H) follows when it is saved.

    `used`: their ids. `slots`: for every token its place in `rows`, -1 where it has none. What is saved is the plain embedding.
    """

    rows: nn.Parameter
    used: torch.Tensor
    slots: torch.Tensor
    padding_slot: int | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the plain embedding; in training every token is one in use."""
        slots = self.slots[input]
        trained = nn.functional.embedding(slots.clamp(min=0), self.rows, self.padding_slot)
        return trained if self.training else torch.where(slots[..., None] < 0, self.weight[input], trained)

    @property
    def num_idle(self) -> int:
        """Numbers in rows that are trained in name only."""
        return self.weight.numel() - self.rows.numel()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        with torch.no_grad():
            self.weight.index_copy_(0, self.used, self.rows)
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}rows"]


def trim_embedding(prepared_model: PreparedModel, used: Sequence[int]) -> int:
    """Let a trained embedding train only the rows of `used` (token ids); returns how many, 0 when nothing was done."""
    embedding = prepared_model.network.get_input_embeddings()
    rows = sorted(set(used))
    if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad or embedding.max_norm is not None:
        return 0
    if len(rows) > WORTHWHILE_SHARE * embedding.num_embeddings:
        return 0
    weight, kept = embedding.weight, torch.tensor(rows, device=embedding.weight.device)
    slots = torch.full((embedding.num_embeddings,), -1, device=weight.device)
    slots[kept] = torch.arange(len(rows), device=weight.device)
    embedding.__class__ = TrimmedEmbedding
    embedding.register_buffer("used", kept, persistent=False)
    embedding.register_buffer("slots", slots, persistent=False)
    embedding.rows = nn.Parameter(weight.detach()[kept].clone())
    vars(embedding)["padding_slot"] = rows.index(embedding.padding_idx) if embedding.padding_idx in rows else None
    weight.requires_grad_(False)
    return len(rows)
