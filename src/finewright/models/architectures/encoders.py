"""Encoders: BERT's family, its successors, and those with attention of their own."""

from collections.abc import Mapping
from typing import Any

from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture, Pooling, contiguous_qkv, count_after_padding, interleaved_qkv
from finewright.models.architectures.decoders import OWN_ATTENTION, decoder


def _encoder(model_type: str, body: str, layers: str, projections: Mapping[str, tuple[str, ...]], **other: Any) -> Architecture:
    """An encoder whose head reads the first token. `other`: further fields."""
    fields: dict[str, Any] = {"is_causal": False, "pooling": "first", "head": ("classifier",)} | other
    return Architecture(model_type=model_type, body=body, layers=f"{body}.{layers}", projections=projections, **fields)


_NAMES = {part: (f"attention.self.{part}",) for part in ("query", "key", "value")}
_NAMES |= {"output": ("attention.output.dense",), "mlp": ("intermediate.dense", "output.dense")}
_POOLER = {"head_kind": "pooler", "attention_entry": "attention.self"}
_FEATURES = {"head_kind": "features", "attention_entry": "attention.self"}
_ROBERTA = {**_FEATURES, "first_position": count_after_padding}

_DISTILBERT = {name: (f"attention.{leaf}_lin",) for name, leaf in (("query", "q"), ("key", "k"), ("value", "v"))}
_DISTILBERT |= {"output": ("attention.out_lin",), "mlp": ("ffn.lin1", "ffn.lin2")}
_SELF_ATTENTION = {name: (f"self_attn.{name[0]}_proj",) for name in ("query", "key", "value", "output")}
_GATED = {**_SELF_ATTENTION, "mlp": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
_JINA = {**_SELF_ATTENTION, "mlp": ("mlp.fc1", "mlp.fc2")}
_MODERNBERT = {**dict.fromkeys(("query", "key", "value"), ("attn.Wqkv",)), "output": ("attn.Wo",), "mlp": ("mlp.Wi", "mlp.Wo")}
_ALBERT = {name: (f"attention.{name}",) for name in ("query", "key", "value")}
_ALBERT |= {"output": ("attention.dense",), "mlp": ("ffn", "ffn_output")}
_MPNET = {name: (f"attention.attn.{name[0]}",) for name in ("query", "key", "value", "output")} | {"mlp": _NAMES["mlp"]}
_DEBERTA_V2 = {part: (f"attention.self.{part}_proj",) for part in ("query", "key", "value")}
_DEBERTA_V2 |= {"output": _NAMES["output"], "mlp": _NAMES["mlp"]}
_DEBERTA = {**dict.fromkeys(("query", "key", "value"), ("attention.self.in_proj",)), "output": _NAMES["output"]}
_DEBERTA |= {"mlp": _NAMES["mlp"]}
_DEBERTA_HEAD = {"head": ("pooler", "classifier"), "head_kind": "context", "not_packable": OWN_ATTENTION}
_ETTIN_DECODER = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.Wo", "mlp.Wi", "mlp.Wo")


def _stated_pooling(config: Any, known: Mapping[str, Pooling]) -> Pooling:
    said = config.classifier_pooling
    if said not in known:
        what = f"classifier_pooling is {said!r}, wanted one of {', '.join(known)}"
        raise UserError(what, where="config.json", fix="bring back the config that belongs to the weights")
    return known[said]


def _modernbert_pooling(config: Any) -> Mapping[str, Any]:
    return {
        "pooling": _stated_pooling(config, {"cls": "first", "mean": "mean"}),
        "pooling_reason": f"classifier_pooling is {config.classifier_pooling} in config.json",
    }


def _eurobert_pooling(config: Any) -> Mapping[str, Any]:
    """With "late" the head scores every token and the scores are averaged: a linear head on the mean takes its place."""
    said = f"classifier_pooling is {config.classifier_pooling} in config.json"
    if config.classifier_pooling == "late":
        own = {"pooling": "mean", "head": ("classifier",), "head_kind": "classifier", "has_standard_head": False}
        own |= {"stock_head": ("dense", "classifier")}
        return own | {"pooling_reason": f"{said}, which scores every token; a linear head on their mean takes its place"}
    return {"pooling": _stated_pooling(config, {"bos": "first", "mean": "mean"}), "pooling_reason": said}


def _electra_layers(config: Any) -> Mapping[str, Any]:
    """Embeddings narrower than the layers are projected first, so what the layers put out is no input of the body."""
    return {"has_plain_layers": config.embedding_size == config.hidden_size}


ARCHITECTURES = (
    _encoder("bert", "bert", "encoder.layer", _NAMES, pooler="bert.pooler", **_POOLER),
    _encoder("ernie", "ernie", "encoder.layer", _NAMES, pooler="ernie.pooler", **_POOLER),
    *(_encoder(name, "roberta", "encoder.layer", _NAMES, **_ROBERTA) for name in ("roberta", "xlm-roberta", "camembert")),
    _encoder(
        "xlm-roberta-xl",
        "roberta",
        "encoder.layer",
        _NAMES,
        **{**_ROBERTA, "attention_entry": "attention.self_attn_layer_norm", "final_norm": "roberta.encoder.LayerNorm"},
    ),
    _encoder("electra", "electra", "encoder.layer", _NAMES, change=_electra_layers, **_FEATURES),
    _encoder(
        "distilbert",
        "distilbert",
        "transformer.layer",
        _DISTILBERT,
        head=("pre_classifier", "classifier"),
        head_kind="distilled",
        attention_entry="attention",
    ),
    _encoder(
        "albert",
        "albert",
        "encoder.albert_layer_groups.0.albert_layers",
        _ALBERT,
        head_kind="albert",
        pooler="albert.pooler",
        has_plain_layers=False,
        shares_layers="all its layers are one, run many times with the same weights",
    ),
    _encoder(
        "modernbert",
        "model",
        "layers",
        _MODERNBERT,
        head=("head", "classifier"),
        head_kind="normed",
        qkv_slices=contiguous_qkv,
        final_norm="model.final_norm",
        attention_entry="attn_norm",
        change=_modernbert_pooling,
    ),
    decoder(
        "modernbert-decoder",
        ("model", "layers", "final_norm", *_ETTIN_DECODER),
        head=("head", "classifier"),
        head_kind="normed",
        entry="attn_norm",
    ),
    _encoder(
        "eurobert",
        "model",
        "layers",
        _GATED,
        head=("dense", "classifier"),
        head_kind="gelu",
        final_norm="model.norm",
        attention_entry="input_layernorm",
        change=_eurobert_pooling,
    ),
    *(
        _encoder(name, name, "layers", _GATED, head_kind="pooler", pooler=f"{name}.pooler", attention_entry="self_attn")
        for name in ("nomic_bert", "gte")
    ),
    _encoder("jina_embeddings_v3", "roberta", "layers", _JINA, head_kind="features", attention_entry="self_attn"),
    _encoder(
        "mpnet",
        "mpnet",
        "encoder.layer",
        _MPNET,
        head_kind="features",
        first_position=count_after_padding,
        not_packable=OWN_ATTENTION,
    ),
    _encoder("deberta", "deberta", "encoder.layer", _DEBERTA, qkv_slices=interleaved_qkv, **_DEBERTA_HEAD),
    _encoder("deberta-v2", "deberta", "encoder.layer", _DEBERTA_V2, **_DEBERTA_HEAD),
)
