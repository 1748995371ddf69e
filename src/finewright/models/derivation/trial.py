"""Try a derived architecture on a small copy of its network: only what gives transformers' own states is used.

Shape suffixes: T tokens of a text, N texts, H hidden size.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from finewright.core.errors import UserError, first_line
from finewright.data.layout import PackedLayout
from finewright.models import forward, network_class, pooling
from finewright.models.architectures.base import (
    Architecture,
    Pooling,
    count_after_padding,
    count_from_zero,
    without_numbers,
)
from finewright.models.attention import packed
from finewright.models.derivation import small_copy
from finewright.models.heads import HEADS

TOLERANCE = 1e-5
"""Largest difference of states, in units of their largest value."""
_LENGTHS = (3, 5, 5, 9, 40)


def try_architecture(found: Architecture, config: Any, *, network: Any) -> Architecture:
    """Return the architecture with everything that a small copy shows: direction, positions, head, and how texts share a batch.

    `network`: the real one, on the meta device. Raise `UserError` if even one text alone cannot be computed as transformers does.
    """
    with ExitStack() as inside:
        inside.enter_context(warnings.catch_warnings(action="ignore"))
        for context in (
            torch.inference_mode(mode=False),
            torch.no_grad(),
            torch.device("cpu"),
            torch.random.fork_rng(devices=[]),
        ):
            inside.enter_context(context)
        small, texts, states = _run_small_copy(found, config, network=network)
        found = _with_positions(found, small, texts, states)
        found = replace(found, is_causal=_is_causal(small, found, texts[-1], states[-1]))
        found = _with_head(found, small, texts, states)
        unused = _find_unused(small, found, texts)
        return replace(_with_batches(found, small, texts, states), unused=unused)


def _run_small_copy(found: Architecture, config: Any, *, network: Any) -> tuple[Any, list[torch.Tensor], list[torch.Tensor]]:
    """Return the first small copy that runs, a few texts, and their states by transformers."""
    reason = ""
    try:
        for small in small_copy.build_small_copies(config, layers=network.get_submodule(found.layers)):
            texts = _texts(small)
            try:
                states = [_stock_states(small, found, text) for text in texts]
            except Exception as error:  # code of another project can raise anything
                reason = reason or f"its network does not run on a text: {first_line(error)}"
                continue
            if all(len(one) == len(text) for one, text in zip(states, texts, strict=True)):
                return small, texts, states
            reason = "its last states are not one for each token"
    except Exception as error:  # as above
        reason = f"no small copy of its network can be built to try it on: {first_line(error)}"
    raise _refused(found, reason)


def _texts(small: Any) -> list[torch.Tensor]:
    """Texts of a few lengths without special tokens."""
    config, generator = small.config, torch.Generator().manual_seed(1)
    special = [getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")]
    special += [token for tokens in special if isinstance(tokens, list) for token in tokens]
    usual = torch.tensor([token for token in range(small_copy.VOCABULARY) if token not in special])
    return [usual[torch.randint(0, len(usual), (length,), generator=generator)] for length in _LENGTHS]


def _stock_states(small: Any, found: Architecture, text_T: torch.Tensor) -> torch.Tensor:
    """The last states of one text as transformers computes them from token ids, (T, H)."""
    body = small.get_submodule(found.body)
    return body(input_ids=text_T[None], attention_mask=torch.ones_like(text_T)[None]).last_hidden_state[0]


def _own_states(small: Any, found: Architecture, texts: list[torch.Tensor]) -> list[torch.Tensor]:
    """The last states of all texts in one batch as `forward` computes them."""
    layout = PackedLayout(tuple(map(len, texts)))
    states_TH = small.get_input_embeddings()(torch.cat(texts))
    return list(forward.run_body(small, found, states_TH, layout).split(list(layout.lengths)))


def _agree(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    size = max(1.0, *(float(states.abs().max()) for states in two))
    return all(a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * size for a, b in zip(one, two, strict=True))


def _works(small: Any, found: Architecture, texts: list[torch.Tensor], states: list[torch.Tensor]) -> bool:
    try:
        return _agree(_own_states(small, found, texts), states)
    except Exception:  # what cannot be run that way does not work
        return False


def _with_positions(found: Architecture, small: Any, texts: list[torch.Tensor], states: list[torch.Tensor]) -> Architecture:
    """Find where positions are counted from, with one text at a time."""
    alone = replace(found, not_packable="it was not tried", needs_equal_lengths=True)
    for first in (count_from_zero, count_after_padding):
        counted = replace(alone, first_position=first)
        if all(_works(small, counted, [text], [one]) for text, one in zip(texts, states, strict=True)):
            return counted
    raise _refused(found, "its network does not give the same from embeddings as from token ids")


def _is_causal(small: Any, found: Architecture, text_T: torch.Tensor, states_TH: torch.Tensor) -> bool:
    """Whether another last token leaves the states before it as they are."""
    other = text_T.clone()
    other[-1] = text_T[0] if text_T[0] != text_T[-1] else text_T[1]
    return _agree([_stock_states(small, found, other)[:-1]], [states_TH[:-1]])


def _with_head(found: Architecture, small: Any, texts: list[torch.Tensor], states: list[torch.Tensor]) -> Architecture:
    """Find how the classification class computes scores; otherwise put a linear head on the last token, or on the mean."""
    if network_class.has_own_class(small.config):
        wanted = [small(input_ids=text[None], attention_mask=torch.ones_like(text)[None]).logits[0] for text in texts]
        for head in _usual_heads(found, small):
            standard: Architecture = replace(found, has_standard_head=True, stock_head=(), **head)
            try:
                read = torch.stack([one[0] if standard.pooling == "first" else one[-1] for one in states])
                scores = HEADS[standard.head_kind](small, standard, read)
            except Exception:  # noqa: S112  another kind of head
                continue
            if _agree(list(scores), wanted):
                return standard
    pooling_: Pooling = "last" if found.is_causal else "mean"
    own = replace(found, pooling=pooling_)
    pooling.install_linear_head(small, own, standard=own, num_outputs=small.config.num_labels)
    return own


def _usual_heads(found: Architecture, small: Any) -> Iterator[dict[str, Any]]:
    body = small.get_submodule(found.body)
    yield {"head": ("score",), "head_kind": "linear", "pooling": "last"}
    if getattr(body, "pooler", None) is not None:
        pooler = f"{found.body}.pooler"
        yield {"head": ("classifier",), "head_kind": "pooler", "pooling": "first", "pooler": pooler}
    yield {"head": ("classifier",), "head_kind": "features", "pooling": "first"}
    yield {"head": ("pooler", "classifier"), "head_kind": "context", "pooling": "first"}
    for state in ("first", "last"):
        yield {"head": ("head", "classifier"), "head_kind": "normed", "pooling": state}
        yield {"head": ("classifier",), "head_kind": "classifier", "pooling": state}


def _find_unused(small: Any, found: Architecture, texts: list[torch.Tensor]) -> tuple[str, ...]:
    """Parameters of the body that get no gradient from the states of any text."""
    prefix = f"{found.body}."
    small.requires_grad_(True)
    body = {name: parameter for name, parameter in small.named_parameters() if name.startswith(prefix)}
    try:
        with torch.enable_grad():
            total = torch.stack([_own_states(small, found, [text])[0].sum() for text in texts]).sum()
            gradients = torch.autograd.grad(total, list(body.values()), allow_unused=True)
    except Exception as error:  # code of another project can raise anything
        raise _refused(found, f"its network cannot be trained: {first_line(error)}") from None
    used = {without_numbers(name) for name, gradient in zip(body, gradients, strict=True) if gradient is not None}
    missing = {without_numbers(name) for name in body} - used
    return tuple(sorted(name for name in missing if not (found.pooler and name.startswith(f"{found.pooler}."))))


def _with_batches(found: Architecture, small: Any, texts: list[torch.Tensor], states: list[torch.Tensor]) -> Architecture:
    """Find how texts share a batch: packed into one row, padded, or only those of one length."""
    reason = "its attention is not one of transformers' pluggable functions"
    padded = replace(found, not_packable=reason, needs_equal_lengths=False)
    one_length = replace(found, not_packable="padding changes its states", needs_equal_lengths=True)
    chosen = padded if _works(small, padded, texts, states) else one_length
    if chosen is one_length and not _works(small, one_length, texts, states):
        raise _refused(found, "its states of a text depend on the other texts of a batch")
    packed.register()
    small.set_attn_implementation(packed.NAME)
    if small.config._attn_implementation != packed.NAME:
        return chosen
    row = replace(found, not_packable="", needs_equal_lengths=False)
    if _works(small, row, texts, states):
        return row
    return replace(chosen, not_packable="its states of packed texts are not those of single ones") if chosen is padded else chosen


def _refused(found: Architecture, reason: str) -> UserError:
    what = f"the architecture {found.model_type!r} is not known, and {reason}"
    return UserError(what, where="config.json: model_type", fix="a model of another architecture; `finewright models` lists them")
