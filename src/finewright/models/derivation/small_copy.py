"""A small random network of the kind that a config describes: few layers, few tokens, narrow if it would be large."""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from finewright.models import network_class

MOST_WEIGHTS = 25_000_000
"""A copy with more is made narrow: it would take longer than loading the model."""
VOCABULARY, WIDTH, HEADS, WINDOW = 128, 64, 4, 4
_REACHES = ("window", "attention_chunk", "floor_scale")
"""Lengths from which on a token is treated in another way: Llama 4 attends within chunks, and scales queries by their place."""
_WIDTHS = ("size", "dim", "rank", "d_model", "d_ff", "d_inner", "n_inner", "n_embd")
_CHOICES = ("moe_k", "top_k", "moe_topk", "num_experts_per_tok", "n_group", "topk_group", "num_expert_group")
"""How many of few experts and groups of experts are chosen."""
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id", "unk_token_id")


def build_small_copies(config: Any, *, layers: Any, seed: int = 0) -> Iterator[Any]:
    """Yield the network in evaluation mode on the CPU, shrunk by ever other choices. `layers`: those of the real network.

    No weight is one or zero, where a mistake could hide. Raise what the last one failed with if none can be built.
    """
    failure: Exception = ValueError(f"it has over {MOST_WEIGHTS:,} weights in its first layers")
    num_built = 0
    for shrink in (lambda small: None, _narrow, _narrow_outside_heads):
        try:
            small = _shorten(config, num_layers=_count_layers(layers))
            shrink(small)
            with torch.device("meta"):
                sketch = network_class.from_config(copy.deepcopy(small), auto_model=network_class.CLASSIFICATION)
            if sum(tensor.numel() for tensor in [*sketch.parameters(), *sketch.buffers()]) > MOST_WEIGHTS:
                continue
            network = _build_random(small, seed=seed)
        except Exception as error:  # a value that does not fit the others can raise anything; another copy may still be built
            failure = error
            continue
        num_built += 1
        yield network
    if not num_built:
        raise failure


def _build_random(small: Any, *, seed: int) -> Any:
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_class.from_config(small, auto_model=network_class.CLASSIFICATION).eval()
        for parameter in network.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    network.config.use_cache = False
    return network


def _count_layers(layers: Any) -> int:
    """How many of the first layers have every kind of layer among them; at least two."""
    kinds = [tuple(name for name, _ in layer.named_parameters()) for layer in layers]
    return max(2, max(kinds.index(kind) for kind in kinds) + 1)


def _shorten(config: Any, *, num_layers: int) -> Any:
    """A copy of the config with fewer layers and tokens, and windows that short texts reach."""
    small = copy.deepcopy(config)
    total = config.num_hidden_layers
    types = getattr(config, "layer_types", None)
    if types:
        num_layers = max(num_layers, max(types.index(kind) for kind in types) + 1)
    num_layers = min(total, num_layers)
    for name, value in vars(config).items():
        reaches = any(part in name for part in _REACHES)
        if isinstance(value, list) and len(value) == total:
            value = value[:num_layers]
            setattr(small, name, [min(one, WINDOW) for one in value] if reaches else value)
        elif reaches and _is_number(value) and value > WINDOW:
            setattr(small, name, WINDOW)
    small.num_hidden_layers, small.vocab_size, small.num_labels = num_layers, VOCABULARY, 3
    for name in _TOKENS:
        value = getattr(small, name, None)
        if isinstance(value, int) and value >= VOCABULARY:
            setattr(small, name, 0)
    if small.pad_token_id is None:
        small.pad_token_id = 0
    return small


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _narrow(small: Any) -> None:
    """Make everything narrow, heads too."""
    _narrow_outside_heads(small)
    for name, value in list(vars(small).items()):
        if "head_dim" in name and _is_number(value) and value > WIDTH // HEADS:
            setattr(small, name, WIDTH // HEADS)


def _narrow_outside_heads(small: Any) -> None:
    """Divide widths by the same factor, but leave those of heads as they are; fewer heads and experts."""
    factor = max(1, small.hidden_size // WIDTH)
    heads, shared = small.num_attention_heads, getattr(small, "num_key_value_heads", None)
    for name, value in list(vars(small).items()):
        if not _is_number(value) or name in ("vocab_size", "type_vocab_size") or "head_dim" in name:
            continue
        if any(part in name for part in _WIDTHS) and value >= 2 * WIDTH:
            setattr(small, name, max(8, value // factor // 8 * 8))
        elif name in _CHOICES:
            setattr(small, name, min(value, 2 if "k" in name and "group" not in name else 1))
        elif "expert" in name and value > HEADS:
            setattr(small, name, HEADS)
    small.hidden_size, small.num_attention_heads = WIDTH, HEADS
    if shared:
        small.num_key_value_heads = max(1, HEADS // max(1, heads // shared))
