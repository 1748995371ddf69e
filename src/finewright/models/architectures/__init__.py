"""The architectures that can be fine-tuned, by `model_type`.

The folder is the registry: every file but `base.py` exports `ARCHITECTURES: tuple[Architecture, ...]`.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture


@cache
def _known() -> dict[str, Architecture]:
    """All architectures of the folder by `model_type`."""
    families = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    known: dict[str, Architecture] = {}
    for family in families:
        for architecture in importlib.import_module(f"{__name__}.{family}").ARCHITECTURES:
            assert architecture.model_type not in known, f"{architecture.model_type} is described twice"
            known[architecture.model_type] = architecture
    return known


def architecture_names() -> list[str]:
    """Architectures (`model_type`) that can be fine-tuned."""
    return sorted(_known())


def architecture_of(config: Any) -> Architecture:
    """Return the architecture of a transformers config."""
    architecture = _known().get(config.model_type) or _generic(config)
    architecture.first_position(config)  # raises `UserError` if the config lacks what positions are counted from
    return architecture


def _generic(config: Any) -> Architecture:
    """Raise `UserError`: an unknown `model_type` is refused.

    A generic description belongs here: body from `base_model_prefix`, layers from the longest `ModuleList`, projections from
    PEFT's table of target modules, `not_packable` set so that batches are padded.
    """
    raise UserError(
        f"the architecture {config.model_type!r} is not known",
        where="config.json: model_type",
        fix=f"take a model of another architecture; known: {', '.join(architecture_names())}",
    )
