"""Decoders with a classification class of their own: a `score` head on the last token."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.models.architectures.base import (
    Architecture,
    QkvSlices,
    contiguous_qkv,
    falcon_qkv,
    interleaved_qkv,
    multi_query_qkv,
)

NO_LAYOUT = "its layers do not tell their attention where texts begin and end"
OWN_ATTENTION = "its attention is code of its own, not a pluggable function"
ALIBI = "its ALiBi bias counts positions over the whole row"


def decoder(
    model_type: str,
    names: Sequence[str],
    *,
    qkv_slices: QkvSlices | None = None,
    not_packable: str = "",
    entry: str = "",
    **other: Any,
) -> Architecture:
    """A decoder with a `score` head on the last token. `names`: body, layers, norm, attention and MLP modules.

    `entry`: the norm before the attention. `other`: further fields.
    """
    body, layers, norm, query, key, value, output, *mlp = names
    fields: dict[str, Any] = {
        "is_causal": True,
        "pooling": "last",
        "body": body,
        "layers": f"{body}.{layers}",
        "projections": {"query": (query,), "key": (key,), "value": (value,), "output": (output,), "mlp": tuple(mlp)},
        "head": ("score",),
        "head_kind": "linear",
        "qkv_slices": qkv_slices,
        "final_norm": f"{body}.{norm}",
        "not_packable": not_packable,
        "attention_entry": entry,
    }
    return Architecture(model_type=model_type, **(fields | other))


def llama_like(model_type: str, **other: Any) -> Architecture:
    """A decoder with Llama's module names and its norm before the attention."""
    fields: dict[str, Any] = {"entry": "input_layernorm"} | other
    return decoder(model_type, LLAMA, **fields)


def _gemma3_direction(config: Any) -> Mapping[str, Any]:
    """EmbeddingGemma is a Gemma 3 whose tokens attend in both directions."""
    return {"is_causal": not getattr(config, "use_bidirectional_attention", False)}


_GPT2 = ("transformer", "h", "ln_f", *["attn.c_attn"] * 3, "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_LLAMA_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_BEFORE_MLP = ("model", "layers", "norm", *_LLAMA_ATTENTION)
LLAMA = (*_BEFORE_MLP, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
UNGATED = (*_BEFORE_MLP, "mlp.up_proj", "mlp.down_proj")
_GLM = (*_BEFORE_MLP, "mlp.gate_up_proj", "mlp.down_proj")
_STARCODER2 = (*_BEFORE_MLP, "mlp.c_fc", "mlp.c_proj")
_PHI3 = ("model", "layers", "norm", *["self_attn.qkv_proj"] * 3, "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
_PHI_ATTENTION = (*_LLAMA_ATTENTION[:3], "self_attn.dense")
_PHI = ("model", "layers", "final_layernorm", *_PHI_ATTENTION, "mlp.fc1", "mlp.fc2")
_NEOX_QKV = ["attention.query_key_value"] * 3
_NEOX_MLP = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_NEOX = ("gpt_neox", "layers", "final_layer_norm", *_NEOX_QKV, "attention.dense", *_NEOX_MLP)
_BLOOM = ("transformer", "h", "ln_f", *["self_attention.query_key_value"] * 3, "self_attention.dense", *_NEOX_MLP)
_PERSIMMON = ("model", "layers", "final_layernorm", *["self_attn.query_key_value"] * 3, "self_attn.dense", *_NEOX_MLP)
_MPT = ("transformer", "blocks", "norm_f", *["attn.Wqkv"] * 3, "attn.out_proj", "ffn.up_proj", "ffn.down_proj")
_GPTJ_ATTENTION = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj")
_GPTJ = ("transformer", "h", "ln_f", *_GPTJ_ATTENTION, "mlp.fc_in", "mlp.fc_out")
_GPT_NEO_ATTENTION = (f"attn.attention.{name}_proj" for name in ("q", "k", "v", "out"))
_GPT_NEO = ("transformer", "h", "ln_f", *_GPT_NEO_ATTENTION, "mlp.c_fc", "mlp.c_proj")
_OPT_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
_OPT = ("model", "decoder.layers", "decoder.final_layer_norm", *_OPT_ATTENTION, "fc1", "fc2")

_LIKE_LLAMA = (
    *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "olmo", "ministral", "ministral3", "seed_oss"),
    *("helium", "hunyuan_v1_dense"),
)
_NORM_AFTER = ("olmo2", "olmo3", "exaone4")
"""The attention reads the layer's input as it is."""
_EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
_MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "phimoe")

ARCHITECTURES = (
    decoder("gpt2", _GPT2, qkv_slices=contiguous_qkv, entry="ln_1"),
    decoder("gpt_bigcode", _GPT2, qkv_slices=multi_query_qkv, entry="ln_1"),
    *(llama_like(name) for name in _LIKE_LLAMA),
    llama_like("gemma3_text", change=_gemma3_direction),
    *(llama_like(name, entry="self_attn") for name in _NORM_AFTER),
    *(decoder(name, _BEFORE_MLP, entry="input_layernorm", experts=_EXPERTS) for name in _MIXTURES),
    *(decoder(name, _GLM, entry="input_layernorm") for name in ("glm", "glm4")),
    decoder("arcee", UNGATED, entry="input_layernorm"),
    decoder("starcoder2", _STARCODER2, entry="input_layernorm"),
    decoder("phi3", _PHI3, qkv_slices=contiguous_qkv, entry="input_layernorm"),
    decoder("phi", _PHI),  # attention and MLP read the same norm
    decoder("gpt_neox", _NEOX, qkv_slices=interleaved_qkv, entry="input_layernorm"),
    decoder("persimmon", _PERSIMMON, qkv_slices=interleaved_qkv, entry="input_layernorm"),
    decoder("bloom", _BLOOM, qkv_slices=interleaved_qkv, not_packable=ALIBI),
    decoder("mpt", _MPT, qkv_slices=contiguous_qkv, not_packable=ALIBI),
    decoder("falcon", _BLOOM, qkv_slices=falcon_qkv, not_packable=OWN_ATTENTION),
    decoder("gptj", _GPTJ, not_packable=OWN_ATTENTION),
    decoder("gpt_neo", _GPT_NEO, not_packable=OWN_ATTENTION),
    llama_like("stablelm", not_packable=NO_LAYOUT),
    decoder("nemotron", UNGATED, not_packable=NO_LAYOUT),
    decoder("opt", _OPT, not_packable="it counts positions from the padding mask"),
)
