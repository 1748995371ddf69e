"""Which state of a text the head reads: the choice, and a linear head on it where no stock class has one.

A classification class of transformers reads one fixed state: GPT-2's the last token, BERT's the first one through a pooler.
Some models were trained for another one, sentence-transformers' mostly for the mean of all tokens. For those the stock head is
replaced by a linear layer on the wanted state; it is saved as a sentence-transformers folder (`sentence_folder.py`).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from finewright.core.config import WantedPooling
from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture
from finewright.models.head_spec import HeadSpec

StatePooling = Literal["last", "first", "mean"]
MODULES_FILE = "modules.json"
_MODES: dict[str, StatePooling] = {"mean": "mean", "cls": "first", "lasttoken": "last"}
POOLING_FLAGS: dict[str, StatePooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
}
"""Our names of poolings, by sentence-transformers': as one mode in its newer folders, as a flag of each in its older ones."""
_DESCRIBED = {"mean": "the mean of all tokens", "first": "the first token", "last": "the last token"}


@dataclass(frozen=True)
class ChosenPooling:
    """The architecture with the pooling that was chosen, and why; `value` is what an option would say."""

    architecture: Architecture
    value: WantedPooling
    reason: str


def choose_pooling(folder: Path, architecture: Architecture, wanted: WantedPooling = "auto") -> ChosenPooling:
    """Choose which state the head of a model in `folder` reads. Raise `UserError` if it cannot be the wanted one."""
    standard = architecture.pooling
    if wanted == "auto":
        trained = read_trained_pooling(folder)
        if trained is None or (trained == standard and not architecture.pooler):
            owner = f"{architecture.model_type}'s own head" if architecture.has_standard_head else "the head"
            why = f" ({architecture.pooling_reason})" if architecture.pooling_reason else ""
            reason = f"{owner} reads {describe_state(architecture)}{why}"
            return ChosenPooling(architecture, "standard", reason)
        if trained == "first" and architecture.is_causal:
            return ChosenPooling(architecture, "standard", "its first token sees no other token")
        reason = f"the model was trained to say what a text means by {_DESCRIBED[trained]} ({MODULES_FILE})"
        return ChosenPooling(with_linear_head(architecture, trained), trained, reason)
    if wanted == "pooler" and not architecture.pooler:
        raise UserError(f"{architecture.model_type} has no pooler", where="training.pooling", fix="auto, mean, first or last")
    if wanted == "first" and architecture.is_causal:
        what = f"the first token of {architecture.model_type} sees no other token, so it cannot tell texts apart"
        raise UserError(what, where="training.pooling", fix="last or mean")
    if wanted in ("standard", "pooler") or (wanted == standard and not architecture.pooler):
        return ChosenPooling(architecture, wanted, "as requested")
    return ChosenPooling(with_linear_head(architecture, wanted), wanted, "as requested")


def choose_for_task(folder: Path, architecture: Architecture, head_spec: HeadSpec) -> ChosenPooling:
    """Choose the pooling for the head of a task; a head that reads more than one token has none."""
    if head_spec.reads != "pooled":
        return ChosenPooling(architecture, "standard", "the head reads more than one token")
    chosen = choose_pooling(folder, architecture, head_spec.pooling)
    own = chosen.architecture
    if not head_spec.needs_bias or head_spec.pooling == "standard" or own.head_kind != "linear" or own.pooling == "none":
        return chosen
    reason = f"{own.model_type}'s own head has no bias, and these numbers are far from 0 for their spread"
    return ChosenPooling(with_linear_head(own, own.pooling), own.pooling, reason)


def describe_state(architecture: Architecture) -> str:
    """Return what the head reads, in words."""
    state = _DESCRIBED.get(architecture.pooling, "every token")
    return f"{state} through its pooler" if architecture.pooler else state


def read_trained_pooling(folder: Path) -> StatePooling | None:
    """Return the pooling that a sentence-transformers folder was trained with; None for other folders and other poolings."""
    try:
        modules = json.loads((folder / MODULES_FILE).read_text(encoding="utf-8"))
        places = [str(module["path"]) for module in modules if str(module["type"]).rpartition(".")[2] == "Pooling"]
        if len(places) != 1 or Path(places[0]).is_absolute() or ".." in Path(places[0]).parts:
            return None
        config = json.loads((folder / places[0] / "config.json").read_text(encoding="utf-8"))
        mode = config.get("pooling_mode")
        if isinstance(mode, str):
            return _MODES.get(mode)
        chosen = [flag for flag, on in config.items() if flag.startswith("pooling_mode_") and on is True]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return POOLING_FLAGS.get(chosen[0]) if len(chosen) == 1 else None


def embeds_texts(folder: Path, config: Any, *, is_causal: bool) -> bool:
    """Whether the states of a model say what a whole text means: it reads texts in both directions, or was trained for it.

    `config`: of transformers. It may say so itself: `"finewright": {"embeds_texts": true}`.
    """
    own = getattr(config, "finewright", None)
    said = isinstance(own, dict) and own.get("embeds_texts") is True
    return not is_causal or said or read_trained_pooling(folder) is not None


def with_linear_head(architecture: Architecture, pooling: StatePooling) -> Architecture:
    """Return the architecture with a linear head on one state in place of its own head and pooler."""
    own = replace(architecture, pooling=pooling, head=("classifier",), head_kind="classifier", pooler="")
    return replace(own, has_standard_head=False)


def install_linear_head(network: Any, architecture: Architecture, *, standard: Architecture, num_outputs: int) -> None:
    """Replace the stock head of a network by the linear one of `architecture`; a pooler that nothing reads is dropped.

    `standard`: the architecture as its stock class has it. The new head is random, from the current state of the generator.
    """
    if architecture.has_standard_head:
        return
    width = _state_width(network, standard)
    for name in standard.stock_head or standard.head:
        _drop_module(network, name)
    if standard.pooler:
        _drop_module(network, standard.pooler)
    embeddings = network.get_input_embeddings().weight
    head = torch.nn.Linear(width, num_outputs, device=embeddings.device)
    with torch.no_grad():
        head.weight.normal_(std=float(getattr(network.config, "initializer_range", None) or 0.02))
        head.bias.zero_()
    network.classifier = head


def _state_width(network: Any, standard: Architecture) -> int:
    """Width of the states that the head reads."""
    modules = [module for name in standard.head if hasattr(network, name) for module in network.get_submodule(name).modules()]
    widths = [module.in_features for module in modules if isinstance(module, torch.nn.Linear)]
    return int([*widths, network.config.hidden_size][0])


def _drop_module(network: Any, name: str) -> None:
    """Remove a module; a body looks for its own ones, so there nothing stands in its place."""
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(network.get_submodule(parent), leaf, None)
    elif hasattr(network, leaf):
        delattr(network, leaf)
