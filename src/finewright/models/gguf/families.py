"""What transformers calls the values and the tensors of a GGUF file, and how a tensor gets its order back, by architecture.

Every tensor of a file must have its place here: one that is left out would change what the model computes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finewright.models.gguf.reader import GgufFile, read_tensor, refuse

_ANOTHER = "take the model as a folder with *.safetensors"
_ROPE_FACTORS = "rope_freqs.weight"
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How Llama 3.1 and its successors stretch positions; a file holds only the divisors that follow from it."""

Restore = Callable[[np.ndarray, dict[str, Any]], np.ndarray]
"""Undoes what the file's writer did to a tensor, given the transformers config."""


@dataclass(frozen=True)
class Family:
    """One architecture. `config`: reads the transformers config. `outside`, `inside`: names of tensors outside the layers and
    inside one, without their ending. `layers`: path of the layers. `restore`: by the name in the file. `biased`: what has a bias.
    `capped`: values of `_CHANGES_RESULTS` that `config` reads.
    """

    config: Callable[[GgufFile], dict[str, Any]]
    outside: Mapping[str, str]
    inside: Mapping[str, str]
    layers: str
    restore: Mapping[str, Restore] = field(default_factory=dict)
    biased: frozenset[str] = frozenset()
    capped: frozenset[str] = frozenset()


def read_config(file: GgufFile) -> dict[str, Any]:
    """Return the transformers config of the model. Raise `UserError` if the architecture or a value of it has none."""
    family = FAMILIES.get(file.architecture)
    if family is None:
        what = f"the architecture {file.architecture!r} cannot be read from a GGUF file; known: {', '.join(sorted(FAMILIES))}"
        raise refuse(file.path, what, fix=_ANOTHER)
    if "token_embd.weight" not in file.tensors:
        raise refuse(file.path, "holds no token embeddings", fix="a GGUF file with the whole model")
    ids = {name: file.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _IDS.items()}
    stated = {name: value for name, value in ids.items() if isinstance(value, int) and not isinstance(value, bool)}
    shared = {
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }
    for name in (one for one in _CHANGES_RESULTS if one not in family.capped):
        if file.metadata.get(f"{file.architecture}.{name}"):
            what = f"sets {file.architecture}.{name}, which changes what the model computes and is not read here"
            raise refuse(file.path, what, fix=_ANOTHER)
    return family.config(file) | shared | stated


def tensor_names(file: GgufFile) -> dict[str, str]:
    """Return what transformers calls each tensor of a file. Raise `UserError` if one has no place in the architecture."""
    family = FAMILIES[file.architecture]
    found = {}
    for name in file.tensors:
        if name == _ROPE_FACTORS:  # part of the config
            continue
        block = _BLOCK.fullmatch(name)
        stem, _, ending = (block[2] if block else name).rpartition(".")
        known = (family.inside if block else family.outside).get(stem)
        if known is None or (ending != "weight" and (ending != "bias" or stem not in family.biased)):
            what = f"its tensor {name} has no place in the architecture {file.architecture!r}, as it is read here"
            raise refuse(file.path, what, fix=_ANOTHER)
        found[name] = f"{family.layers}.{block[1]}.{known}.{ending}" if block else f"{known}.{ending}"
    return found


def restore(file: GgufFile, name: str, tensor: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Return a tensor as transformers orders it. `name`: in the file."""
    change = FAMILIES[file.architecture].restore.get(name.split(".", 2)[2] if name.startswith("blk.") else name)
    return tensor if change is None else np.ascontiguousarray(change(tensor, config))


def _count(file: GgufFile, name: str, default: int | None = None) -> int:
    value = file.number(name, default)
    if not isinstance(value, int) or value < 1:
        raise refuse(file.path, f"{file.architecture}.{name} is {value!r}, wanted 1 or more", fix="another GGUF file")
    return value


def _rotary_decoder(file: GgufFile, model_type: str) -> dict[str, Any]:
    """The values of Llama and the families after it."""
    if file.number("expert_count", 0):
        raise refuse(file.path, "is a mixture of experts, which is not read from a GGUF file", fix=_ANOTHER)
    heads, width = _count(file, "attention.head_count"), _count(file, "embedding_length")
    head_width = _count(file, "attention.key_length", _count(file, "rope.dimension_count", width // heads))
    for name in ("attention.value_length", "rope.dimension_count"):
        if (other := _count(file, name, head_width)) != head_width:
            what = f"{file.architecture}.{name} is {other}, its heads are {head_width} wide: not read from a GGUF file"
            raise refuse(file.path, what, fix=_ANOTHER)
    theta = float(file.number("rope.freq_base", 10_000.0))
    return {
        "model_type": model_type,
        "num_hidden_layers": _count(file, "block_count"),
        "max_position_embeddings": _count(file, "context_length"),
        "hidden_size": width,
        "intermediate_size": _count(file, "feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": _count(file, "attention.head_count_kv", heads),
        "head_dim": head_width,
        "rms_norm_eps": float(file.number("attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_theta": theta, **_rope_scaling(file, theta=theta, head_width=head_width)},
    }


def _rope_scaling(file: GgufFile, *, theta: float, head_width: int) -> dict[str, Any]:
    kind = file.metadata.get(f"{file.architecture}.rope.scaling.type", "none")
    factor = file.number("rope.scaling.factor", file.number("rope.scale_linear", 1.0))
    if _ROPE_FACTORS in file.tensors:
        return _llama3_scaling(file, theta=theta, head_width=head_width)
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(factor)}
    what = f"stretches positions by {kind!r}, which is not read from a GGUF file"
    raise refuse(file.path, what, fix=_ANOTHER)


def _llama3_scaling(file: GgufFile, *, theta: float, head_width: int) -> dict[str, Any]:
    """Return the settings that give the divisors in the file. Raise `UserError` if Llama 3's do not."""
    stored = read_tensor(file, _ROPE_FACTORS).astype(np.float64).reshape(-1)
    if stored.size == head_width // 2 and np.isfinite(stored).all():
        scaling = {**_LLAMA3, "factor": float(stored.max())}
        if np.allclose(stored, _llama3_divisors(scaling, theta=theta, head_width=head_width), rtol=1e-3):
            return scaling
    what = f"{_ROPE_FACTORS} is not what Llama 3's stretching of positions gives, so its positions are not known here"
    raise refuse(file.path, what, fix=_ANOTHER)


def _llama3_divisors(scaling: dict[str, Any], *, theta: float, head_width: int) -> np.ndarray:
    """By what each rotary frequency is divided: high ones by 1, low ones by the factor, those between by a mean."""
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_width, 2) / head_width)
    low, high, length = (scaling[name] for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
    share = np.clip((length / wavelengths - low) / (high - low), 0, 1)
    return 1 / ((1 - share) / scaling["factor"] + share)


def _llama(file: GgufFile) -> dict[str, Any]:
    window = file.number("attention.sliding_window", 0)
    if window and window < file.number("context_length"):
        return _rotary_decoder(file, "mistral") | {"architectures": ["MistralForCausalLM"], "sliding_window": window}
    return _rotary_decoder(file, "llama") | {"architectures": ["LlamaForCausalLM"]}


def _qwen2(file: GgufFile) -> dict[str, Any]:
    return _rotary_decoder(file, "qwen2") | {"architectures": ["Qwen2ForCausalLM"]}


def _qwen3(file: GgufFile) -> dict[str, Any]:
    return _rotary_decoder(file, "qwen3") | {"architectures": ["Qwen3ForCausalLM"]}


def _gemma(file: GgufFile) -> dict[str, Any]:
    return _rotary_decoder(file, "gemma") | {"architectures": ["GemmaForCausalLM"]}


def _gemma2(file: GgufFile) -> dict[str, Any]:
    return _rotary_decoder(file, "gemma2") | {
        "architectures": ["Gemma2ForCausalLM"],
        "sliding_window": _alternate_window(file, every=2),
        "query_pre_attn_scalar": _query_width(file, largest=46),
        "attn_logit_softcapping": float(file.number("attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": float(file.number("final_logit_softcapping", 30.0)),
    }


def _gemma3(file: GgufFile) -> dict[str, Any]:
    """Only the layers that see the whole text have the positions of the file; the others have their own."""
    found = _rotary_decoder(file, "gemma3_text")
    near = {"rope_type": "default", "rope_theta": float(file.number("rope.freq_base_swa", 10_000.0))}
    cap = float(file.number("final_logit_softcapping", 0.0))
    return found | {
        "architectures": ["Gemma3ForCausalLM"],
        "sliding_window": _alternate_window(file, every=6),
        "query_pre_attn_scalar": _query_width(file, largest=62),
        "final_logit_softcapping": cap or None,
        "rope_parameters": {"full_attention": found["rope_parameters"], "sliding_attention": near},
    }


def _alternate_window(file: GgufFile, *, every: int) -> int:
    """Return the tokens that most layers of Gemma see; each `every`th layer sees the whole text, which no file says."""
    pattern = file.metadata.get(f"{file.architecture}.attention.sliding_window_pattern", every)
    if pattern != every:
        what = f"{file.architecture}.attention.sliding_window_pattern is {pattern!r}, {every} is read from a GGUF file"
        raise refuse(file.path, what, fix=_ANOTHER)
    return _count(file, "attention.sliding_window")


def _query_width(file: GgufFile, *, largest: int) -> int:
    """Return the width by whose root Gemma divides its scores, which no file says: a head's, but in the model of 27 billion
    parameters, known by its `largest` number of layers, a head's share of the states."""
    heads, width = _count(file, "attention.head_count"), _count(file, "embedding_length")
    return width // heads if _count(file, "block_count") == largest else _count(file, "attention.key_length")


def _phi3(file: GgufFile) -> dict[str, Any]:
    """Without a padding token in the file it has none: the default of transformers may lie outside the vocabulary."""
    found = _rotary_decoder(file, "phi3") | {"architectures": ["Phi3ForCausalLM"], "pad_token_id": None}
    return found | {"sliding_window": file.number("attention.sliding_window", 0) or None}


def _gpt2(file: GgufFile) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": _count(file, "block_count"),
        "n_positions": _count(file, "context_length"),
        "n_embd": _count(file, "embedding_length"),
        "n_inner": _count(file, "feed_forward_length"),
        "n_head": _count(file, "attention.head_count"),
        "layer_norm_epsilon": float(file.number("attention.layer_norm_epsilon")),
    }


def _pair_halves(heads: str) -> Restore:
    """Llama's rotary pairs are neighbours in the file, half a head apart in transformers. `heads`: which number of the config."""

    def change(tensor: np.ndarray, config: dict[str, Any]) -> np.ndarray:
        pairs = tensor.reshape(config[heads], tensor.shape[0] // config[heads] // 2, 2, *tensor.shape[1:])
        return pairs.swapaxes(1, 2).reshape(tensor.shape)

    return change


def _subtract_one(tensor: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Gemma multiplies by 1 + weight, and such files hold the sum."""
    if tensor.dtype == np.uint16:  # the bits of bfloat16
        tensor = (tensor.astype(np.uint32) << 16).view(np.float32)
    return (tensor.astype(np.float32) - 1).astype(np.float32)


def _transpose(tensor: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    return tensor.T


_CHANGES_RESULTS = (
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.scale",
    "attn_logit_softcapping",
    "embedding_scale",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
)
"""Values that other models have; one of an architecture below that has them is another model."""
_IDS = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
_DECODER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_PAIRED = {"attn_q.weight": _pair_halves("num_attention_heads"), "attn_k.weight": _pair_halves("num_key_value_heads")}
_FOUR_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""Of Gemma 2 and 3, where a layer has a norm before and after each of its parts."""
_GEMMA_NORMS = ("output_norm", "attn_norm", *_FOUR_NORMS, *_QK_NORMS)
_SUMS: dict[str, Restore] = {f"{name}.weight": _subtract_one for name in _GEMMA_NORMS}
_FUSED = {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
_PHI3_LAYER = {name: own for name, own in _LAYER.items() if name not in ("attn_q", "attn_k", "attn_v", "ffn_gate")} | _FUSED
_CAPS = frozenset({"attn_logit_softcapping", "final_logit_softcapping"})
_GPT2_OUTSIDE = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
_GPT2_LAYER = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_CONV1D = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")

FAMILIES: dict[str, Family] = {
    "llama": Family(_llama, _DECODER, _LAYER, "model.layers", restore=_PAIRED),
    "qwen2": Family(_qwen2, _DECODER, _LAYER, "model.layers", biased=frozenset({"attn_q", "attn_k", "attn_v"})),
    "qwen3": Family(_qwen3, _DECODER, _LAYER | _QK_NORMS, "model.layers"),
    "gemma": Family(_gemma, _DECODER, _LAYER, "model.layers", restore=_SUMS),
    "gemma2": Family(_gemma2, _DECODER, _LAYER | _FOUR_NORMS, "model.layers", restore=_SUMS, capped=_CAPS),
    "gemma3": Family(
        _gemma3,
        _DECODER,
        _LAYER | _FOUR_NORMS | _QK_NORMS,
        "model.layers",
        restore=_SUMS,
        capped=frozenset({"final_logit_softcapping"}),
    ),
    "phi3": Family(_phi3, _DECODER, _PHI3_LAYER, "model.layers"),
    "gpt2": Family(
        _gpt2,
        _GPT2_OUTSIDE,
        _GPT2_LAYER,
        "transformer.h",
        restore={f"{name}.weight": _transpose for name in _CONV1D},
        biased=frozenset({"output_norm", *_GPT2_LAYER}),
    ),
}
"""By llama.cpp's name of the architecture; "llama" includes Mistral and SmolLM."""
