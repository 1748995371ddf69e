"""The forward pass: from the token ids of a batch to class scores.

Shape suffixes: T tokens of all texts of a batch, N texts, L tokens of the longest, H hidden size, P prompt, C classes.
"""

import inspect
from contextlib import nullcontext
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.architectures.base import Architecture, Pooling
from finewright.models.heads import HEADS
from finewright.models.prepared import PreparedModel


def compute_logits(
    prepared_model: PreparedModel, ids_T: torch.Tensor, layout: PackedLayout, states_TH: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the class scores of every text of a batch, float32, shape (N, C).

    `states_TH`: cached output of the frozen layers. The layout says which token is a text's last one; no id is searched for.
    """
    network, architecture = prepared_model.network, prepared_model.architecture
    return HEADS[architecture.head_kind](network, architecture, compute_pooled_states(prepared_model, ids_T, layout, states_TH))


def compute_pooled_states(
    prepared_model: PreparedModel, ids_T: torch.Tensor, layout: PackedLayout, states_TH: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the states that the head reads, float32, shape (N, H); those of all tokens for a task that reads every one."""
    network, architecture = prepared_model.network, prepared_model.architecture
    num_before = 0  # prompt tokens before every text's own ones
    with torch.autocast(ids_T.device.type, dtype=torch.bfloat16, enabled=prepared_model.runtime.bfloat16):
        above_prefix = nullcontext() if states_TH is None else prepared_model.runtime.frozen_prefix.serving(states_TH)
        if states_TH is None:
            states_TH = network.get_input_embeddings()(ids_T)
        if prepared_model.prompt is not None:
            shared = shares_prefix(architecture)
            states_TH, layout = _with_prompt(prepared_model.prompt, states_TH, layout, shared=shared)
            num_before = 0 if shared else prepared_model.prompt_tokens
        with above_prefix:
            hidden_TH = run_body(network, architecture, states_TH, layout)
    if prepared_model.runtime.reads == "every-token":
        spans = zip(layout.first.tolist(), layout.last.tolist(), strict=True)
        own = torch.cat([torch.arange(first + num_before, last + 1) for first, last in spans])
        return hidden_TH[own.to(hidden_TH.device)].float()
    pooled_last_layer = prepared_model.runtime.pooled_last_layer
    hidden_NH = None if pooled_last_layer is None else pooled_last_layer.take()
    if hidden_NH is None:
        hidden_NH = _pool(hidden_TH, layout, pooling=architecture.pooling, num_before=num_before)
    return hidden_NH.float()


def run_body(network: Any, architecture: Architecture, states_TH: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    """Run the body over the embeddings of all texts as the architecture wants: packed, padded, or length by length, (T, H)."""
    run = _run_packed
    if architecture.not_packable:
        run = _run_equal_lengths if architecture.needs_equal_lengths else _run_padded
    first_position = architecture.first_position(network.config)
    return run(network.get_submodule(architecture.body), states_TH, layout, first_position=first_position)


def shares_prefix(architecture: Architecture) -> bool:
    """Whether one prompt can stand before all texts of a row: in a causal model no prompt token sees the text after it."""
    return architecture.is_causal and not architecture.not_packable


def _pool(states_TH: torch.Tensor, layout: PackedLayout, *, pooling: Pooling, num_before: int) -> torch.Tensor:
    """The states the head reads, shape (N, H); with pooling "none" those of all tokens.

    `num_before`: tokens of a prompt that lead every text. A mean leaves them out, as it leaves out a shared prefix.
    """
    if pooling in ("last", "first"):
        return states_TH[(layout.last if pooling == "last" else layout.first).to(states_TH.device)]
    sizes = [layout.prefix, *(count * length for count, length in layout.groups)]
    pieces = states_TH.split(sizes)[1:]
    texts = [piece.unflatten(0, group)[:, num_before:] for piece, group in zip(pieces, layout.groups, strict=True)]
    return torch.cat([text.float().mean(dim=1) if pooling == "mean" else text.flatten(0, 1) for text in texts])


def _with_prompt(
    prompt_PH: torch.Tensor, states_TH: torch.Tensor, layout: PackedLayout, *, shared: bool
) -> tuple[torch.Tensor, PackedLayout]:
    """The states with the prompt before every text, (T + N·P, H), or `shared`, once for all, (T + P, H); and their layout."""
    prompt_PH = prompt_PH.to(states_TH.dtype)
    if shared:
        return torch.cat([prompt_PH, states_TH]), layout.prefixed(len(prompt_PH))
    pieces = []
    for text in states_TH.split(list(layout.lengths)):
        pieces += [prompt_PH, text]
    return torch.cat(pieces), layout.lengthened(len(prompt_PH))


def _run_packed(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """Run all texts as one row without padding; the layout keeps attention inside each text."""
    positions = (layout.positions + first_position).to(states_TH.device)
    outputs = body(inputs_embeds=states_TH[None], position_ids=positions[None], use_cache=False, layout=layout)
    return outputs.last_hidden_state[0]


def _run_padded(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """Run one row per text, padded on the right, for architectures that cannot share a row."""
    texts = states_TH.split(list(layout.lengths))
    states_NLH = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    real_NL = torch.arange(states_NLH.shape[1])[None] < torch.tensor(layout.lengths)[:, None]
    mask_NL = real_NL.to(states_TH.device).long()
    hidden_NLH = _run_rows(body, states_NLH, mask_NL, first_position=first_position)
    length = states_NLH.shape[1]  # counted, so that it works on the meta device too
    places = [torch.arange(count) + row * length for row, count in enumerate(layout.lengths)]
    return hidden_NLH.flatten(0, 1)[torch.cat(places).to(states_TH.device)]


def _run_equal_lengths(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """Run the texts of each length by themselves, for architectures whose states padding changes."""
    pieces = []
    for group, states in zip(layout.groups, states_TH.split([count * length for count, length in layout.groups]), strict=True):
        mask_NL = torch.ones(group, dtype=torch.long, device=states.device)
        rows = states.unflatten(0, group).clone()  # some bodies change their inputs in place, which autograd forbids for pieces
        pieces.append(_run_rows(body, rows, mask_NL, first_position=first_position).flatten(0, 1))
    return torch.cat(pieces)


def _run_rows(body: Any, states_NLH: torch.Tensor, mask_NL: torch.Tensor, *, first_position: int) -> torch.Tensor:
    """Run one row per text; a body gets the inputs that it takes."""
    inputs: dict[str, Any] = {"inputs_embeds": states_NLH, "attention_mask": mask_NL}
    taken = inspect.signature(body.forward).parameters
    if "use_cache" in taken or any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        inputs["use_cache"] = False
    if "position_ids" in taken:
        positions = torch.arange(states_NLH.shape[1], device=states_NLH.device) + first_position
        inputs["position_ids"] = positions.expand(len(states_NLH), -1)
    return body(**inputs).last_hidden_state
