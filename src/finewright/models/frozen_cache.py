"""Run frozen lower layers once for all texts, cache their outputs, and train the layers above from the cache.

Shape suffixes: T tokens of a batch, H hidden size.
"""

import contextlib
import json
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from finewright.core import cache, hardware
from finewright.data import packing
from finewright.data.packing import EncodedSplit
from finewright.models import kernels
from finewright.models.architectures.base import layer_index
from finewright.models.forward import compute_logits
from finewright.models.prepared import PreparedModel

FILL_TOKENS = 4096
"""Token budget of a batch that fills the cache."""
WAITS = "waits: another run computes the same frozen layers over the same texts, and this one will use its results"
_FORMAT, _FILE = "finewright trunk 2", "states.bin"
_CACHE_KIND = "trunk"
"""Name of the folder on disk."""
_IRRELEVANT = ("id2label", "label2id", "num_labels", "problem_type", "architectures", "_name_or_path", "transformers_version")
Where = Literal["memory", "file"]
Watch = Callable[[], AbstractContextManager[Any]]


def count_frozen_layers(prepared_model: PreparedModel) -> int:
    """Return how many layers, from the lowest up, have outputs that training does not change; at most all but the last."""
    network, architecture = prepared_model.network, prepared_model.architecture
    layers = network.get_submodule(architecture.layers)
    if prepared_model.prompt is not None or architecture.not_packable or not architecture.has_plain_layers:
        return 0
    above = tuple(f"{name}." for name in (architecture.final_norm, architecture.pooler) if name)
    lowest = len(layers) - 1
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad or not name.startswith(f"{architecture.body}.") or name.startswith(above):
            continue
        index = layer_index(architecture, name)
        lowest = min(lowest, 0 if index is None else index)  # None: an embedding, below all layers
    return lowest


class _SkippedLayer(nn.Module):
    """Takes the place of a frozen layer. The topmost one returns the cached states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__.update({name: value for name, value in vars(layer).items() if not name.startswith("_")})
        self.states: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return the input, or the cached states."""
        return hidden_states if self.states is None else self.states


class _PrefixDone(Exception):
    """Raised above the frozen layers to end the forward pass."""


class _StopLayer(_SkippedLayer):
    """Takes the place of the first layer above the frozen ones and ends the pass there."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Save the input and end the pass."""
        self.states = hidden_states
        raise _PrefixDone


class FrozenPrefix:
    """The lowest `num_layers` layers of a network and everything below them.

    During a forward pass another list stands in the place of the network's layers, so the layers themselves, their names and
    what is saved do not change.
    """

    def __init__(self, network: Any, *, layers: str, num_layers: int) -> None:
        holder, _, self._name = layers.rpartition(".")
        self._holder, self.num_layers = network.get_submodule(holder), num_layers
        own = list(network.get_submodule(layers))
        self._skipped = {layer: _SkippedLayer(layer) for layer in own[:num_layers]}
        self._last, self._stop = self._skipped[own[num_layers - 1]], _StopLayer(own[num_layers])

    @contextlib.contextmanager
    def serving(self, states_TH: torch.Tensor) -> Iterator[None]:
        """Within this block a forward pass starts above the frozen layers, with these states."""
        self._last.states = states_TH[None]
        try:
            with self._replaced([self._skipped.get(layer, layer) for layer in self._layers()]):
                yield
        finally:
            self._last.states = None

    def run(self, prepared_model: PreparedModel, ids_T: torch.Tensor, layout: Any) -> torch.Tensor:
        """Return the outputs of the frozen layers, shape (T, H)."""
        try:
            with self._replaced([layer for layer in self._layers() if layer in self._skipped] + [self._stop]):
                compute_logits(prepared_model, ids_T, layout)
        except _PrefixDone:
            states, self._stop.states = self._stop.states, None
            assert states is not None
            return states[0]
        raise AssertionError("the pass did not stop above the frozen layers")

    def holds(self, layer: nn.Module) -> bool:
        """Whether a layer is one of the frozen ones."""
        return layer in self._skipped

    def _layers(self) -> list[nn.Module]:
        """The network's layers as they are now; a plan runs a few of many equal ones."""
        return list(getattr(self._holder, self._name))

    @contextlib.contextmanager
    def _replaced(self, layers: list[Any]) -> Iterator[None]:
        own = getattr(self._holder, self._name)
        setattr(self._holder, self._name, nn.ModuleList(layers))
        try:
            yield
        finally:
            setattr(self._holder, self._name, own)


@dataclass(frozen=True)
class CachedStates:
    """Outputs of the frozen layers for every token of a split. `starts`: first token of every row, and the end; shape (N + 1,).

    `storage`: (all tokens, H) in memory, or the descriptor of a file with them in this order; -1 before they are computed.
    """

    starts: np.ndarray
    width: int
    dtype: torch.dtype
    storage: torch.Tensor | int

    def __post_init__(self) -> None:
        """Close the descriptor when the last reference to the states is gone."""
        if isinstance(self.storage, int) and self.storage >= 0:
            weakref.finalize(self, os.close, self.storage)

    @property
    def row_bytes(self) -> int:
        """Bytes of one token."""
        return self.width * self.dtype.itemsize

    def rows(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the states of these rows one after the other, float32, shape (T, H)."""
        pieces = [self._row(row) for row in rows]
        return torch.cat(pieces).float()

    def _row(self, row: int) -> torch.Tensor:
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        if isinstance(self.storage, torch.Tensor):
            return self.storage[start:end]
        piece = torch.empty(end - start, self.width, dtype=self.dtype)
        offset = start * self.row_bytes
        view: Any = memoryview(_bytes(piece)).cast("B")
        while len(view):
            count = os.preadv(self.storage, [view], offset)
            assert count > 0, "the file is as long as it was when it was opened"
            view, offset = view[count:], offset + count
        return piece


def build_cache(
    prepared_model: PreparedModel,
    encoded: EncodedSplit,
    *,
    where: Where,
    dtype: torch.dtype,
    watch: Watch = nullcontext,
    notify: Callable[[str], None] = lambda sentence: None,
) -> CachedStates:
    """Return the frozen layers' outputs for a split, computed now or found in the cache for the same tokens and weights.

    If the cache cannot be written, states in memory are returned all the same; a file raises `OSError`. `watch`: opened around
    the batch with the most tokens. `notify`: called with WAITS before waiting for another process that does the same work.
    Of rows of several texts the states are by text: those of row r begin at number r·P.
    """
    encoded = encoded.by_text()
    starts = np.concatenate([[0], np.cumsum(encoded.lengths)])
    states = CachedStates(starts, prepared_model.network.config.hidden_size, dtype, -1)
    key = _key(prepared_model, encoded, dtype=dtype)
    path, computed = _find(key, states), None
    if path is None:
        with cache.entry_lock(_CACHE_KIND, key, waiting=lambda: notify(WAITS)):
            path = _find(key, states)
            if path is None:
                computed = _compute(prepared_model, encoded, states, key=key, where=where, watch=watch)
                path = None if computed is not None else _find(key, states)  # which reads and hashes all of it again
    if computed is not None:
        return replace(states, storage=computed)
    if path is None:
        raise FileNotFoundError(cache.cache_folder())
    if where == "file":
        return replace(states, storage=os.open(path, os.O_RDONLY))
    return replace(states, storage=torch.from_numpy(np.fromfile(path, dtype=np.uint8)).view(dtype).view(-1, states.width))


def _compute(
    prepared_model: PreparedModel, encoded: EncodedSplit, states: CachedStates, *, key: str, where: Where, watch: Watch
) -> torch.Tensor | None:
    """Run the frozen layers and write their outputs into the cache; return them if they are wanted in memory."""
    if where == "memory":
        computed = torch.empty(int(states.starts[-1]), states.width, dtype=states.dtype)
        for start, piece in _run_texts(prepared_model, encoded, states.starts, watch=watch):
            computed[start : start + len(piece)] = piece
        with contextlib.suppress(OSError), cache.create(_CACHE_KIND, key) as place:
            _bytes(computed).tofile(place / _FILE)
        return computed
    with cache.create(_CACHE_KIND, key) as place, open(place / _FILE, "wb") as file:
        for start, piece in _run_texts(prepared_model, encoded, states.starts, watch=watch):
            file.seek(start * states.row_bytes)
            file.write(_bytes(piece.to(states.dtype)))
    return None


def _bytes(tensor: torch.Tensor) -> Any:
    """A tensor's bytes in memory."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _find(key: str, states: CachedStates) -> Path | None:
    place = cache.lookup(_CACHE_KIND, key)
    path = None if place is None else place / _FILE
    whole = path is not None and path.is_file() and path.stat().st_size == int(states.starts[-1]) * states.row_bytes
    return path if whole else None


def _run_texts(
    prepared_model: PreparedModel, encoded: EncodedSplit, starts: np.ndarray, *, watch: Watch
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first token, states) of every text once, without dropout and gradients, in smaller batches if memory runs out."""
    device = prepared_model.network.get_input_embeddings().weight.device
    prepared_model.trainable_module.eval()
    batches, lengths = packing.evaluation_batches(encoded.lengths, budget=FILL_TOKENS), encoded.lengths
    largest = max(batches, key=lambda rows: sum(lengths[row] for row in rows))

    def run(rows: tuple[int, ...]) -> tuple[packing.Batch, torch.Tensor]:
        batch = packing.collate(encoded, rows, device=str(device))
        with torch.no_grad(), watch() if rows is largest else nullcontext():
            return batch, prepared_model.runtime.frozen_prefix.run(prepared_model, batch.ids, batch.layout).cpu()

    for batch, states_TH in packing.map_with_oom_split(batches, lengths, run, doing="running the frozen layers over"):
        for row, piece in zip(batch.rows, states_TH.split(list(batch.layout.lengths)), strict=True):
            yield int(starts[row]), piece


def _key(prepared_model: PreparedModel, encoded: EncodedSplit, *, dtype: torch.dtype) -> str:
    """Hash of everything the outputs depend on: tokens, weights, config, and how they are computed.

    Versions, processor and threads are part of it, so that a run has the same results with and without the cache.
    """
    network, architecture, runtime = prepared_model.network, prepared_model.architecture, prepared_model.runtime
    num_layers = runtime.frozen_prefix.num_layers
    config = {name: value for name, value in network.config.to_dict().items() if name not in _IRRELEVANT}
    device = network.get_input_embeddings().weight.device.type
    computed = {"environment": hardware.environment(), "device": device, "bfloat16": runtime.bfloat16}
    computed["packed"] = kernels.can_pack(torch.bfloat16 if runtime.bfloat16 else torch.float32)
    parts: list[Any] = [_FORMAT, json.dumps([config, computed, num_layers, str(dtype)], sort_keys=True, default=str)]
    parts += [np.array(encoded.lengths).data, encoded.flat().astype(np.int32).data]
    parts += [] if encoded.first_lengths is None else [encoded.first_lengths.astype(np.int32).data]
    above = tuple(f"{name}." for name in (architecture.final_norm, architecture.pooler) if name)
    for name, tensor in sorted(network.state_dict().items()):
        index = layer_index(architecture, name)
        in_body = name.startswith(f"{architecture.body}.") and not name.startswith(above)
        if in_body and (index is None or index < num_layers):
            parts += [name, memoryview(_bytes(tensor.detach().cpu()))]
    return cache.make_key(parts)
