"""Classification heads, by the kind an architecture has."""

from collections.abc import Callable
from typing import Any

import torch

from finewright.models.architectures.base import Architecture


def _linear_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    return network.score(states_NH)


def _classifier_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    return network.classifier(states_NH)


def _pooler_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    pooled = network.get_submodule(architecture.pooler)(states_NH[:, None])
    return network.classifier(network.dropout(pooled))


def _features_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    return network.classifier(states_NH[:, None])


def _distilled_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    return network.classifier(network.dropout(torch.relu(network.pre_classifier(states_NH))))


def _normed_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    """ModernBERT: dense, activation and norm are in one module."""
    return network.classifier(network.drop(network.head(states_NH)))


def _gelu_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    """EuroBERT."""
    return network.classifier(network.activation(network.dense(states_NH)))


def _context_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    """DeBERTa: the pooler is part of the head, not of the body."""
    return network.classifier(network.dropout(network.pooler(states_NH[:, None])))


def _albert_head(network: Any, architecture: Architecture, states_NH: torch.Tensor) -> torch.Tensor:
    """ALBERT's pooler is a plain linear layer, its activation stands beside it."""
    body = network.get_submodule(architecture.body)
    return network.classifier(network.dropout(body.pooler_activation(body.pooler(states_NH))))


def _dropped_head(network: Any, architecture: Architecture, states_TH: torch.Tensor) -> torch.Tensor:
    """Of a class that scores every token: dropout, where it has one, and a linear layer."""
    dropout = getattr(network, "dropout", None)
    return network.get_submodule(architecture.head[-1])(states_TH if dropout is None else dropout(states_TH))


HEADS: dict[str, Callable[[Any, Architecture, torch.Tensor], torch.Tensor]] = {
    "linear": _linear_head,
    "classifier": _classifier_head,
    "pooler": _pooler_head,
    "features": _features_head,
    "distilled": _distilled_head,
    "normed": _normed_head,
    "gelu": _gelu_head,
    "context": _context_head,
    "albert": _albert_head,
    "dropped": _dropped_head,
}
