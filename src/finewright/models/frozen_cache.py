"""Frozen lower blocks run once: what comes out of them is kept, and training goes on from there.

Shape suffixes: T tokens of a pass, H hidden size.
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
"""Token budget of a pass that fills the cache."""
WAITS = "waits: another run is running the same frozen blocks over the same texts, its outcome will do for this one"
_FORMAT, _FILE = "finewright trunk 2", "states.bin"
_NO_MATTER = ("id2label", "label2id", "num_labels", "problem_type", "architectures", "_name_or_path", "transformers_version")
Where = Literal["memory", "file"]
Watch = Callable[[], AbstractContextManager[Any]]


def count_frozen_layers(prepared_model: PreparedModel) -> int:
    """How many blocks, from the lowest on, come out the same whatever is learnt; at most all but the last."""
    network, architecture = prepared_model.network, prepared_model.architecture
    blocks = network.get_submodule(architecture.layers)
    if prepared_model.prompt is not None or architecture.not_packable:
        return 0
    above = tuple(f"{name}." for name in (architecture.final_norm, architecture.pooler) if name)
    lowest = len(blocks) - 1
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad or not name.startswith(f"{architecture.body}.") or name.startswith(above):
            continue
        index = layer_index(architecture, name)
        lowest = min(lowest, 0 if index is None else index)  # no block: an embedding, which lies below all of them
    return lowest


class _Passing(nn.Module):
    """Stands where a block stood. The uppermost one hands on the kept states."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.__dict__.update({name: value for name, value in vars(block).items() if not name.startswith("_")})
        self.states: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The input, or the kept states."""
        return hidden_states if self.states is None else self.states


class _Full(Exception):
    """The trunk was run; nobody needs the rest of the pass."""


class _Stopping(_Passing):
    """Stands where the first block above the trunk stood, and ends the pass there."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Keep what came and stop."""
        self.states = hidden_states
        raise _Full


class FrozenPrefix:
    """The lowest `num_layers` layers of a network and everything below them.

    During a forward pass another list stands in the place of the network's layers, so the layers themselves, their names and
    what is saved do not change.
    """

    def __init__(self, network: Any, *, layers: str, num_layers: int) -> None:
        holder, _, self._name = layers.rpartition(".")
        self._holder, self.num_layers = network.get_submodule(holder), num_layers
        own = list(network.get_submodule(layers))
        self._passing = {layer: _Passing(layer) for layer in own[:num_layers]}
        self._last, self._stopping = self._passing[own[num_layers - 1]], _Stopping(own[num_layers])

    @contextlib.contextmanager
    def serving(self, states_TH: torch.Tensor) -> Iterator[None]:
        """Inside, a pass starts above the trunk, with these states."""
        self._last.states = states_TH[None]
        try:
            with self._blocks([self._passing.get(block, block) for block in self._own()]):
                yield
        finally:
            self._last.states = None

    def run(self, prepared_model: PreparedModel, ids_T: torch.Tensor, layout: Any) -> torch.Tensor:
        """What comes out of the trunk, shape (T, H)."""
        try:
            with self._blocks([block for block in self._own() if block in self._passing] + [self._stopping]):
                compute_logits(prepared_model, ids_T, layout)
        except _Full:
            states, self._stopping.states = self._stopping.states, None
            assert states is not None
            return states[0]
        raise AssertionError("the pass went by the trunk's end")

    def holds(self, block: nn.Module) -> bool:
        """Whether a block is one of the trunk's."""
        return block in self._passing

    def _own(self) -> list[nn.Module]:
        """The network's blocks as they are now; a plan runs a few of many equal ones."""
        return list(self._holder._modules[self._name])

    @contextlib.contextmanager
    def _blocks(self, blocks: list[Any]) -> Iterator[None]:
        own = self._holder._modules[self._name]
        self._holder._modules[self._name] = nn.ModuleList(blocks)
        try:
            yield
        finally:
            self._holder._modules[self._name] = own


@dataclass(frozen=True)
class CachedStates:
    """What came out of the trunk for every token of a split. `starts`: first token of every row, and the end; shape (N + 1,).

    `kept`: (all tokens, H) in memory, or the descriptor of the file that holds them in this order; -1 before they are made.
    """

    starts: np.ndarray
    width: int
    dtype: torch.dtype
    kept: torch.Tensor | int

    def __post_init__(self) -> None:
        """The descriptor is open as long as somebody has the states."""
        if isinstance(self.kept, int) and self.kept >= 0:
            weakref.finalize(self, os.close, self.kept)

    @property
    def row_bytes(self) -> int:
        """Bytes of one token."""
        return self.width * self.dtype.itemsize

    def rows(self, rows: Sequence[int]) -> torch.Tensor:
        """The states of these rows one after the other, float32, shape (T, H)."""
        pieces = [self._row(row) for row in rows]
        return torch.cat(pieces).float()

    def _row(self, row: int) -> torch.Tensor:
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        if isinstance(self.kept, torch.Tensor):
            return self.kept[start:end]
        piece = torch.empty(end - start, self.width, dtype=self.dtype)
        offset = start * self.row_bytes
        view: Any = memoryview(_bytes(piece)).cast("B")
        while len(view):
            count = os.preadv(self.kept, [view], offset)
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
    """The trunk's outcome for a split, run now or found in the store from a run over the same tokens and weights.

    In memory it is kept even if the store cannot be written; as a file that is an `OSError`. `watch`: what is opened around
    the pass with the most tokens. `tell`: hears WAITS when another process is at the same work; that is waited for.
    """
    starts = np.concatenate([[0], np.cumsum(encoded.lengths)])
    states = CachedStates(starts, prepared_model.network.config.hidden_size, dtype, -1)
    key = _key(prepared_model, encoded, dtype=dtype)
    path, kept = _found(key, states), None
    if path is None:
        with cache.entry_lock("trunk", key, waiting=lambda: notify(WAITS)):
            path = _found(key, states)
            if path is None:
                kept = _make(prepared_model, encoded, states, key=key, where=where, watch=watch)
                path = None if kept is not None else _found(key, states)  # which reads and hashes all of it again
    if kept is not None:
        return replace(states, kept=kept)
    if path is None:
        raise FileNotFoundError(cache.cache_folder())
    if where == "file":
        return replace(states, kept=os.open(path, os.O_RDONLY))
    return replace(states, kept=torch.from_numpy(np.fromfile(path, dtype=np.uint8)).view(dtype).view(-1, states.width))


def _make(
    prepared_model: PreparedModel, encoded: EncodedSplit, states: CachedStates, *, key: str, where: Where, watch: Watch
) -> torch.Tensor | None:
    """Run the trunk and put its outcome into the store; in memory it is handed back too."""
    if where == "memory":
        kept = torch.empty(int(states.starts[-1]), states.width, dtype=states.dtype)
        for start, piece in _run(prepared_model, encoded, states.starts, watch=watch):
            kept[start : start + len(piece)] = piece
        with contextlib.suppress(OSError), cache.create("trunk", key) as place:
            _bytes(kept).tofile(place / _FILE)
        return kept
    with cache.create("trunk", key) as place, open(place / _FILE, "wb") as file:
        for start, piece in _run(prepared_model, encoded, states.starts, watch=watch):
            file.seek(start * states.row_bytes)
            file.write(_bytes(piece.to(states.dtype)))
    return None


def _bytes(tensor: torch.Tensor) -> Any:
    """A tensor's numbers as they lie in memory."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _found(key: str, states: CachedStates) -> Path | None:
    place = cache.lookup("trunk", key)
    path = None if place is None else place / _FILE
    whole = path is not None and path.is_file() and path.stat().st_size == int(states.starts[-1]) * states.row_bytes
    return path if whole else None


def _run(
    prepared_model: PreparedModel, encoded: EncodedSplit, starts: np.ndarray, *, watch: Watch
) -> Iterator[tuple[int, torch.Tensor]]:
    """(first token, states) of every text, each once, without dropout and gradients; in smaller passes where memory runs out."""
    device = prepared_model.network.get_input_embeddings().weight.device
    prepared_model.trainable_module.eval()
    passes, lengths = packing.evaluation_batches(encoded.lengths, budget=FILL_TOKENS), encoded.lengths
    largest = max(passes, key=lambda rows: sum(lengths[row] for row in rows))

    def run(rows: tuple[int, ...]) -> tuple[packing.Batch, torch.Tensor]:
        batch = packing.collate(encoded, rows, device=str(device))
        with torch.no_grad(), watch() if rows is largest else nullcontext():
            return batch, prepared_model.frozen_prefix.run(prepared_model, batch.ids, batch.layout).cpu()

    for batch, states_TH in packing.map_with_oom_split(passes, lengths, run, doing="running the frozen blocks over"):
        for row, piece in zip(batch.rows, states_TH.split(list(batch.layout.lengths)), strict=True):
            yield int(starts[row]), piece


def _key(prepared_model: PreparedModel, encoded: EncodedSplit, *, dtype: torch.dtype) -> str:
    """Hash of all that the outcome depends on: tokens, weights, shape, and how the numbers are computed.

    Versions, processor and threads are part of it, so that a run comes out the same whether or not it found the outcome here.
    """
    network, architecture, frozen_prefix = prepared_model.network, prepared_model.architecture, prepared_model.frozen_prefix
    shape = {name: value for name, value in network.config.to_dict().items() if name not in _NO_MATTER}
    device = network.get_input_embeddings().weight.device.type
    computed = {"environment": hardware.environment(), "device": device, "bfloat16": prepared_model.bfloat16}
    computed["packed"] = kernels.can_pack(torch.bfloat16 if prepared_model.bfloat16 else torch.float32)
    told = [shape, computed, frozen_prefix.num_layers, str(dtype)]
    parts: list[Any] = [_FORMAT, json.dumps(told, sort_keys=True, default=str)]
    parts += [np.array(encoded.lengths).data, encoded.flat().astype(np.int32).data]
    above = tuple(f"{name}." for name in (architecture.final_norm, architecture.pooler) if name)
    for name, tensor in sorted(network.state_dict().items()):
        index = layer_index(architecture, name)
        if (
            name.startswith(f"{architecture.body}.")
            and not name.startswith(above)
            and (index is None or index < frozen_prefix.num_layers)
        ):
            parts += [name, memoryview(_bytes(tensor.detach().cpu()))]
    return cache.make_key(parts)
