"""GGUF files of tiny models, written by the package gguf under its own names of tensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

HEADS = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")
CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
NAMES = {"gemma3_text": "gemma3"}
"""What llama.cpp calls an architecture, where transformers calls it otherwise."""
BLOCK = 32
"""Numbers of a block of the simple quantized types."""


def pair_neighbours(weight: np.ndarray, heads: int) -> np.ndarray:
    """Llama's order of the rotary pairs in such files."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write(folder: Path, path: Path, *, kind: str = "F32", more: dict[str, Any] | None = None, leave_out: str = "") -> Path:
    """Write the model of a folder as one file. `kind`: of the matrices; `more`: metadata; `leave_out`: a tensor's name."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    name = NAMES.get(config["model_type"], config["model_type"])
    layers = config.get("n_layer") or config["num_hidden_layers"]
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(arch, layers)
    writer = gguf.GGUFWriter(path, name)
    write_config(writer, config)
    write_tokenizer(writer, folder)
    for key, value in (more or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    wanted = gguf.GGMLQuantizationType[kind]
    for own, tensor in load_file(folder / "model.safetensors").items():
        stem, _, ending = own.rpartition(".")
        found = f"{names.get_name(stem)}.{ending}"
        if found == leave_out:
            continue
        numbers = tensor.float().numpy()
        if name == "llama" and own.endswith(HEADS):
            numbers = pair_neighbours(numbers, config["num_attention_heads" if "q_proj" in own else "num_key_value_heads"])
        if name == "gpt2" and own.endswith(CONV1D):
            numbers = numbers.T
        if name.startswith("gemma") and own.endswith("norm.weight"):  # llama.cpp multiplies by the weight, Gemma by 1 + weight
            numbers = numbers + 1
        plain = numbers.ndim == 1 or (kind not in ("F16", "BF16") and numbers.shape[-1] % BLOCK)
        stored = gguf.GGMLQuantizationType.F32 if plain else wanted
        writer.add_tensor(found, gguf.quants.quantize(np.ascontiguousarray(numbers), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_config(writer: Any, config: dict[str, Any]) -> None:
    if config["model_type"] == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    write_positions(writer, config)
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_rope_dimension_count(config["head_dim"])


def write_positions(writer: Any, config: dict[str, Any]) -> None:
    """Write rotary positions, windows and caps, as far as llama.cpp writes them for the architecture."""
    kind, rope = config["model_type"], config["rope_parameters"]
    rope = rope.get("full_attention", rope)
    if kind not in ("gemma", "gemma2"):  # whose base is always the usual one
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind in ("gemma2", "gemma3_text", "phi3"):
        writer.add_sliding_window(config["sliding_window"] or 0)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def write_tokenizer(writer: Any, folder: Path) -> None:
    """Write the byte-level vocabulary of a tiny folder; every row of the embeddings has a token."""
    written = json.loads((folder / "tokenizer.json").read_text())
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    vocabulary, added = written["model"]["vocab"], {entry["id"] for entry in written["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    spare = [f"<spare{number}>" for number in range(len(tokens), rows)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens + spare)
    writer.add_token_types([3 if index in added else 1 for index in range(len(tokens))] + [5] * len(spare))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in written["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|endoftext|>"])
    writer.add_unk_token_id(vocabulary["<unk>"])
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    """What the language model of a folder says to some ids, computed by transformers alone."""
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return net(torch.tensor([ids])).logits
