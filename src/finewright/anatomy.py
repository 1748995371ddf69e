"""Where an architecture keeps its blocks, query/key/value (fused or not), embeddings and head."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from finewright.errors import UserError

Pool = Literal["last", "first"]
HeadKind = Literal["linear", "pooler", "features", "distilled"]
Fused = Literal["", "thirds", "interleaved"]

MEANINGS = ("query", "key", "value", "output", "mlp")


@dataclass(frozen=True)
class Anatomy:
    """One architecture, described by attribute paths seen from the classification network.

    `parts`: meaning → module names inside a block. A fused projection stands under query, key and value.
    `fused`: how a fused projection lays out its output rows: `thirds` is [q|k|v], `interleaved` is q, k, v head by head.
    `pool`: which token of a text the head reads. `head`: modules of the head, always trained.
    `unpackable`: why many texts cannot share one row; empty when they can.
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
    unpackable: str = ""
    first_position: int = field(default=0)

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


def _decoder(model_type: str, *, fused: Fused = "", unpackable: str = "", names: Sequence[str] = ()) -> Anatomy:
    """A decoder with a `score` head on the last token; `names`: body, blocks, norm, attention and MLP modules."""
    body, blocks, norm, query, key, value, output, *mlp = names
    parts = {"query": (query,), "key": (key,), "value": (value,), "output": (output,), "mlp": tuple(mlp)}
    return Anatomy(
        model_type=model_type,
        body=body,
        blocks=f"{body}.{blocks}",
        parts=parts,
        head=("score",),
        head_kind="linear",
        fused=fused,
        final_norm=f"{body}.{norm}",
        unpackable=unpackable,
    )


def _encoder(model_type: str, *, body: str, head_kind: HeadKind, pooler: str = "") -> Anatomy:
    """An encoder of BERT's family: the head reads the first token."""
    parts: dict[str, tuple[str, ...]] = {part: (f"attention.self.{part}",) for part in ("query", "key", "value")}
    parts |= {"output": ("attention.output.dense",), "mlp": ("intermediate.dense", "output.dense")}
    return Anatomy(
        model_type=model_type,
        body=body,
        blocks=f"{body}.encoder.layer",
        parts=parts,
        head=("classifier",),
        head_kind=head_kind,
        pooler=pooler,
        pool="first",
    )


_GPT2 = ("transformer", "h", "ln_f", *["attn.c_attn"] * 3, "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_LLAMA_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_LLAMA = ("model", "layers", "norm", *_LLAMA_ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_NEOX_QKV = ["attention.query_key_value"] * 3
_NEOX = ("gpt_neox", "layers", "final_layer_norm", *_NEOX_QKV, "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_BLOOM_QKV = ["self_attention.query_key_value"] * 3
_BLOOM = ("transformer", "h", "ln_f", *_BLOOM_QKV, "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_OPT_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
_OPT = ("model", "decoder.layers", "decoder.final_layer_norm", *_OPT_ATTENTION, "fc1", "fc2")

_DISTILBERT = Anatomy(
    model_type="distilbert",
    body="distilbert",
    blocks="distilbert.transformer.layer",
    parts={
        "query": ("attention.q_lin",),
        "key": ("attention.k_lin",),
        "value": ("attention.v_lin",),
        "output": ("attention.out_lin",),
        "mlp": ("ffn.lin1", "ffn.lin2"),
    },
    head=("pre_classifier", "classifier"),
    head_kind="distilled",
    pool="first",
)

_KNOWN = {
    anatomy.model_type: anatomy
    for anatomy in (
        _decoder("gpt2", fused="thirds", names=_GPT2),
        *(_decoder(name, names=_LLAMA) for name in ("llama", "mistral", "qwen2", "qwen3")),
        _decoder("gpt_neox", fused="interleaved", names=_NEOX),
        _decoder("bloom", fused="interleaved", names=_BLOOM, unpackable="its ALiBi bias counts positions over the whole row"),
        _decoder("opt", names=_OPT, unpackable="it counts positions from the padding mask"),
        _encoder("bert", body="bert", head_kind="pooler", pooler="bert.pooler"),
        _encoder("roberta", body="roberta", head_kind="features"),
        _encoder("xlm-roberta", body="roberta", head_kind="features"),
        _DISTILBERT,
    )
}


def known() -> list[str]:
    """Architectures (`model_type`) that can be fine-tuned."""
    return sorted(_KNOWN)


def of(config: Any) -> Anatomy:
    """The anatomy of a transformers config; an unknown `model_type` is a `UserError`."""
    name = config.model_type
    if name not in _KNOWN:
        near = difflib.get_close_matches(str(name), _KNOWN, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"the architecture {name!r} is not known", where="config.json: model_type", fix=f"{hint}known: {', '.join(known())}"
        )
    anatomy = _KNOWN[name]
    if anatomy.head_kind == "features":  # RoBERTa counts positions from padding_idx + 1
        from dataclasses import replace

        if not isinstance(config.pad_token_id, int):
            raise UserError("positions are counted from pad_token_id, which is not there", where="config.json", fix="add it")
        return replace(anatomy, first_position=config.pad_token_id + 1)
    return anatomy


def longest_text(config: Any, anatomy: Anatomy) -> int:
    """Most tokens of one text the position embeddings allow."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None) or 2048
    return int(positions) - anatomy.first_position


def fused_rows(anatomy: Anatomy, config: Any, meaning: str) -> list[int]:
    """Output rows of the fused projection that make `meaning`; ascending."""
    hidden, third = config.hidden_size, ("query", "key", "value").index(meaning)
    if anatomy.fused == "thirds":
        return list(range(third * hidden, (third + 1) * hidden))
    width = hidden // config.num_attention_heads
    return [head * 3 * width + third * width + row for head in range(config.num_attention_heads) for row in range(width)]


def block_index(anatomy: Anatomy, name: str) -> int | None:
    """Number of the block that a parameter or module name lies in; None outside the blocks."""
    prefix = anatomy.blocks + "."
    if not name.startswith(prefix):
        return None
    return int(name[len(prefix) :].partition(".")[0])
