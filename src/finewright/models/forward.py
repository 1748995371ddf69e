"""Token ids of a packed row, through a network, to class scores.

Shape suffixes: T tokens of all texts of a batch, N texts, L tokens of the longest, H hidden size, P prompt, C classes.
"""

import inspect
from contextlib import nullcontext
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.architectures.base import Architecture
from finewright.models.heads import HEADS
from finewright.models.prepared import PreparedModel


def compute_logits(
    prepared_model: PreparedModel, ids_T: torch.Tensor, layout: PackedLayout, states_TH: torch.Tensor | None = None
) -> torch.Tensor:
    """Class scores of every text of a batch, float32, shape (N, C).

    `states_TH`: what comes out of the frozen lower blocks, where that is known. The last token of a text is known from the
    layout; no id is ever searched for.
    """
    network, architecture, pooled_last_layer = (
        prepared_model.network,
        prepared_model.architecture,
        prepared_model.pooled_last_layer,
    )
    with torch.autocast(ids_T.device.type, dtype=torch.bfloat16, enabled=prepared_model.bfloat16):
        above_trunk = nullcontext() if states_TH is None else prepared_model.frozen_prefix.serving(states_TH)
        if states_TH is None:
            states_TH = network.get_input_embeddings()(ids_T)
        if prepared_model.prompt is not None:
            states_TH, layout = _with_prompt(prepared_model.prompt, states_TH, layout, shared=_shares_prefix(architecture))
        run = _padded if architecture.not_packable else _packed
        with above_trunk:
            hidden_TH = run(
                network.get_submodule(architecture.body), states_TH, layout, first_position=architecture.first_position
            )
    if prepared_model.reads == "every-token":
        own = slice(layout.prefix, None)
        return HEADS[architecture.head_kind](network, architecture, hidden_TH[own].float())
    hidden_NH = None if pooled_last_layer is None else pooled_last_layer.take()
    if hidden_NH is None:
        read = layout.last if architecture.pool == "last" else layout.first
        hidden_NH = hidden_TH[read.to(hidden_TH.device)]
    return HEADS[architecture.head_kind](network, architecture, hidden_NH.float())


def _shares_prefix(architecture: Architecture) -> bool:
    """Whether what stands before a text is the same for every text: nothing in a causal model's prompt sees the text."""
    return architecture.pool == "last" and not architecture.not_packable


def _with_prompt(
    prompt_PH: torch.Tensor, states_TH: torch.Tensor, layout: PackedLayout, *, shared: bool
) -> tuple[torch.Tensor, PackedLayout]:
    """The prompt before every text, or once for all of them: shape (T + N·P, H) or (T + P, H), and the layout of it."""
    prompt_PH = prompt_PH.to(states_TH.dtype)
    if shared:
        return torch.cat([prompt_PH, states_TH]), layout.prefixed(len(prompt_PH))
    pieces = []
    for text in states_TH.split(list(layout.lengths)):
        pieces += [prompt_PH, text]
    return torch.cat(pieces), layout.lengthened(len(prompt_PH))


def _packed(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """All texts in one row: no padding, attention inside each text by the layout."""
    positions = (layout.positions + first_position).to(states_TH.device)
    outputs = body(inputs_embeds=states_TH[None], position_ids=positions[None], use_cache=False, layout=layout)
    return outputs.last_hidden_state[0]


def _padded(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """One row per text, padded on the right, for architectures that cannot share a row."""
    texts = states_TH.split(list(layout.lengths))
    states_NLH = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    real_NL = torch.arange(states_NLH.shape[1])[None] < torch.tensor(layout.lengths)[:, None]
    real_NL = real_NL.to(states_TH.device)
    inputs = {"inputs_embeds": states_NLH, "attention_mask": real_NL.long(), "use_cache": False}
    if "position_ids" in inspect.signature(body.forward).parameters:
        inputs["position_ids"] = torch.arange(states_NLH.shape[1], device=states_TH.device)[None] + first_position
    length = states_NLH.shape[1]  # places are counted, not searched for: a shape without numbers has them too
    places = [torch.arange(count) + row * length for row, count in enumerate(layout.lengths)]
    return body(**inputs).last_hidden_state.flatten(0, 1)[torch.cat(places).to(states_TH.device)]
