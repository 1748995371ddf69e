"""Architectures without a classification class of their own: a linear head on the body alone.

They are saved as a sentence-transformers folder (`models.sentence_folder`).
"""

from typing import Any

from finewright.models.architectures.base import Architecture
from finewright.models.architectures.decoders import LLAMA, OWN_ATTENTION, UNGATED, decoder

_OWN_HEAD: dict[str, Any] = {"head": ("classifier",), "head_kind": "classifier", "has_standard_head": False}


def _decoder(model_type: str, names: Any = LLAMA, **other: Any) -> Architecture:
    fields: dict[str, Any] = _OWN_HEAD | {"entry": "input_layernorm"} | other
    return decoder(model_type, names, **fields)


_GRANITE_MOE = LLAMA[:7]
_CODEGEN = ("transformer", "h", "ln_f", *["attn.qkv_proj"] * 3, "attn.out_proj", "mlp.fc_in", "mlp.fc_out")
_LFM2_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
_LFM2 = ("model", "layers", "embedding_norm", *_LFM2_ATTENTION, "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_CONVOLUTION = "its convolutions mix tokens of neighbouring texts"


def _t5(model_type: str) -> Architecture:
    """The encoder of T5 alone. Its MLP has one or two input matrices, as the config says."""
    attention = {name: (f"layer.0.SelfAttention.{leaf}",) for name, leaf in zip(("query", "key", "value"), "qkv", strict=True)}
    return Architecture(
        model_type=model_type,
        is_causal=False,
        pooling="mean",
        body="transformer",
        layers="transformer.encoder.block",
        projections=attention | {"output": ("layer.0.SelfAttention.o",), "mlp": _t5_mlp(gated=True)},
        final_norm="transformer.encoder.final_layer_norm",
        not_packable="its attention adds a bias of positions that are counted over the whole row",
        has_plain_layers=False,
        change=lambda config: {
            "projections": attention | {"output": ("layer.0.SelfAttention.o",), "mlp": _t5_mlp(gated=config.is_gated_act)}
        },
        **_OWN_HEAD,
    )


def _t5_mlp(*, gated: bool) -> tuple[str, ...]:
    inputs = ("wi_0", "wi_1") if gated else ("wi",)
    return tuple(f"layer.1.DenseReluDense.{name}" for name in (*inputs, "wo"))


ARCHITECTURES = (
    *(_decoder(name) for name in ("granite", "ernie4_5")),
    *(_decoder(name, entry="") for name in ("cohere", "cohere2")),  # attention and MLP read the same norm
    _decoder("olmoe", LLAMA[:7], experts=("mlp.experts.gate_up_proj", "mlp.experts.down_proj")),
    _decoder("granitemoe", _GRANITE_MOE, experts=("block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj")),
    _decoder("apertus", UNGATED, entry="attention_layernorm"),
    _decoder("lfm2", _LFM2, entry="", not_packable=_CONVOLUTION),
    _decoder("codegen", _CODEGEN, entry="", not_packable=OWN_ATTENTION),
    _t5("t5"),
    _t5("mt5"),
)
