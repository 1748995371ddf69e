"""The forward pass: from the token ids of a batch to class scores, or to the losses of the tokens that a language model learns.

Shape suffixes: T tokens of all texts of a batch, N texts, L tokens of the longest, H hidden size, P prompt, C classes, M trained
tokens.
"""

import inspect
import itertools
from contextlib import nullcontext
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.data.packing import Batch
from finewright.models import cross_entropy
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


def compute_read_logits(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return the class scores of the tokens that have targets, float32, shape (M, C)."""
    network, architecture = prepared_model.network, prepared_model.architecture
    return HEADS[architecture.head_kind](network, architecture, _read_states(prepared_model, batch))


def _compute_padded_logits(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return the class scores of the tokens of each text that have targets, in order, with zeros after those of shorter texts,
    float32, shape (N, M of the text with the most, C)."""
    scores_MC = compute_read_logits(prepared_model, batch).float()
    return torch.nn.utils.rnn.pad_sequence(list(scores_MC.split(list(batch.num_targets))), batch_first=True)


def compute_token_losses(prepared_model: PreparedModel, batch: Batch, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return the cross-entropy of every trained token of a batch, in nats, float32, shape (M,)."""
    layer = cross_entropy.read_output_layer(prepared_model.network, bfloat16=prepared_model.runtime.bfloat16)
    states_MH = _read_states(prepared_model, batch)
    return cross_entropy.token_losses(states_MH, batch.targets, layer=layer, label_smoothing=label_smoothing)


def compute_text_sums(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return the sum of the log-probabilities of the targets of every text, and their number, for rows of several texts, in nats.

    float32, shape (R, P, 2). Gradients flow through the sums. Texts that are set aside are not among them.
    """
    assert batch.texts_RP is not None, "the rows consist of several texts"
    losses_M = compute_token_losses(prepared_model, batch)
    sums_N = torch.stack([-losses.sum() for losses in losses_M.split(list(batch.num_targets))])
    counts_N = torch.tensor(batch.num_targets, dtype=torch.float32, device=sums_N.device)
    return torch.stack([sums_N, counts_N], dim=1)[batch.texts_RP]


def compute_aside_sums(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return `compute_text_sums` of the texts that are set aside, without gradients, shape (R, A, 2)."""
    assert batch.aside is not None, "no text is set aside"
    with torch.no_grad():
        return compute_text_sums(prepared_model, batch.aside)


def compute_outputs(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return what a task reads of every text of a batch, float32, shape (N, C): the class scores.

    Where every token is read, those of the tokens that have targets, shape (N, M, C), with zeros after those of shorter texts.

    Of a language model it is the sum of the losses of a text's trained tokens, how many these are, and how many of them the model
    would have said itself, C = 3. Of rows of several texts it is, text by text, the sum of the log-probabilities, the number of
    tokens and, if it is known, the sum by the untrained model, shape (R, 2·P) or (R, 3·P).
    """
    if prepared_model.runtime.reads == "every-token":
        return _compute_padded_logits(prepared_model, batch)
    if prepared_model.runtime.reads != "next-token":
        return compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
    if batch.texts_RP is not None:
        sums = [compute_text_sums(prepared_model, batch)]
        sums += [] if batch.aside is None else [compute_aside_sums(prepared_model, batch)]
        found_RP2 = torch.cat(sums, dim=1)
        known = [found_RP2] if batch.reference is None else [found_RP2, batch.reference[:, :, None]]
        return torch.cat(known, dim=2).flatten(1)
    layer = cross_entropy.read_output_layer(prepared_model.network, bfloat16=prepared_model.runtime.bfloat16)
    states_MH = _read_states(prepared_model, batch)
    losses_M, right_M = cross_entropy.score_targets(states_MH, batch.targets, layer=layer)
    counts = list(batch.num_targets)
    sums = [
        torch.stack([loss.double().sum(), right.double().sum()])
        for loss, right in zip(losses_M.split(counts), right_M.split(counts), strict=True)
    ]
    sums_N2 = torch.stack(sums).float()
    counts_N = torch.tensor(counts, dtype=torch.float32, device=sums_N2.device)
    return torch.stack([sums_N2[:, 0], counts_N, sums_N2[:, 1]], dim=1)


def _read_states(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    assert batch.read is not None, "tokens have the targets"
    return compute_pooled_states(prepared_model, batch.ids, batch.layout, batch.states, read=batch.read)


def compute_pooled_states(
    prepared_model: PreparedModel,
    ids_T: torch.Tensor,
    layout: PackedLayout,
    states_TH: torch.Tensor | None = None,
    *,
    read: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the states that the head reads, float32, shape (N, H).

    For a task that reads more than one token of a text those of all tokens, (T, H), or of those that `read` names, (M, H).
    """
    network, architecture = prepared_model.network, prepared_model.architecture
    num_before = 0  # prompt tokens before every text's own ones
    with torch.autocast(ids_T.device.type, dtype=torch.bfloat16, enabled=prepared_model.runtime.bfloat16):
        above_prefix = nullcontext() if states_TH is None else prepared_model.runtime.frozen_prefix.serving(states_TH)
        if states_TH is None:
            states_TH = network.get_input_embeddings()(ids_T)
            states_TH = _with_noise(states_TH, layout, alpha=prepared_model.runtime.embedding_noise)
        if prepared_model.prompt is not None:
            shared = shares_prefix(architecture)
            states_TH, layout = _with_prompt(prepared_model.prompt, states_TH, layout, shared=shared)
            num_before = 0 if shared else prepared_model.prompt_tokens
        with above_prefix:
            hidden_TH = run_body(network, architecture, states_TH, layout)
    if prepared_model.runtime.reads != "pooled":
        own = None if not num_before and not layout.prefix else _own_tokens(layout, num_before).to(hidden_TH.device)
        if read is not None:
            return hidden_TH[read if own is None else own[read]].float()
        return (hidden_TH if own is None else hidden_TH[own]).float()
    pooled_last_layer = prepared_model.runtime.pooled_last_layer
    hidden_NH = None if pooled_last_layer is None else pooled_last_layer.take()
    if hidden_NH is None:
        hidden_NH = _pool(hidden_TH, layout, pooling=architecture.pooling, num_before=num_before)
    return hidden_NH.float()


def _own_tokens(layout: PackedLayout, num_before: int) -> torch.Tensor:
    """Return where each text's own tokens are, without those of a prompt before each or before all, shape (T,)."""
    ends = [*itertools.accumulate(layout.lengths, initial=layout.prefix)]
    return torch.cat([torch.arange(start + num_before, end) for start, end in itertools.pairwise(ends)])


def run_body(network: Any, architecture: Architecture, states_TH: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    """Run the body over the embeddings of all texts as the architecture wants: packed, padded, or length by length, (T, H)."""
    run = _run_packed
    if architecture.not_packable:
        run = _run_equal_lengths if architecture.needs_equal_lengths else _run_padded
    first_position = architecture.first_position(network.config)
    return run(network.get_submodule(architecture.body), states_TH, layout, first_position=first_position)


def _token_types(body: Any, layout: PackedLayout, *, device: torch.device) -> torch.Tensor | None:
    """The type of every token, shape (T,); None if all are 0 or the body tells no types apart."""
    if not layout.first_lengths or (getattr(body.config, "type_vocab_size", None) or 0) < 2:
        return None
    found = layout.token_types if "token_type_ids" in inspect.signature(body.forward).parameters else None
    return None if found is None else found.to(device)


def shares_prefix(architecture: Architecture) -> bool:
    """Whether one prompt can stand before all texts of a row: in a causal model no prompt token sees the text after it."""
    return architecture.is_causal and not architecture.not_packable


def _with_noise(states_TH: torch.Tensor, layout: PackedLayout, *, alpha: float) -> torch.Tensor:
    """The embeddings with uniform noise of at most alpha / sqrt(L · H) for a text of L tokens: NEFTune (Jain et al. 2023,
    arXiv:2310.05914). Each text of a packed row has its own L."""
    if not alpha or not torch.is_grad_enabled():
        return states_TH
    lengths_T = torch.tensor(layout.lengths, dtype=torch.float32).repeat_interleave(torch.tensor(layout.lengths))
    bound_T = alpha / (lengths_T * states_TH.shape[1]).sqrt()
    noise_TH = torch.empty_like(states_TH).uniform_(-1, 1)
    return states_TH + noise_TH * bound_T.to(states_TH)[:, None]


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
    types_T = _token_types(body, layout, device=states_TH.device)
    typed = {} if types_T is None else {"token_type_ids": types_T[None]}
    outputs = body(inputs_embeds=states_TH[None], position_ids=positions[None], use_cache=False, layout=layout, **typed)
    return outputs.last_hidden_state[0]


def _run_padded(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """Run one row per text, padded on the right, for architectures that cannot share a row."""
    texts = states_TH.split(list(layout.lengths))
    states_NLH = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    real_NL = torch.arange(states_NLH.shape[1])[None] < torch.tensor(layout.lengths)[:, None]
    mask_NL = real_NL.to(states_TH.device).long()
    types_T, types_NL = _token_types(body, layout, device=states_TH.device), None
    if types_T is not None:
        types_NL = torch.nn.utils.rnn.pad_sequence(list(types_T.split(list(layout.lengths))), batch_first=True)
    hidden_NLH = _run_rows(body, states_NLH, mask_NL, first_position=first_position, types_NL=types_NL)
    length = states_NLH.shape[1]  # counted, so that it works on the meta device too
    places = [torch.arange(count) + row * length for row, count in enumerate(layout.lengths)]
    return hidden_NLH.flatten(0, 1)[torch.cat(places).to(states_TH.device)]


def _run_equal_lengths(body: Any, states_TH: torch.Tensor, layout: PackedLayout, *, first_position: int) -> torch.Tensor:
    """Run the texts of each length by themselves, for architectures whose states padding changes."""
    pieces, sizes = [], [count * length for count, length in layout.groups]
    types_T = _token_types(body, layout, device=states_TH.device)
    types = [None] * len(sizes) if types_T is None else list(types_T.split(sizes))
    for group, states, some in zip(layout.groups, states_TH.split(sizes), types, strict=True):
        mask_NL = torch.ones(group, dtype=torch.long, device=states.device)
        rows = states.unflatten(0, group).clone()  # some bodies change their inputs in place, which autograd forbids for pieces
        types_NL = None if some is None else some.unflatten(0, group)
        pieces.append(_run_rows(body, rows, mask_NL, first_position=first_position, types_NL=types_NL).flatten(0, 1))
    return torch.cat(pieces)


def _run_rows(
    body: Any, states_NLH: torch.Tensor, mask_NL: torch.Tensor, *, first_position: int, types_NL: torch.Tensor | None
) -> torch.Tensor:
    """Run one row per text; a body gets the inputs that it takes."""
    inputs: dict[str, Any] = {"inputs_embeds": states_NLH, "attention_mask": mask_NL}
    if types_NL is not None:
        inputs["token_type_ids"] = types_NL
    taken = inspect.signature(body.forward).parameters
    if "use_cache" in taken or any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        inputs["use_cache"] = False
    if "position_ids" in taken:
        positions = torch.arange(states_NLH.shape[1], device=states_NLH.device) + first_position
        inputs["position_ids"] = positions.expand(len(states_NLH), -1)
    return body(**inputs).last_hidden_state
