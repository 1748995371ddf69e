"""Where the layers, projections and norms of a network are, by the names that transformers usually gives them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from finewright.core.errors import UserError
from finewright.models import network_class
from finewright.models.architectures.base import PROJECTIONS, Architecture, count_from_zero

_LEAVES = {
    "query": ("q_proj", "query", "q", "q_lin", "query_proj", "wq", "q_a_proj", "q_b_proj"),
    "key": ("k_proj", "key", "k", "k_lin", "key_proj", "wk", "kv_a_proj_with_mqa", "kv_b_proj"),
    "value": ("v_proj", "value", "v", "v_lin", "value_proj", "wv", "kv_b_proj"),
    "output": ("o_proj", "out_proj", "out_lin", "o", "wo"),
}
_FUSED = ("qkv_proj", "qkv", "query_key_value", "c_attn", "wqkv", "in_proj", "in_proj_qkv")
_ATTENTION, _AFTER = ("attn", "attention"), ("dense", "c_proj", "wo")
"""Parts of the path of an attention module, and names that its output has there."""
_NORMS = ("norm", "final_layernorm", "final_layer_norm", "final_norm", "ln_f", "norm_f", "layer_norm", "LayerNorm")
_ROUTERS = ("gate", "router", "shared_expert_gate")


def build_on_meta(config: Any) -> Any:
    """Build the classification network of a config without memory."""
    with torch.device("meta"):
        return network_class.build_random_network(config, auto_model=network_class.CLASSIFICATION)


def read_structure(network: Any, config: Any) -> Architecture:
    """Return the architecture as far as names tell: a linear head on a body, nothing packed, nothing shared."""
    body = str(network.base_model_prefix)
    if not body or not hasattr(network, body):
        raise _unknown(config, "its network does not say which part of it is the body")
    layers = _find_layers(network.get_submodule(body), body, config)
    projections = _sort_linears(network.get_submodule(layers))
    experts = sorted(
        {
            name
            for layer in network.get_submodule(layers)
            for name, parameter in layer.named_parameters()
            if parameter.ndim == 3 and "expert" in name
        }
    )
    return Architecture(
        model_type=config.model_type,
        is_causal=False,
        pooling="mean",
        body=body,
        layers=layers,
        projections=projections,
        head=("classifier",),
        head_kind="classifier",
        final_norm=_find_norm(network, body, layers),
        first_position=count_from_zero,
        has_standard_head=False,
        stock_head=tuple(
            name for name, part in network.named_children() if name != body and any(True for _ in part.parameters())
        ),
        has_plain_layers=False,
        shares_layers=_why_not_single(network, layers, config),
        experts=tuple(experts),
        is_derived=True,
    )


def _find_layers(body: Any, prefix: str, config: Any) -> str:
    """The path of the list of layers: of the outermost lists with matrices the one of the config's length, or the longest."""
    lists = _outermost_lists(body)
    if not lists:
        raise _unknown(config, "its network has no list of layers")
    wanted = _count_layers(config)
    return f"{prefix}.{max(lists, key=lambda name: (lists[name] == wanted, lists[name]))}"


def _outermost_lists(body: Any) -> dict[str, int]:
    """Lists of modules with matrices, none inside another, and their lengths."""
    lists = {
        name: len(part)
        for name, part in body.named_modules()
        if isinstance(part, nn.ModuleList) and any(map(_is_linear, part.modules()))
    }
    return {name: length for name, length in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}


def _why_not_single(network: Any, layers: str, config: Any) -> str:
    """Why no layer can be frozen by itself."""
    length = len(network.get_submodule(layers))
    if length < _count_layers(config):
        return "its layers share weights"
    body = network.get_submodule(str(network.base_model_prefix))
    alike = [name for name, other in _outermost_lists(body).items() if other == length > 1]
    return f"the parts of a layer are in several lists ({', '.join(alike)})" if len(alike) > 1 else ""


def _count_layers(config: Any) -> int:
    stated = getattr(config, "num_hidden_layers", None)
    return stated if isinstance(stated, int) else 0


def _is_linear(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _sort_linears(layers: Any) -> dict[str, tuple[str, ...]]:
    """The linear modules of all kinds of layers, by what they compute; each stands for everything if no query is found."""
    linear = dict.fromkeys(name for layer in layers for name in _linear_names(layer))
    for place in (_ATTENTION, ("",)):  # some layers hold the projections of the attention themselves
        found: dict[str, list[str]] = {name: [] for name in PROJECTIONS}
        for name in linear:
            for projection in _projections_of(name, attention=place):
                found[projection].append(name)
        if found["query"] and found["value"]:
            return {name: tuple(modules) for name, modules in found.items()}
    return {name: tuple(linear) for name in PROJECTIONS}


def _linear_names(layer: Any) -> Iterator[str]:
    """Linear modules of a layer, but for the output of a state space, whose weight its kernels read without the module."""
    modules = dict(layer.named_modules())
    for name, module in modules.items():
        before, _, leaf = name.rpartition(".")
        if name and _is_linear(module) and not (leaf == "out_proj" and f"{before}.conv1d" in modules):
            yield name


def _projections_of(name: str, *, attention: tuple[str, ...]) -> Iterator[str]:
    """What a module computes. `attention`: parts of the path of an attention module."""
    before, _, leaf = name.rpartition(".")
    if leaf in _ROUTERS:
        return
    in_attention = any(part in before.lower() for part in attention)
    named = [projection for projection, leaves in _LEAVES.items() if leaf in leaves]
    if in_attention and leaf.lower() in _FUSED:
        yield from ("query", "key", "value")
    elif in_attention and named:
        yield from named
    elif in_attention and attention == _ATTENTION and leaf.lower() in _AFTER:
        yield "output"
    else:
        yield "mlp"


def _find_norm(network: Any, body: str, layers: str) -> str:
    """The norm behind the layers, beside their list or in the body; empty if none has a usual name."""
    for place in dict.fromkeys((layers.rpartition(".")[0], body)):
        for name, part in network.get_submodule(place).named_children():
            if name in _NORMS and getattr(part, "weight", None) is not None:
                return f"{place}.{name}"
    return ""


def _unknown(config: Any, reason: str) -> UserError:
    what = f"the architecture {config.model_type!r} is not known, and {reason}"
    return UserError(what, where="config.json: model_type", fix="a model of another architecture; `finewright models` lists them")
