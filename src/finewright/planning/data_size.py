"""What of data and model decides the order in which `auto` takes methods."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from finewright.models import architectures, hub, meta, pooling
from finewright.planning.candidates import DataSize

if TYPE_CHECKING:
    from finewright.data.splits import Example


def measure_size(
    source: hub.ModelSource, train: "Sequence[Example]", *, num_validation: int, head_start: str, total_parameters: int
) -> DataSize:
    """Return the numbers of rows, whether they are pairs, and whether the model embeds texts.

    `head_start`: the option; a run whose head starts at random compares with nothing.
    """
    config = meta.load_saved_config(source.path)
    are_pairs = any(row.pair is not None for row in train[:1])
    is_causal = architectures.architecture_of(config).is_causal
    embeds_texts = pooling.embeds_texts(source.path, config, is_causal=is_causal)
    return DataSize(len(train), 0 if head_start == "random" else num_validation, embeds_texts, are_pairs, total_parameters)
