"""PEFT's adapters and their state."""

import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from finewright.core.quiet import peft_quiet

_PEFT_HEADS = ("classifier", "score")
"""Heads that PEFT trains and saves by itself in its task types for classification; naming them would list them twice."""


def wrap_adapter(network: Any, config: Any) -> Any:
    """Return PEFT's model around `network`, which is changed in place.

    PEFT takes the base's name from the network, so the network gets the name in the config.
    """
    network.name_or_path = config.base_model_name_or_path
    if str(config.task_type).endswith("_CLS"):
        config.modules_to_save = [name for name in config.modules_to_save or [] if name not in _PEFT_HEADS] or None
    with peft_quiet(), warnings.catch_warnings():
        from peft import get_peft_model

        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)  # PEFT's call
        return get_peft_model(network, config)


_NAMES = re.compile(r"(?:[\w.-]|\\\.)*")
"""Module names; the dot between them may be escaped, as PEFT takes some names for patterns."""


def find_pattern(adapter: Any) -> str:
    """Return the first name of modules in an adapter's config that is a regular expression; empty if there is none.

    PEFT would run it, and some never end.
    """
    values = [getattr(adapter, name, None) for name in ("target_modules", "exclude_modules", "layers_pattern")]
    names = [value if isinstance(value, str) else "".join(map(str, value or ())) for value in values]
    names += [str(key) for name in ("rank_pattern", "alpha_pattern") for key in getattr(adapter, name, None) or ()]
    return next((name for name in names if not _NAMES.fullmatch(name)), "")


def dense_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict with every parametrized tensor under its plain name, as other programs expect it."""
    state = {name: tensor for name, tensor in module.state_dict().items() if ".parametrizations." not in name}
    modules: Iterator[tuple[str, Any]] = module.named_modules()
    for name, part in modules:
        if parametrize.is_parametrized(part):
            for tensor_name in part.parametrizations:
                state[f"{name}.{tensor_name}"] = getattr(part, tensor_name).detach()
    return state
