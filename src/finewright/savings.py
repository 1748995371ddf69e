"""Work that a run can do without, decided before its plan and done to the sketch and to the network alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from finewright import fast, store, trunk, vocabulary
from finewright.batches import Encoded, Step
from finewright.config import TrainKnobs
from finewright.trunk import Where
from finewright.tuned import Tuned

WORTHWHILE_VISITS = 1.25
"""How often a text must be read before running the trunk once for all and keeping the outcome pays for the keeping."""
MEMORY_SHARE, DISK_SHARE = 0.25, 0.5
"""Of what the machine has, for what is kept."""


@dataclass(frozen=True)
class Savings:
    """`used_tokens`: ids in the training texts. `where`: the trunk's outcome is kept there, or "" when it is not kept.

    `kept_bytes`: of the outcome. `reason`: why it is kept or not.
    """

    used_tokens: Sequence[int]
    num_still: int
    where: Where | None
    dtype: torch.dtype
    kept_bytes: int
    reason: str

    @property
    def memory_bytes(self) -> int:
        """Memory that is kept from the plan's activations and weights."""
        return self.kept_bytes if self.where == "memory" else 0

    def apply(self, tuned: Tuned, *, device: str) -> list[str]:
        """Make the network (or its sketch) do without; returns what there is to tell."""
        restricted = vocabulary.restrict(tuned, self.used_tokens)
        fast.apply(tuned, device=device)
        tuned.still_blocks = self.num_still
        if self.where is not None:
            tuned.trunk = trunk.Trunk(tuned.network, blocks=tuned.anatomy.blocks, num_blocks=self.num_still)
        return [restricted] if restricted else []

    def fill(self, tuned: Tuned, splits: dict[str, Encoded], names: Sequence[str]) -> None:
        """Run the trunk over these splits, once for the whole run."""
        for name in names:
            if self.where is not None and splits[name].ids:
                kept = trunk.fill(tuned, splits[name], where=self.where, dtype=self.dtype)
                splits[name] = replace(splits[name], kept=kept)


def choose(
    tuned: Tuned, splits: dict[str, Encoded], *, train: TrainKnobs, steps: Sequence[Step], rounds: int, memory_bytes: int
) -> Savings:
    """`tuned`: a sketch. `rounds`: how often validation is scored. `memory_bytes`: of the machine."""
    training, validation = splits["train"], splits["validation"]
    tokens = sum(training.lengths) + sum(validation.lengths)
    visits = sum(training.lengths[row] for step in steps for rows in step.batches for row in rows)
    visits += rounds * sum(validation.lengths)
    still, dtype = trunk.num_untouched(tuned), getattr(torch, train.trunk_precision)
    num_bytes = tokens * tuned.network.config.hidden_size * dtype.itemsize
    where, reason = _place(num_bytes, memory_bytes=memory_bytes)
    share = visits / max(1, tokens)
    if not still:
        where, reason = None, "what is trained begins in the first block or before it"
    elif train.trunk_cache == "off":
        where, reason = None, "as asked for"
    elif train.trunk_cache == "auto" and share < WORTHWHILE_VISITS:
        where, reason = None, f"a text is read {share:.1f} times, too few to gain"
    elif where is not None:
        of = len(tuned.network.get_submodule(tuned.anatomy.blocks))
        reason = f"the lower {still} of {of} blocks run once instead of {share:.1f} times, without dropout; {reason}"
    return Savings(training.tokens(), still, where, dtype, num_bytes if where else 0, reason)


def _place(num_bytes: int, *, memory_bytes: int) -> tuple[Where | None, str]:
    if num_bytes <= MEMORY_SHARE * memory_bytes:
        return "memory", f"{num_bytes / 1e6:,.0f} MB in memory"
    free = store.free_bytes()
    if num_bytes <= DISK_SHARE * free:
        return "file", f"{num_bytes / 1e6:,.0f} MB in {store.root()}"
    return (
        None,
        f"{num_bytes / 1e9:.1f} GB would fit neither memory ({memory_bytes / 1e9:.0f} GB) nor disk ({free / 1e9:.0f} GB free)",
    )
