"""Low-rank updates of some slices of a fused projection."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize


class SlicedColumns(nn.Module):
    """A matrix that is zero except for one block per slice: slice i fills rows `rows[i]` of columns i·rank … (i+1)·rank.

    It combines low-rank updates of several slices of a fused projection in one update of the whole projection:
    ΔW = [B_1 … B_n] · [A_1; …; A_n] with each B_i zero outside its slice. Only the blocks are parameters.
    """

    def __init__(self, rows: Sequence[torch.Tensor], *, rank: int, num_rows: int) -> None:
        super().__init__()
        self.rank, self.num_rows = rank, num_rows
        for index, slice_rows in enumerate(rows):
            self.register_buffer(f"rows_{index}", slice_rows, persistent=False)
        self.num_slices = len(rows)

    def rows(self, index: int) -> torch.Tensor:
        """Rows of slice `index`."""
        return self.get_buffer(f"rows_{index}")

    def forward(self, *blocks: torch.Tensor) -> torch.Tensor:
        """Map blocks of shape (rows of the slice, rank) to the matrix (num_rows, num_slices · rank)."""
        dense = blocks[0].new_zeros(self.num_rows, self.num_slices * self.rank)
        for index, block in enumerate(blocks):
            left = index * self.rank
            padded = nn.functional.pad(block, (left, dense.shape[1] - left - self.rank))
            dense = dense.index_add(0, self.rows(index), padded)
        return dense

    def right_inverse(self, dense: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the blocks of a matrix that is zero outside them."""
        columns = dense.split(self.rank, dim=1)
        return tuple(columns[index][self.rows(index)].clone() for index in range(self.num_slices))


class SlicedVector(nn.Module):
    """A vector of which only the entries `rows` are trained; the others keep their initial value."""

    def __init__(self, rows: torch.Tensor, *, start: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("start", start.detach().clone(), persistent=False)

    def forward(self, entries: torch.Tensor) -> torch.Tensor:
        """Map the trained entries to the whole vector."""
        return self.get_buffer("start").index_copy(0, self.get_buffer("rows"), entries)

    def right_inverse(self, dense: torch.Tensor) -> torch.Tensor:
        """Return the trained entries of a whole vector."""
        return dense[self.get_buffer("rows")].clone()


def train_slices(lora_layer: Any, rows: Sequence[Sequence[int]], *, rank: int, adapter: str = "default") -> None:
    """Make a PEFT LoRA layer on a fused projection train only the slices whose output rows are given."""
    lora_b = lora_layer.lora_B[adapter]
    device = lora_b.weight.device
    tensors = [torch.tensor(list(slice_rows), device=device) for slice_rows in rows]
    columns = SlicedColumns(tensors, rank=rank, num_rows=lora_b.weight.shape[0])
    parametrize.register_parametrization(lora_b, "weight", columns)
    magnitudes = lora_layer.lora_magnitude_vector
    if adapter in magnitudes:  # DoRA: magnitudes outside the slices are not trained
        vector = magnitudes[adapter]
        parametrize.register_parametrization(vector, "weight", SlicedVector(torch.cat(tensors), start=vector.weight))


def start_from_principal_parts(lora_layer: Any, rows: Sequence[Sequence[int]], *, rank: int, adapter: str = "default") -> None:
    """PiSSA (Meng et al. 2024, arXiv:2404.02948) for each slice of a fused projection separately.

    The `rank` strongest singular directions of a slice move from the frozen weight into its A and B.
    """
    base, scaling = lora_layer.get_base_layer(), lora_layer.scaling[adapter]
    weight = base.weight.data.float()
    weight = (weight.T if lora_layer.fan_in_fan_out else weight).clone()
    dense_b = torch.zeros_like(lora_layer.lora_B[adapter].weight.data)
    for index, slice_rows in enumerate(rows):
        left, strengths, right = torch.linalg.svd(weight[list(slice_rows)], full_matrices=False)
        root = (strengths[:rank] / scaling).sqrt()
        a, b = root[:, None] * right[:rank], left[:, :rank] * root
        columns = slice(index * rank, (index + 1) * rank)
        lora_layer.lora_A[adapter].weight.data[columns] = a
        dense_b[list(slice_rows), columns] = b
        weight[list(slice_rows)] -= scaling * b @ a
    lora_layer.lora_B[adapter].weight.data = dense_b
    base.weight.data = (weight.T if lora_layer.fan_in_fan_out else weight).contiguous().to(base.weight.dtype)
