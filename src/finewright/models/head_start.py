"""The linear layers of a new head: what the last one reads, and first weights for all of them.

Shape suffixes: N texts, F features, C outputs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from finewright.models.prepared import PreparedModel

SMALL = 0.25
"""Size of what a new tanh layer gets at first, where tanh(x) is x but for 2%."""
_RECTIFIED = ("distilled",)
"""Kinds of heads whose hidden layer ends in a ReLU; that of the others ends in tanh."""


@dataclass(frozen=True)
class HeadLayers:
    """Linear layers of a head that are trained. `hidden`: new ones below the last, in order; `rectified`: they end in a ReLU."""

    last: nn.Linear
    hidden: tuple[nn.Linear, ...]
    rectified: bool

    @classmethod
    def find(cls, prepared_model: PreparedModel, *, new: Sequence[str]) -> "HeadLayers":
        """Find them in a network as a method prepared it. `new`: modules that the checkpoint lacks, as in `BaseNetwork`."""
        network, architecture = prepared_model.network, prepared_model.architecture
        last = _trained_linears(network.get_submodule(architecture.head[-1]))[-1]
        below = [name for name in (architecture.pooler, *architecture.head) if name in new]
        hidden = [layer for name in below for layer in _trained_linears(network.get_submodule(name)) if layer is not last]
        return cls(last, tuple(hidden), architecture.head_kind in _RECTIFIED)

    def weights(self) -> list[torch.Tensor]:
        """Return copies of all weights."""
        return [parameter.detach().clone() for parameter in self._trained()]

    def set_weights(self, weights: Sequence[torch.Tensor]) -> None:
        """Set all weights to what `weights` returned."""
        with torch.no_grad():
            for parameter, value in zip(self._trained(), weights, strict=True):
                parameter.copy_(value)

    def set_last(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        """Set the last layer: weight (C, F), bias (C,)."""
        with torch.no_grad():
            self.last.weight.copy_(torch.from_numpy(weight))
            if bias is not None:
                self.last.bias.copy_(torch.from_numpy(bias))

    def multiply_last(self, factor: float) -> None:
        """Multiply the outputs of the last layer."""
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.mul_(factor)

    def set_near_identity(self, layer: nn.Linear, inputs_NF: np.ndarray) -> None:
        """Let a hidden layer pass its inputs on almost unchanged, so that the last layer reads the states themselves.

        Before tanh they are made small, where it is nearly linear. Before a ReLU each is raised above zero, where it is linear.
        """
        finite = np.nan_to_num(inputs_NF)
        size = max(float(np.sqrt(np.square(finite, dtype=np.float64).mean())), 1e-6)
        lowest_F = np.minimum(finite.min(axis=0), 0.0)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(*layer.weight.shape) * (1.0 if self.rectified else SMALL / size))
            if layer.bias is not None:
                layer.bias.zero_()
                if self.rectified and len(layer.bias) == len(lowest_F):
                    layer.bias.copy_(torch.from_numpy(-1.5 * lowest_F))

    def _trained(self) -> Iterator[nn.Parameter]:
        for layer in (*self.hidden, self.last):
            yield from layer.parameters()


def _trained_linears(module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers in a module that are trained: PEFT keeps a frozen copy beside each."""
    return [part for part in module.modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]


class InputRecorder:
    """Holds what a layer read in the last forward pass."""

    def __init__(self) -> None:
        self._inputs: torch.Tensor | None = None

    def record(self, module: Any, args: tuple[Any, ...]) -> None:
        """Forward pre-hook."""
        self._inputs = args[0].detach()

    def take(self) -> np.ndarray:
        """Return the inputs, float32, shape (N, F)."""
        assert self._inputs is not None, "the layer has run"
        inputs, self._inputs = self._inputs, None
        return inputs.float().flatten(0, -2).cpu().numpy()


@contextmanager
def recording_inputs(layer: nn.Linear) -> Iterator[InputRecorder]:
    """Inside, record what a layer reads in each forward pass."""
    recorder = InputRecorder()
    handle = layer.register_forward_pre_hook(recorder.record)
    try:
        yield recorder
    finally:
        handle.remove()
