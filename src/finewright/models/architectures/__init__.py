"""The architectures that are described by hand, by `model_type`.

The folder is the registry: every file but `base.py` exports `ARCHITECTURES: tuple[Architecture, ...]`. Any other `model_type` is
derived from its network (`models.derivation`).
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from finewright.models.architectures.base import PROJECTIONS, Architecture
from finewright.models.head_spec import LANGUAGE_MODEL, TOKEN_CLASSIFICATION


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
    """Architectures (`model_type`) that are described by hand."""
    return sorted(_known())


def architecture_of(config: Any) -> Architecture:
    """Return the architecture of a transformers config; one that is not known is derived from its network."""
    from finewright.models import derivation  # loads PyTorch; descriptions are read without

    described = _known().get(config.model_type)
    architecture = derivation.derive_architecture(config) if described is None else described.for_config(config)
    architecture.first_position(config)  # raises `UserError` if the config lacks what positions are counted from
    return architecture


def architecture_for(config: Any, *, auto_model: str) -> Architecture:
    """Return the architecture of a config as a network of this transformers class has it."""
    architecture = architecture_of(config)
    if auto_model == TOKEN_CLASSIFICATION:
        from finewright.models import network_class  # loads PyTorch

        return architecture.as_token_classifier(network_class.token_head_name(config))
    return architecture.as_language_model() if auto_model == LANGUAGE_MODEL else architecture


def described_architectures() -> list[Architecture]:
    """All architectures that are described by hand, by `model_type`."""
    return [_known()[name] for name in architecture_names()]


def describe_architectures() -> list[dict[str, Any]]:
    """Return the described architectures with what their tests cover, ready for JSON.

    `head`: `own` is that of the classification class of transformers, `linear` one for a sentence-transformers folder.
    `by_config`: the config changes some of it.
    """
    return [
        {
            "model_type": one.model_type,
            "batches": "padded" if one.not_packable else "packed",
            "why_padded": one.not_packable,
            "attends": "to earlier tokens" if one.is_causal else "to all tokens",
            "head": "own" if one.has_standard_head else "linear",
            "reads": one.pooling,
            "by_config": one.change is not None,
            "adapter_targets": [name for name in PROJECTIONS if one.projections[name] and not (name == "mlp" and one.experts)],
            "limits": [*one.limits()],
        }
        for one in described_architectures()
    ]
