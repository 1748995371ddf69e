"""Dropout of a transformers network."""

from typing import Any

from torch import nn

_RATES = ("attention_dropout", "hidden_dropout", "activation_dropout", "dropout_prob", "dropout")
"""Attributes of layers that are rates themselves."""


def turn_off_dropout(network: Any) -> None:
    """Set every dropout rate of a network to 0, in place; its config keeps the rates it had."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in _RATES:
            if isinstance(vars(module).get(name), float):
                setattr(module, name, 0.0)
