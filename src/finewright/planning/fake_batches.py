"""Batches of the sizes that a run has, without their contents, to trace what they cost."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from finewright.data.layout import PackedLayout
from finewright.data.packing import Batch
from finewright.models.prepared import PreparedModel


def make_batch(
    prepared_model: PreparedModel,
    parts: Sequence[Sequence[int]],
    num_targets: Sequence[int],
    *,
    num_aside: int = 0,
    cached: bool = True,
    rows: tuple[int, ...] = (),
) -> Batch:
    """Return a batch of rows.

    Parameters
    ----------
    parts
        Tokens of the texts that each row consists of; one text of most rows.
    num_targets
        How many tokens of each row are targets; empty where tokens are none.
    num_aside
        So many of the last texts of each row are read without gradients.
    cached
        Whether outputs of the frozen layers come with the texts, where they are cached at all.
    """
    num_texts = len(parts[0])
    if num_texts == 1:
        return _make_texts(prepared_model, parts, range(1), num_targets, cached=cached, rows=rows)
    learnt = num_texts - num_aside
    aside = None
    if num_aside:
        aside = _make_texts(prepared_model, parts, range(learnt, num_texts), num_targets, cached=cached, rows=rows)
    batch = _make_texts(prepared_model, parts, range(learnt), num_targets, cached=cached, rows=rows)
    reference = torch.zeros(len(parts), num_texts)
    return replace(batch, row_targets=torch.zeros(len(parts), dtype=torch.long), reference=reference, aside=aside)


def _make_texts(
    prepared_model: PreparedModel,
    parts: Sequence[Sequence[int]],
    numbers: range,
    num_targets: Sequence[int],
    *,
    cached: bool,
    rows: tuple[int, ...],
) -> Batch:
    """Return a batch of these texts of each row; the row's targets are divided evenly."""
    texts = sorted((parts[row][part], row, part) for row in range(len(parts)) for part in numbers)
    layout = PackedLayout(tuple(length for length, _, _ in texts))
    ids = torch.zeros(sum(layout.lengths), dtype=torch.long)
    has_states = cached and prepared_model.runtime.frozen_prefix is not None
    states = torch.zeros(len(ids), prepared_model.network.config.hidden_size) if has_states else None
    batch = Batch(rows, ids, layout, torch.zeros(len(texts), dtype=torch.long), states)
    if not num_targets:
        return batch
    counts = tuple(_share(num_targets[row], part, len(parts[row])) for _, row, part in texts)
    places = torch.zeros(sum(counts), dtype=torch.long)
    batch = replace(batch, targets=places, read=places, num_targets=counts)
    if len(parts[0]) == 1:
        return batch
    place = {(row, part): number for number, (_, row, part) in enumerate(texts)}
    order = [[place[row, part] for part in numbers] for row in range(len(parts))]
    return replace(batch, texts_RP=torch.tensor(order))


def _share(total: int, part: int, count: int) -> int:
    """Return the part's share of a whole number that is divided into `count` parts."""
    return total * (part + 1) // count - total * part // count
