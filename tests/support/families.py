"""Tiny configs of all other architectures, described and derived; `tiny` has the common ones."""

from collections.abc import Callable
from functools import partial
from typing import Any

import transformers

VOCABULARY = 320
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _like_llama(kind: str, **extra: Any) -> Callable[[], Any]:
    return _of(kind, **({"num_key_value_heads": 2, "head_dim": 8} | extra))


def _of(kind: str, **extra: Any) -> Callable[[], Any]:
    """A function that builds the config of a class; extra values of None leave the size to the class."""
    values = {name: value for name, value in (_SIZES | extra).items() if value is not None}
    return partial(_build, kind, values)


def _build(kind: str, values: dict[str, Any]) -> Any:
    return getattr(transformers, kind)(**values)


def _known(configs: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """Those that the installed transformers has."""
    return {kind: build for kind, build in configs.items() if kind in transformers.CONFIG_MAPPING}


_LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "hidden_size": None, "num_hidden_layers": None}
_T5 |= {"intermediate_size": None, "num_attention_heads": None, "max_position_embeddings": None, "bos_token_id": None}
_GPT = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "rotary_dim": 4}
_GPT |= dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size"))
_BIGCODE = {name: value for name, value in _GPT.items() if name != "rotary_dim"}
_MPT = {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2}
_MPT |= dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size"))
_FALCON = {"intermediate_size": None, "ffn_hidden_size": 48, "num_kv_heads": 2}
_GPT_NEO = {
    "intermediate_size": 48,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 4,
}
_GPT_NEO |= {"num_hidden_layers": None, "num_attention_heads": None}

DECODERS: dict[str, Callable[[], Any]] = {
    "phi3": _like_llama("Phi3Config", head_dim=None, sliding_window=4),
    "phi": _of("PhiConfig", num_key_value_heads=2),
    "gemma": _like_llama("GemmaConfig"),
    "gemma2": _like_llama("Gemma2Config", attn_logit_softcapping=0.05, **_LAYERS),
    "gemma3_text": _like_llama("Gemma3TextConfig", **_LAYERS),
    "olmo": _like_llama("OlmoConfig", head_dim=None),
    "olmo2": _like_llama("Olmo2Config", head_dim=None),
    "olmo3": _like_llama("Olmo3Config", head_dim=None, **_LAYERS),
    "smollm3": _like_llama("SmolLM3Config", head_dim=None, no_rope_layers=[1, 0]),
    "ministral": _like_llama("MinistralConfig", **_LAYERS),
    "ministral3": _like_llama("Ministral3Config"),
    "seed_oss": _like_llama("SeedOssConfig"),
    "helium": _like_llama("HeliumConfig"),
    "hunyuan_v1_dense": _like_llama("HunYuanDenseV1Config"),
    "exaone4": _like_llama("Exaone4Config", head_dim=None, **_LAYERS),
    "glm": _like_llama("GlmConfig"),
    "glm4": _like_llama("Glm4Config"),
    "arcee": _like_llama("ArceeConfig"),
    "starcoder2": _like_llama("Starcoder2Config", head_dim=None, sliding_window=4),
    "gpt_bigcode": _of("GPTBigCodeConfig", **_BIGCODE),
    "persimmon": _of("PersimmonConfig"),
    "mixtral": _like_llama("MixtralConfig", **_EXPERTS),
    "qwen2_moe": _like_llama("Qwen2MoeConfig", head_dim=None, shared_expert_intermediate_size=16, **_EXPERTS),
    "qwen3_moe": _like_llama("Qwen3MoeConfig", **_EXPERTS),
    "phimoe": _like_llama("PhimoeConfig", head_dim=None, **_EXPERTS),
    "gpt_oss": _like_llama("GptOssConfig", **_LAYERS, **_EXPERTS),
    "mpt": _of("MptConfig", **_MPT),
    "falcon": _of("FalconConfig", new_decoder_architecture=True, **_FALCON),
    "gptj": _of("GPTJConfig", **_GPT),
    "gpt_neo": _of("GPTNeoConfig", **_GPT_NEO),
    "stablelm": _like_llama("StableLmConfig", head_dim=None),
    "nemotron": _like_llama("NemotronConfig"),
    "modernbert-decoder": _of("ModernBertDecoderConfig", local_attention=8, global_attn_every_n_layers=2),
}
BODIES: dict[str, Callable[[], Any]] = {
    "granite": _like_llama("GraniteConfig", head_dim=None, embedding_multiplier=2.0, residual_multiplier=0.5),
    "granitemoe": _like_llama("GraniteMoeConfig", head_dim=None, **_EXPERTS),
    "olmoe": _like_llama("OlmoeConfig", head_dim=None, **_EXPERTS),
    "ernie4_5": _like_llama("Ernie4_5Config"),
    "cohere": _like_llama("CohereConfig", head_dim=None),
    "cohere2": _like_llama("Cohere2Config", **_LAYERS),
    "apertus": _like_llama("ApertusConfig", head_dim=None),
    "lfm2": _like_llama("Lfm2Config", head_dim=None, layer_types=["conv", "full_attention"]),
    "codegen": _of("CodeGenConfig", **_GPT),
    "t5": _of("T5Config", **_T5),
    "mt5": _of("MT5Config", **_T5),
}
ENCODERS: dict[str, Callable[[], Any]] = {
    "modernbert": _of("ModernBertConfig", local_attention=8, global_attn_every_n_layers=2, classifier_pooling="cls"),
    "eurobert": _like_llama("EuroBertConfig", head_dim=None, classifier_pooling="mean"),
    "electra": _of("ElectraConfig", embedding_size=16),
    "camembert": _of("CamembertConfig", pad_token_id=1, type_vocab_size=1),
    "xlm-roberta-xl": _of("XLMRobertaXLConfig", pad_token_id=1, type_vocab_size=1),
    "ernie": _of("ErnieConfig"),
    "albert": _of("AlbertConfig", embedding_size=16),
    "nomic_bert": _of("NomicBertConfig"),
    "gte": _of("GteConfig"),
    "jina_embeddings_v3": _of("JinaEmbeddingsV3Config"),
    "mpnet": _of("MPNetConfig", pad_token_id=1),
    "deberta": _of("DebertaConfig", relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=16),
    "deberta-v2": _of(
        "DebertaV2Config",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        max_relative_positions=16,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    ),
}
_XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 66, "hidden_size": None, "n_words": VOCABULARY}
_XLM |= {"vocab_size": None, "num_hidden_layers": None, "num_attention_heads": None, "intermediate_size": None}
_XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "hidden_size": None, "num_hidden_layers": None}
_XLNET |= {"num_attention_heads": None, "intermediate_size": None, "max_position_embeddings": None}
_CTRL = {name: value for name, value in _GPT.items() if name not in ("n_inner", "rotary_dim")} | {"dff": 48}
DERIVED: dict[str, Callable[[], Any]] = {
    "biogpt": _of("BioGptConfig"),
    "data2vec-text": _of("Data2VecTextConfig", pad_token_id=1, type_vocab_size=1),
    "roformer": _of("RoFormerConfig", embedding_size=32),
    "rembert": _of("RemBertConfig", input_embedding_size=16, output_embedding_size=16),
    "megatron-bert": _of("MegatronBertConfig"),
    "fnet": _of("FNetConfig", num_attention_heads=None),
    "convbert": _of("ConvBertConfig", embedding_size=32),
    "xlm": _of("XLMConfig", **_XLM),
    "xlnet": _of("XLNetConfig", **_XLNET),
    "ctrl": _of("CTRLConfig", **_CTRL),
    "umt5": _of("UMT5Config", **_T5),
    "mamba": _of("MambaConfig", state_size=4, num_attention_heads=None, intermediate_size=None, max_position_embeddings=None),
    "glm4_moe": _like_llama("Glm4MoeConfig", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, n_group=1),
    "nanochat": _like_llama("NanoChatConfig", head_dim=None),
    "bitnet": _like_llama("BitNetConfig", head_dim=None),
}
"""A choice of those that nobody described: packed, padded and length by length, with and without a head of their own."""
DERIVED = _known(DERIVED)
CONFIGS = _known(DECODERS | BODIES | ENCODERS) | DERIVED
