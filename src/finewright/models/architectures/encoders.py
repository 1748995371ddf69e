"""Encoders: BERT's family and DistilBERT."""

from finewright.models.architectures.base import Architecture, HeadKind


def encoder(model_type: str, *, body: str, head_kind: HeadKind, pooler: str = "") -> Architecture:
    """An encoder of BERT's family: the head reads the first token."""
    parts: dict[str, tuple[str, ...]] = {part: (f"attention.self.{part}",) for part in ("query", "key", "value")}
    parts |= {"output": ("attention.output.dense",), "mlp": ("intermediate.dense", "output.dense")}
    return Architecture(
        model_type=model_type,
        body=body,
        blocks=f"{body}.encoder.layer",
        parts=parts,
        head=("classifier",),
        head_kind=head_kind,
        pooler=pooler,
        pool="first",
        attention_entry="attention.self",
    )


DISTILBERT = Architecture(
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
    attention_entry="attention",
)
