"""Pairs of texts: each gets the scores that the architecture's own class gives, alone and in any batch."""

import numpy as np
import pytest
import torch

from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.data.packing import EncodedSplit
from finewright.models import forward
from support import tiny

PAIRS = [(4, 3), (9, 7), (2, 11), (4, 3), (1, 1)]
"""Tokens of the first and of the second text of each pair, special ones included."""
WITH_TYPES = ("bert", "electra", "albert", "nomic_bert", "ernie")
WITHOUT_TYPES = ("roberta", "distilbert", "gpt2", "llama", "qwen2", "modernbert", "mpnet", "deberta-v2")


def split_of_pairs():
    ids = tiny.texts([first + second for first, second in PAIRS])
    ids = [[token + 2 if token < 2 else token for token in one] for one in ids]  # 1 pads in some of them
    return EncodedSplit(ids, [len(one) for one in ids], [], first_lengths=np.array([first for first, _ in PAIRS]))


def own_scores(kind, encoded, *, batch):
    """Scores by transformers, one padded batch or each text alone."""
    network = tiny.network(kind, packed=False)
    has_types = kind in WITH_TYPES
    rows = [torch.tensor(ids) for ids in encoded.ids]
    types = [(torch.arange(len(row)) >= first).long() for row, first in zip(rows, encoded.first_lengths, strict=True)]
    padding = network.config.pad_token_id
    found = []
    for group in [range(len(rows))] if batch else [[number] for number in range(len(rows))]:
        ids = torch.nn.utils.rnn.pad_sequence([rows[number] for number in group], batch_first=True, padding_value=padding)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(rows[number]) for number in group], batch_first=True)
        given = (
            {"token_type_ids": torch.nn.utils.rnn.pad_sequence([types[n] for n in group], batch_first=True)} if has_types else {}
        )
        with torch.no_grad():
            found.append(network(input_ids=ids, attention_mask=mask, **given).logits)
    return torch.cat(found)


def our_scores(kind, encoded, groups):
    prepared, found = tiny.prepared_model(kind), torch.zeros(len(encoded.ids), 3)
    for rows in groups:
        batch = packing.collate(encoded, rows)
        with torch.no_grad():
            found[list(batch.rows)] = forward.compute_logits(prepared, batch.ids, batch.layout)
    return found


@pytest.mark.parametrize("kind", [*WITH_TYPES, *WITHOUT_TYPES])
def test_scores_are_those_of_the_stock_class(kind):
    encoded = split_of_pairs()
    expected = own_scores(kind, encoded, batch=False)
    for groups in ([range(5)], [[0], [1], [2], [3], [4]], [[4, 0], [3, 2, 1]]):
        torch.testing.assert_close(our_scores(kind, encoded, groups), expected, atol=1e-5, rtol=1e-5)
    if kind not in ("gpt2",):  # that class looks for the padding id, which a text may end in
        torch.testing.assert_close(own_scores(kind, encoded, batch=True), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", WITH_TYPES)
def test_types_change_the_scores(kind):
    encoded = split_of_pairs()
    typed = our_scores(kind, encoded, [range(5)])
    plain = our_scores(kind, EncodedSplit(encoded.ids, encoded.lengths_uncut, []), [range(5)])
    assert (typed - plain).abs().max() > 1e-4


def test_a_prompt_is_of_the_first_type():
    layout = PackedLayout((2, 3), first_lengths=(1, 2))
    assert layout.token_types.tolist() == [0, 1, 0, 0, 1]
    assert layout.lengthened(2).token_types.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert layout.prefixed(1).token_types.tolist() == [0, 0, 1, 0, 0, 1]
    assert PackedLayout((2, 3)).token_types is None
