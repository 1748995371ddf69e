"""Architectures that are not described by hand."""

from typing import Any

from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture


def derive_architecture(config: Any) -> Architecture:
    """Raise `UserError`: an unknown `model_type` is refused."""
    raise UserError(
        f"the architecture {config.model_type!r} is not known",
        where="config.json: model_type",
        fix="take a model of another architecture; `finewright models` lists those that are known",
    )
