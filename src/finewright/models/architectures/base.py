"""Where an architecture keeps its layers, query/key/value (fused or not), embeddings and head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Pool = Literal["last", "first"]
HeadKind = Literal["linear", "pooler", "features", "distilled"]
Fused = Literal["", "thirds", "interleaved"]

PROJECTIONS = ("query", "key", "value", "output", "mlp")


@dataclass(frozen=True)
class Architecture:
    """One architecture, described by attribute paths seen from the classification network.

    `parts`: meaning → module names inside a block. A fused projection stands under query, key and value.
    `fused`: how a fused projection lays out its output rows: `thirds` is [q|k|v], `interleaved` is q, k, v head by head.
    `pool`: which token of a text the head reads. `head`: modules of the head, always trained.
    `unpackable`: why many texts cannot share one row; empty when they can.
    `attention_entry`: the module of a block that first reads what keys and values are made of: the norm before attention, or
    the attention itself; empty when the last block must run over the whole row.
    """

    model_type: str
    body: str
    blocks: str
    parts: dict[str, tuple[str, ...]]
    head: tuple[str, ...]
    head_kind: HeadKind
    fused: Fused = ""
    final_norm: str = ""
    pooler: str = ""
    pool: Pool = "last"
    not_packable: str = ""
    first_position: int = field(default=0)
    attention_entry: str = ""

    @property
    def attention(self) -> str:
        """The attention module inside a block: the one that holds the query's projection."""
        return self.parts["query"][0].rpartition(".")[0]

    def block_modules(self, meanings: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(module name inside a block, the wanted slices of it), each module once; no slices: the whole module."""
        wanted: dict[str, list[str]] = {}
        for meaning in meanings:
            for module in self.parts[meaning]:
                wanted.setdefault(module, []).append(meaning)
        for module, slices in wanted.items():
            whole = not self.is_fused(module) or len(slices) == 3
            yield module, () if whole else tuple(slices)

    def is_fused(self, module: str) -> bool:
        """Whether a module holds query, key and value in one matrix."""
        return bool(self.fused) and module in self.parts["query"]


def max_text_length(config: Any, architecture: Architecture) -> int:
    """Most tokens of one text the position embeddings allow."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None) or 2048
    return int(positions) - architecture.first_position


def fused_rows(architecture: Architecture, config: Any, meaning: str) -> list[int]:
    """Output rows of the fused projection that make `meaning`; ascending."""
    hidden, third = config.hidden_size, ("query", "key", "value").index(meaning)
    if architecture.fused == "thirds":
        return list(range(third * hidden, (third + 1) * hidden))
    width = hidden // config.num_attention_heads
    return [head * 3 * width + third * width + row for head in range(config.num_attention_heads) for row in range(width)]


def layer_index(architecture: Architecture, name: str) -> int | None:
    """Number of the block that a parameter or module name lies in; None outside the blocks."""
    prefix = architecture.blocks + "."
    if not name.startswith(prefix):
        return None
    return int(name[len(prefix) :].partition(".")[0])
