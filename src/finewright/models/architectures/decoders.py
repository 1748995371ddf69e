"""Decoders: GPT-2, Llama's family, GPT-NeoX, BLOOM, OPT."""

from collections.abc import Sequence

from finewright.models.architectures.base import Architecture, QkvSlices, contiguous_qkv, interleaved_qkv


def _decoder(
    model_type: str, names: Sequence[str], *, qkv_slices: QkvSlices | None = None, not_packable: str = "", entry: str = ""
) -> Architecture:
    """A decoder with a `score` head on the last token. `names`: body, layers, norm, attention and MLP modules.

    `entry`: the norm before the attention.
    """
    body, layers, norm, query, key, value, output, *mlp = names
    return Architecture(
        model_type=model_type,
        is_causal=True,
        pooling="last",
        body=body,
        layers=f"{body}.{layers}",
        projections={"query": (query,), "key": (key,), "value": (value,), "output": (output,), "mlp": tuple(mlp)},
        head=("score",),
        head_kind="linear",
        qkv_slices=qkv_slices,
        final_norm=f"{body}.{norm}",
        not_packable=not_packable,
        attention_entry=entry,
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

ARCHITECTURES = (
    _decoder("gpt2", _GPT2, qkv_slices=contiguous_qkv, entry="ln_1"),
    *(_decoder(name, _LLAMA, entry="input_layernorm") for name in ("llama", "mistral", "qwen2", "qwen3")),
    _decoder("gpt_neox", _NEOX, qkv_slices=interleaved_qkv, entry="input_layernorm"),
    _decoder("bloom", _BLOOM, qkv_slices=interleaved_qkv, not_packable="its ALiBi bias counts positions over the whole row"),
    _decoder("opt", _OPT, not_packable="it counts positions from the padding mask"),
)
