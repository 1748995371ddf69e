"""A text as `mini` and as its teacher read it, token beside token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer


@dataclass
class Reading:
    """A text as one of the two reads it: token ids, and the character after each token (0 for special tokens)."""

    ids: np.ndarray
    ends: np.ndarray


def read_all(texts: Sequence[str], tokenizer: Tokenizer, *, limit: int) -> list[Reading]:
    """Every text as `tokenizer` splits it, at most `limit` tokens of it."""
    found = []
    for start in range(0, len(texts), 20_000):
        for encoding in tokenizer.encode_batch(texts[start : start + 20_000]):
            ends = np.array([end for _, end in encoding.offsets[:limit]], dtype=np.uint16)
            found.append(Reading(np.array(encoding.ids[:limit], dtype=np.uint16), ends))
    return found


def align(ours: Reading, theirs: Reading) -> tuple[np.ndarray, np.ndarray]:
    """For each of our tokens: how many of the teacher's, [CLS] included, end by then, and whether the last ends right there."""
    words = theirs.ends[1:-1]
    counts = np.searchsorted(words, ours.ends, side="right")
    same = (counts > 0) & (words[np.maximum(counts, 1) - 1] == ours.ends) if len(words) else np.zeros(len(counts), dtype=bool)
    return counts + 1, same


@dataclass
class Aligned:
    """Texts of one length as `mini` reads them, beside the teacher's tokens, which are padded to one length.

    `place`: the teacher's token that ends where ours ends, or the last one before. `has_word`: whether it ends right there.
    `known`: whether ends are comparable at all. All three are (texts, our tokens); `real` is (texts, the teacher's tokens).
    """

    ids: torch.Tensor
    theirs: torch.Tensor
    real: torch.Tensor
    place: torch.Tensor
    has_word: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, ours: Sequence[Reading], theirs: Sequence[Reading]) -> "Aligned":
        """The readings of some texts by the two."""
        length, sizes = len(ours[0].ids), np.array([len(reading.ids) for reading in theirs])
        shape = (len(ours), length)
        ids, counts = np.zeros((len(ours), sizes.max()), dtype=np.int64), np.ones(shape, dtype=np.int64)
        has_word, known = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for row, (mine, reading) in enumerate(zip(ours, theirs, strict=True)):
            ids[row, : len(reading.ids)] = reading.ids
            if len(mine.ends):
                counts[row], has_word[row] = align(mine, reading)
                known[row] = True
        counts[:, -1] = sizes  # our last token has read all that the teacher has
        stacked = np.stack([mine.ids for mine in ours]).astype(np.int64)
        real = np.arange(ids.shape[1]) < sizes[:, None]
        return cls(*map(torch.from_numpy, (stacked, ids, real, counts - 1, has_word, known)))

    def at_our_tokens(self, states: torch.Tensor) -> torch.Tensor:
        """The teacher's states (texts, its tokens, width) at the places of our tokens."""
        return states.gather(1, self.place.to(states.device)[..., None].expand(-1, -1, states.shape[-1]))

    def means_so_far(self, states: torch.Tensor) -> torch.Tensor:
        """The means of the teacher's states up to each of our tokens; at the last one, of all."""
        sums = (states * self.real.to(states.device)[..., None]).cumsum(1)
        return self.at_our_tokens(sums) / (self.place.to(states.device)[..., None] + 1)
