"""Decoders: GPT-2, Llama's family, GPT-NeoX, BLOOM, OPT."""

from collections.abc import Sequence

from finewright.models.architectures.base import Architecture, Fused


def decoder(
    model_type: str, *, fused: Fused = "", not_packable: str = "", entry: str = "", names: Sequence[str] = ()
) -> Architecture:
    """A decoder with a `score` head on the last token; `names`: body, blocks, norm, attention and MLP modules.

    `entry`: the norm before attention.
    """
    body, blocks, norm, query, key, value, output, *mlp = names
    parts = {"query": (query,), "key": (key,), "value": (value,), "output": (output,), "mlp": tuple(mlp)}
    return Architecture(
        model_type=model_type,
        body=body,
        blocks=f"{body}.{blocks}",
        parts=parts,
        head=("score",),
        head_kind="linear",
        fused=fused,
        final_norm=f"{body}.{norm}",
        not_packable=not_packable,
        attention_entry=entry,
    )


GPT2 = ("transformer", "h", "ln_f", *["attn.c_attn"] * 3, "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_LLAMA_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
LLAMA = ("model", "layers", "norm", *_LLAMA_ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_NEOX_QKV = ["attention.query_key_value"] * 3
NEOX = ("gpt_neox", "layers", "final_layer_norm", *_NEOX_QKV, "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_BLOOM_QKV = ["self_attention.query_key_value"] * 3
BLOOM = ("transformer", "h", "ln_f", *_BLOOM_QKV, "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_OPT_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
OPT = ("model", "decoder.layers", "decoder.final_layer_norm", *_OPT_ATTENTION, "fc1", "fc2")
