"""Work that a run can skip, decided before it is planned and applied to the meta model and the real one alike."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from finewright.core import cache
from finewright.core.config import TrainingConfig
from finewright.core.units import counted
from finewright.data.packing import EncodedSplit
from finewright.models import acceleration, frozen_cache, trimmed_embedding
from finewright.models.frozen_cache import Where
from finewright.models.prepared import PreparedModel
from finewright.planning.defaults import Decisions
from finewright.training.loop import TrainingSchedule

WORTHWHILE_VISITS = 1.25
"""How often a text must be read for caching the outputs of the frozen layers to pay."""
MEMORY_SHARE, DISK_SHARE = 0.25, 0.5
"""Shares of the memory and of the free disk that the cache may take."""


@dataclass(frozen=True)
class SplitLengths:
    """Tokens of each text of every split, without a prompt. `tokens`: ids that occur in training, None if not known.

    `targets`: of the training texts, empty if not known. `trained`: how many tokens of each training text are targets, empty
    where tokens are none; `held_out_trained`: of the validation and the test texts. `parts`: of each row of the three splits that
    consists of several texts, their tokens; of these `num_aside` are read without gradients.
    """

    training: Sequence[int]
    validation: Sequence[int]
    test: Sequence[int] = ()
    tokens: Sequence[int] | None = None
    targets: Sequence[int] = ()
    trained: Sequence[int] = ()
    held_out_trained: tuple[Sequence[int], Sequence[int]] = ((), ())
    parts: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]], Sequence[Sequence[int]]] = ((), (), ())
    num_aside: int = 0

    @property
    def texts(self) -> tuple[Sequence[int], Sequence[int]]:
        """Tokens of each text of the training and the validation rows, where a row may be several texts."""
        training, validation = (
            [length for row in parts for length in row] if parts else split
            for parts, split in zip(self.parts, (self.training, self.validation), strict=False)
        )
        return training, validation


@dataclass(frozen=True)
class Optimizations:
    """`used_tokens`: ids that occur in training, None if not known. `num_still`: number of frozen lower layers.

    `where`: where their outputs are cached, None if they are not. `reason`: why. `cache_bytes`: size of the cache.
    """

    used_tokens: Sequence[int] | None
    num_still: int
    where: Where | None
    dtype: torch.dtype
    cache_bytes: int
    reason: str

    @property
    def memory_bytes(self) -> int:
        """Memory that the cache takes."""
        return self.cache_bytes if self.where == "memory" else 0

    def filled(self, texts: SplitLengths) -> list[Sequence[int]]:
        """Return the tokens of each text of the splits whose outputs are cached; empty without a cache."""
        return [split for split in texts.texts if split] if self.where else []

    def apply(self, prepared_model: PreparedModel, *, device: str) -> int:
        """Apply to a network or its meta model. Return the rows of the trimmed embedding, 0 if it is not trimmed."""
        num_rows = 0 if self.used_tokens is None else trimmed_embedding.trim_embedding(prepared_model, self.used_tokens)
        acceleration.accelerate(prepared_model, device=device)
        acceleration.skip_frozen_layers(prepared_model, self.num_still, cached=self.where is not None)
        return num_rows

    def notify(self, choices: Decisions, *, rows: int, faster: Sequence[acceleration.AccelerationReport] = ()) -> None:
        """Record the choices. `rows`: as `apply` returned it. `faster`: what it did for speed alone."""
        choices.note("training.frozen_layer_cache", "on" if self.where else "off", self.reason)
        if rows:
            choices.note("embeddings", counted(rows, "row"), "the tokens that occur in training; the others stay as they are")
        for line in faster:
            choices.note(*line)

    def fill(
        self,
        prepared_model: PreparedModel,
        splits: dict[str, EncodedSplit],
        names: Sequence[str],
        *,
        watch: frozen_cache.Watch = nullcontext,
        notify: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Run the frozen layers over these splits, once for the whole run. `watch`: context around each split's largest
        micro-batch. `notify`: called if another run that does the same work is waited for."""
        for name in names:
            if self.where is not None and splits[name].ids:
                states = frozen_cache.build_cache(
                    prepared_model, splits[name], where=self.where, dtype=self.dtype, watch=watch, notify=notify
                )
                splits[name] = replace(splits[name], cached_states=states)


def choose_optimizations(
    prepared_model: PreparedModel, *, options: TrainingConfig, texts: SplitLengths, schedule: TrainingSchedule, memory_bytes: int
) -> Optimizations:
    """Decide what to skip. `prepared_model`: on the meta device. `memory_bytes`: what the run may take."""
    training, validation = texts.training, texts.validation
    num_tokens = sum(training) + sum(validation)
    visits = sum(training[row] for step in schedule.steps for rows in step.batches for row in rows)
    visits += schedule.num_evaluations * sum(validation)
    still, dtype = frozen_cache.count_frozen_layers(prepared_model), getattr(torch, options.frozen_layer_cache_dtype)
    num_bytes = num_tokens * prepared_model.network.config.hidden_size * dtype.itemsize
    where, reason = _cache_location(num_bytes, memory_bytes=memory_bytes)
    times = visits / max(1, num_tokens)
    if not still:
        where, reason = None, "training begins in the first layer or before it"
    elif options.frozen_layer_cache == "off":
        where, reason = None, "as asked for"
    elif options.frozen_layer_cache == "auto" and times < WORTHWHILE_VISITS:
        where, reason = None, f"a text is read {times:.1f} times, too few to gain"
    elif where is not None:
        of = len(prepared_model.network.get_submodule(prepared_model.architecture.layers))
        run = "runs" if still == 1 else "run"
        reason = f"the lower {still} of {of} layers {run} once instead of {times:.1f} times, without dropout; {reason}"
    return Optimizations(texts.tokens, still, where, dtype, num_bytes if where else 0, reason)


def _cache_location(num_bytes: int, *, memory_bytes: int) -> tuple[Where | None, str]:
    if num_bytes <= MEMORY_SHARE * memory_bytes:
        return "memory", f"{num_bytes / 1e6:,.0f} MB in memory"
    free = cache.free_bytes()
    if num_bytes <= DISK_SHARE * free:
        return "file", f"{num_bytes / 1e6:,.0f} MB in {cache.cache_folder()}"
    return (
        None,
        f"{num_bytes / 1e9:.1f} GB would fit neither memory ({memory_bytes / 1e9:.0f} GB) nor disk ({free / 1e9:.0f} GB free)",
    )
