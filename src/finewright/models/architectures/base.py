"""What an architecture says about itself: where its layers, projections, embeddings and head are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from finewright.core.errors import UserError

Pooling = Literal["last", "first", "mean", "none"]
HeadKind = Literal["linear", "classifier", "pooler", "features", "distilled", "normed", "gelu", "context", "albert", "dropped"]
QkvSlices = Callable[[Any], dict[str, list[slice]]]
"""From a transformers config, the output rows of a fused projection that make the query, the key and the value."""

Change = Callable[[Any], Mapping[str, Any]]
"""From a transformers config, the fields of an `Architecture` that depend on it."""

PROJECTIONS = ("query", "key", "value", "output", "mlp")


NO_LIMIT = -1
"""What some configs say of positions that have no limit."""


def count_from_zero(config: Any) -> int:
    """Positions are counted from zero."""
    return 0


def count_after_padding(config: Any) -> int:
    """RoBERTa counts positions from padding_idx + 1."""
    if not isinstance(config.pad_token_id, int) or config.pad_token_id < 0:
        raise UserError("positions are counted from pad_token_id, which is missing", where="config.json", fix="add it")
    return config.pad_token_id + 1


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture, described by attribute paths seen from the classification network.

    `is_causal`: a token attends to itself and to earlier tokens only.
    `pooling`: which states of a text the head reads: those of its last or first token, their mean, or all of them.
    `layers`: path of the list of layers. `projections`: names of linear modules inside a layer, by what they compute; a fused
    projection stands under query, key and value.
    `qkv_slices`: the rows of a fused projection; None where query, key and value have modules of their own.
    `head`: modules of the head, which every method trains. `not_packable`: why texts cannot share a row; empty if they can.
    `first_position`: from a config, the position id of a text's first token.
    `attention_entry`: the module of a layer that first reads the states that keys and values are made of (the norm before the
    attention, or the attention itself); empty if the last layer must always run over the whole row.
    `has_standard_head`: the head is that of the architecture's own classification class; see `pooling`.
    `stock_head`: modules of the classification class that a linear head takes the place of.
    `pooling_reason`: where it is written which states the head reads, if that is not fixed.
    `has_plain_layers`: a layer's one output is all that the next one reads, and each is run once.
    `shares_layers`: why no layer can be frozen by itself; empty if it can.
    `experts`: parameters of a layer that hold the matrices of all experts of a mixture; low-rank updates do not reach them.
    `needs_equal_lengths`: only texts of one length share a batch, since padding would change their states.
    `unused`: parameters that no text goes through, with `*` for the number of a layer; no method trains them.
    `is_derived`: read off the network and tested on a small copy when it was met, not described by hand.
    `change`: what the config changes of all this.

    The `repr` is the same in every process, as it is part of cache keys; it leaves functions out.
    """

    model_type: str
    is_causal: bool
    pooling: Pooling
    body: str
    layers: str
    projections: Mapping[str, tuple[str, ...]]
    head: tuple[str, ...]
    head_kind: HeadKind
    qkv_slices: QkvSlices | None = field(default=None, repr=False)
    final_norm: str = ""
    pooler: str = ""
    not_packable: str = ""
    first_position: Callable[[Any], int] = field(default=count_from_zero, repr=False)
    attention_entry: str = ""
    has_standard_head: bool = True
    stock_head: tuple[str, ...] = ()
    pooling_reason: str = ""
    has_plain_layers: bool = True
    shares_layers: str = ""
    experts: tuple[str, ...] = ()
    needs_equal_lengths: bool = False
    unused: tuple[str, ...] = ()
    is_derived: bool = False
    change: Change | None = field(default=None, repr=False)

    def for_config(self, config: Any) -> "Architecture":
        """Return the architecture as this config has it."""
        return self if self.change is None else replace(self, change=None, **self.change(config))

    @property
    def attention(self) -> str:
        """The attention module inside a layer: the one that holds the query projection; empty if it was not recognised."""
        return (self.projections["query"] or ("",))[0].rpartition(".")[0]

    def as_language_model(self) -> "Architecture":
        """Return the architecture with its own output layer over the vocabulary in place of a head for labels.

        Raise `UserError` if its tokens see later ones, so that it cannot say the next one.
        """
        if not self.is_causal:
            what = f"{self.model_type} reads a text in both directions, so it cannot continue one"
            raise UserError(what, where="model", fix="a decoder, such as gpt2; `finewright models` lists what is known")
        return replace(
            self, pooling="none", pooling_reason="", head=(), stock_head=(), pooler="", head_kind="linear", has_standard_head=True
        )

    def as_token_classifier(self, last: str) -> "Architecture":
        """Return the architecture with a head that scores every token. `last`: its linear module."""
        is_normed = self.head_kind == "normed"  # ModernBERT scores tokens through the same layers
        head, kind = (self.head, self.head_kind) if is_normed else ((last,), "dropped")
        own: dict[str, Any] = {"head": head, "head_kind": kind, "pooling": "none", "pooling_reason": ""}
        return replace(self, stock_head=(), pooler="", has_standard_head=True, **own)

    def limits(self) -> Iterator[str]:
        """Yield what cannot be done with it, for users."""
        if self.experts:
            yield "no low-rank updates of its experts"
        if self.shares_layers:
            yield f"no freezing by layer: {self.shares_layers}"
        if not self.has_standard_head:
            yield "no prompt tuning"

    def layer_modules(self, projections: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield (module name inside a layer, wanted slices of it), each module once; no slices mean the whole module."""
        wanted: dict[str, list[str]] = {}
        for projection in projections:
            for module in self.projections[projection]:
                wanted.setdefault(module, []).append(projection)
        for module, slices in wanted.items():
            whole = not self.is_fused(module) or len(slices) == 3
            yield module, () if whole else tuple(slices)

    def is_fused(self, module: str) -> bool:
        """Whether a module holds query, key and value in one matrix."""
        return self.qkv_slices is not None and module in self.projections["query"]


def contiguous_qkv(config: Any) -> dict[str, list[slice]]:
    """[query | key | value]; with grouped queries (Phi-3) keys and values have fewer rows than queries."""
    return _in_sequence(config, num_shared=getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _in_sequence(config: Any, *, num_shared: int) -> dict[str, list[slice]]:
    """[query | key | value] with `num_shared` heads of keys and values."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    num_rows, num_shared = config.num_attention_heads * width, num_shared * width
    return {
        "query": [slice(0, num_rows)],
        "key": [slice(num_rows, num_rows + num_shared)],
        "value": [slice(num_rows + num_shared, num_rows + 2 * num_shared)],
    }


def interleaved_qkv(config: Any) -> dict[str, list[slice]]:
    """[query | key | value] of the first head, then of the second one, and so on (GPT-NeoX, BLOOM)."""
    num_heads = config.num_attention_heads
    width = config.hidden_size // num_heads
    starts = range(0, 3 * width * num_heads, 3 * width)
    return {
        name: [slice(start + offset, start + offset + width) for start in starts]
        for name, offset in (("query", 0), ("key", width), ("value", 2 * width))
    }


def multi_query_qkv(config: Any) -> dict[str, list[slice]]:
    """GPT-BigCode: all query heads, then the one key and the one value head; or interleaved if `multi_query` is off."""
    return _in_sequence(config, num_shared=1) if config.multi_query else interleaved_qkv(config)


def falcon_qkv(config: Any) -> dict[str, list[slice]]:
    """As GPT-BigCode's, or in the newer form for each group of query heads one key and one value head behind it."""
    if not config.new_decoder_architecture:
        return multi_query_qkv(config)
    width = config.hidden_size // config.num_attention_heads
    num_groups = config.num_kv_heads
    height = (config.num_attention_heads // num_groups + 2) * width
    ends = range(height, (num_groups + 1) * height, height)
    return {
        "query": [slice(end - height, end - 2 * width) for end in ends],
        "key": [slice(end - 2 * width, end - width) for end in ends],
        "value": [slice(end - width, end) for end in ends],
    }


def fused_rows(architecture: Architecture, config: Any, projection: str) -> list[int]:
    """Output rows of the fused projection that make `projection` (query, key or value); ascending."""
    assert architecture.qkv_slices is not None, f"{architecture.model_type} has no fused projection"
    return [row for rows in architecture.qkv_slices(config)[projection] for row in range(rows.start, rows.stop)]


def max_text_length(config: Any, architecture: Architecture) -> int:
    """Return how many tokens of one text the position embeddings allow."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None) or 2048
    limits = [2048 if positions == NO_LIMIT else positions, *_longrope_limits(getattr(config, "rope_parameters", None))]
    if (
        getattr(config, "attention_type", None) == "block_sparse"
    ):  # BigBird: longer texts get random blocks until a short one comes
        limits.append((5 + 2 * config.num_random_blocks) * config.block_size)
    return int(min(limits)) - architecture.first_position(config)


def _longrope_limits(rope: Any) -> Iterator[int]:
    """Yield the length above which LongRoPE (Phi-3) turns all texts of a batch by other angles, whatever their own lengths.

    A text's scores would depend on the texts beside it, so none may be longer.
    """
    if not isinstance(rope, Mapping):
        return
    original = rope.get("original_max_position_embeddings")
    if rope.get("rope_type") == "longrope" and isinstance(original, int):
        yield original
    for layer_type in rope.values():
        yield from _longrope_limits(layer_type)


def without_numbers(name: str) -> str:
    """Return a parameter's name with `*` for every number in its path."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def layer_index(architecture: Architecture, name: str) -> int | None:
    """Index of the layer that a parameter or module name lies in; None outside the layers."""
    prefix = architecture.layers + "."
    if not name.startswith(prefix):
        return None
    return int(name[len(prefix) :].partition(".")[0])
