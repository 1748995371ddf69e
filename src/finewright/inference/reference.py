"""Log-probabilities of answers by the untrained model, measured once for all rows of a run.

Shape suffixes: N rows, P texts of a row.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core import cache, hardware
from finewright.data.packing import EncodedSplit
from finewright.inference import scoring
from finewright.models import kernels
from finewright.models.frozen_cache import WAITS
from finewright.models.prepared import PreparedModel

_FORMAT, _KIND, _FILE = "finewright reference 1", "reference", "sums.bin"
_DTYPE = np.dtype("<f4")


def measure_reference(
    prepared_model: PreparedModel,
    encoded: EncodedSplit,
    *,
    identity: Mapping[str, Any],
    notify: Callable[[str], None] = lambda sentence: None,
) -> np.ndarray:
    """Return the sums of the log-probabilities of the targets of every text, float32, shape (N, P): computed, or from the cache.

    Parameters
    ----------
    prepared_model
        The model before its first update: an adapter changes nothing then. A prompt is left out.
    identity
        JSON-ready: what the untrained model is, and how it was prepared.
    notify
        Called before waiting for another process that does the same work.
    """
    assert encoded.parts is not None, "only rows of several texts are compared with a reference"
    shape, key = encoded.parts.shape, _make_key(prepared_model, encoded, identity)
    if (found := _read(key, shape)) is not None:
        return found
    with cache.entry_lock(_KIND, key, waiting=lambda: notify(WAITS)):
        if (found := _read(key, shape)) is not None:
            return found
        with _without_prompt(prepared_model):
            sums = scoring.score_split(prepared_model, encoded).reshape(*shape, 2)[:, :, 0].astype(_DTYPE)
        with contextlib.suppress(OSError), cache.create(_KIND, key) as place:
            sums.tofile(place / _FILE)
    return sums


def _read(key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    place = cache.lookup(_KIND, key)
    if place is None:
        return None
    path = Path(place) / _FILE
    if not path.is_file() or path.stat().st_size != np.prod(shape) * _DTYPE.itemsize:
        return None
    return np.fromfile(path, dtype=_DTYPE).reshape(shape)


def _make_key(prepared_model: PreparedModel, encoded: EncodedSplit, identity: Mapping[str, Any]) -> str:
    """Hash of everything the sums depend on: the model, tokens, targets, and how they are computed."""
    runtime = prepared_model.runtime
    device = prepared_model.network.get_input_embeddings().weight.device.type
    computed = {"environment": hardware.environment(), "device": device, "bfloat16": runtime.bfloat16}
    computed["packed"] = kernels.can_pack(prepared_model.network.dtype)
    parts: list[Any] = [_FORMAT, json.dumps([computed, dict(identity)], sort_keys=True, default=str)]
    trained = np.concatenate([np.zeros(0, dtype=bool), *(np.asarray(one, dtype=bool) for one in encoded.trained or ())])
    parts += [np.ascontiguousarray(encoded.parts, dtype=np.int64).data, encoded.flat().astype(np.int32).data, trained.data]
    return cache.make_key(parts)


@contextlib.contextmanager
def _without_prompt(prepared_model: PreparedModel) -> Iterator[None]:
    """Inside, the model reads texts without its prompt."""
    prompt, prepared_model.prompt = prepared_model.prompt, None
    try:
        yield
    finally:
        prepared_model.prompt = prompt
