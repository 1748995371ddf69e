"""Scale a fresh head so that training starts near the loss of guessing."""

from collections.abc import Sequence
from typing import Any

import torch

from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.models import meta
from finewright.models.architectures.base import Architecture
from finewright.models.forward import compute_logits
from finewright.models.prepared import PreparedModel, Runtime

PROBE_ROWS, PROBE_TOKENS = 32, 64
"""Number and length of the texts a fresh head is scaled on."""


def scale_head_on_texts(base: meta.BaseNetwork, texts: Sequence[str], *, bfloat16: bool = False) -> list[str]:
    """Scale a fresh head so that its loss starts near ln(classes) on the first of these texts; return notes for the user.

    `bfloat16`: four-bit matrices were loaded to compute in it.
    """
    probe = packing.encode_texts(base.origin.tokenizer, texts[:PROBE_ROWS], limit=PROBE_TOKENS)
    batch = packing.collate(probe, [row for row, length in enumerate(probe.lengths) if length])
    factor = scale_head(base.network, architecture=base.architecture, ids_T=batch.ids, layout=batch.layout, bfloat16=bfloat16)
    near = f"near ln({len(base.network.config.id2label)})"
    return [f"head: random start scaled by {factor:.3f}, so that the first loss is {near}"] if factor < 1 else []


HEAD_SPREAD = 0.3
"""Largest standard deviation over classes of a fresh head's scores; adds at most about 0.05 nats to ln(classes)."""


def scale_head(
    network: Any, *, architecture: Architecture, ids_T: torch.Tensor, layout: PackedLayout, bfloat16: bool = False
) -> float:
    """Scale a fresh head down until the scores of these texts spread by at most HEAD_SPREAD; return the factor.

    A usual random head assumes states of length about 1. GPT-2's last states are over 100 long: the first loss would be far
    above ln(classes). A head of zeros starts at ln(classes) too, but then Adam makes full-size steps in the body along the one
    direction such a head has, which ruins it (measured: trec6, one epoch, 38 % accuracy against 92 %).
    `bfloat16`: four-bit matrices compute in it, so everything else must too.
    """
    prepared_model = PreparedModel(
        network=network.eval(), trainable_module=network, architecture=architecture, runtime=Runtime(bfloat16=bfloat16)
    )
    with torch.no_grad():
        spread = float(compute_logits(prepared_model, ids_T, layout).std(dim=1).max())
        factor = min(1.0, HEAD_SPREAD / max(spread, 1e-9))
        for parameter in _last_linear(network, architecture).parameters():
            parameter.mul_(factor)
    return factor


def _last_linear(network: Any, architecture: Architecture) -> torch.nn.Linear:
    last = network.get_submodule(architecture.head[-1])
    return [module for module in last.modules() if isinstance(module, torch.nn.Linear)][-1]
