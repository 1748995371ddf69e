"""Encoders: BERT's family and DistilBERT."""

from typing import Any

from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture


def _position_after_padding(config: Any) -> int:
    """RoBERTa counts positions from padding_idx + 1."""
    if not isinstance(config.pad_token_id, int) or config.pad_token_id < 0:
        raise UserError("positions are counted from pad_token_id, which is missing", where="config.json", fix="add it")
    return config.pad_token_id + 1


_NAMES = {part: (f"attention.self.{part}",) for part in ("query", "key", "value")}
_NAMES |= {"output": ("attention.output.dense",), "mlp": ("intermediate.dense", "output.dense")}

_BERT = Architecture(
    model_type="bert",
    is_causal=False,
    pooling="first",
    body="bert",
    layers="bert.encoder.layer",
    projections=_NAMES,
    head=("classifier",),
    head_kind="pooler",
    pooler="bert.pooler",
    attention_entry="attention.self",
)


def _roberta(model_type: str) -> Architecture:
    return Architecture(
        model_type=model_type,
        is_causal=False,
        pooling="first",
        body="roberta",
        layers="roberta.encoder.layer",
        projections=_NAMES,
        head=("classifier",),
        head_kind="features",
        first_position=_position_after_padding,
        attention_entry="attention.self",
    )


_DISTILBERT = Architecture(
    model_type="distilbert",
    is_causal=False,
    pooling="first",
    body="distilbert",
    layers="distilbert.transformer.layer",
    projections={
        "query": ("attention.q_lin",),
        "key": ("attention.k_lin",),
        "value": ("attention.v_lin",),
        "output": ("attention.out_lin",),
        "mlp": ("ffn.lin1", "ffn.lin2"),
    },
    head=("pre_classifier", "classifier"),
    head_kind="distilled",
    attention_entry="attention",
)

ARCHITECTURES = (_BERT, _roberta("roberta"), _roberta("xlm-roberta"), _DISTILBERT)
