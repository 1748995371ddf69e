"""Scale a fresh head so that training starts near the loss of guessing."""

from collections.abc import Sequence
from typing import Any

import torch

from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.data.text_pairs import TextInput
from finewright.models import meta
from finewright.models.architectures.base import Architecture
from finewright.models.forward import compute_logits
from finewright.models.head_start import recording_inputs

PROBE_ROWS, PROBE_TOKENS = 32, 64
"""Number and length of the texts a fresh head is scaled on."""


def scale_head_on_texts(
    base: meta.BaseNetwork, texts: Sequence[TextInput], *, bfloat16: bool = False, first_output: float = 0.0
) -> list[str]:
    """Scale a fresh head so that its loss starts near ln(classes) on the first of these texts; return notes for the user.

    `bfloat16`: four-bit matrices were loaded to compute in it. `first_output`: what a head with one output then starts at.
    """
    probe = packing.encode_texts(base.origin.tokenizer, texts[:PROBE_ROWS], limit=PROBE_TOKENS)
    batch = packing.collate(probe, [row for row, length in enumerate(probe.lengths) if length])
    factor = scale_head(base, ids_T=batch.ids, layout=batch.layout, bfloat16=bfloat16)
    if first_output:
        shift_head(base, ids_T=batch.ids, layout=batch.layout, to=first_output, bfloat16=bfloat16)
    known = base.head_spec.first_loss
    near = "its first outputs are small" if known is None else f"the first loss is near {known:.3f}, that of guessing"
    return [f"head: random start scaled by {factor:.3f}, so that {near}"] if factor < 1 else []


HEAD_SPREAD = 0.3
"""Largest standard deviation over classes of a fresh head's scores; adds at most about 0.05 nats to ln(classes).

Of a head with one output: the largest size of that output."""


def scale_head(base: meta.BaseNetwork, *, ids_T: torch.Tensor, layout: PackedLayout, bfloat16: bool = False) -> float:
    """Scale a fresh head down until its outputs for these texts spread by at most HEAD_SPREAD; return the factor.

    A usual random head assumes states of length about 1. GPT-2's last states are over 100 long: the first loss would be far
    above ln(classes). A head of zeros starts at ln(classes) too, but then Adam makes full-size steps in the body along the one
    direction such a head has, which ruins it (measured: trec6, one epoch, 38% accuracy against 92%).
    `bfloat16`: four-bit matrices compute in it, so everything else must too.
    """
    base.network.eval()
    prepared_model = base.as_prepared()
    prepared_model.runtime.bfloat16 = bfloat16
    with torch.no_grad():
        outputs = compute_logits(prepared_model, ids_T, layout)
        spread = float((outputs.std(dim=1) if outputs.shape[1] > 1 else outputs.abs()).max())
        factor = min(1.0, HEAD_SPREAD / max(spread, 1e-9))
        for parameter in _last_linear(base.network, base.architecture).parameters():
            parameter.mul_(factor)
    return factor


def shift_head(base: meta.BaseNetwork, *, ids_T: torch.Tensor, layout: PackedLayout, to: float, bfloat16: bool = False) -> None:
    """Add `to` to the output of a fresh head, by its bias. A head without one gets it from the mean state of these texts: about
    the same for others, as the states of a decoder have a large part in common."""
    last = _last_linear(base.network, base.architecture)
    with torch.no_grad():
        if last.bias is not None:
            last.bias.add_(to)
            return
        prepared_model = base.as_prepared()
        prepared_model.runtime.bfloat16 = bfloat16
        with recording_inputs(last) as recorder:
            compute_logits(prepared_model, ids_T, layout)
        mean_F = torch.from_numpy(recorder.take()).mean(dim=0).to(last.weight.device)
        last.weight.add_(to * mean_F / mean_F.square().sum().clamp(min=1e-12))


def _last_linear(network: Any, architecture: Architecture) -> torch.nn.Linear:
    last = network.get_submodule(architecture.head[-1])
    return [module for module in last.modules() if isinstance(module, torch.nn.Linear)][-1]
