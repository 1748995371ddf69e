"""Which token stands for each word, and long texts as windows of which every word is read once."""

import numpy as np
import pytest

from finewright.core.errors import UserError
from finewright.data import packing
from finewright.data.tagged_tokens import TaggedText, make_tagged_text, split_words
from finewright.data.token_windows import encode_tagged_texts
from finewright.data.words_of_windows import NO_TAG
from support import tiny

TAGS = {"O": 0, "B-X": 1, "I-X": 2}


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def tokenizer(request, tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tiny.folder(tmp_path_factory.mktemp("model") / request.param, kind=request.param)
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, texts, *, limit=64, tags=None):
    rows = []
    for number, text in enumerate(texts):
        words = split_words(text)
        own = tags[number] if tags else [("B-X", "O", "I-X")[place % 3] for place in range(len(words))]
        rows.append(make_tagged_text(text, words, own, where=f"row {number}"))
    return rows, encode_tagged_texts(tokenizer, rows, limit=limit, class_of=lambda tag: TAGS.get(tag, NO_TAG))


def test_the_first_token_of_each_word_stands_for_it(tokenizer):
    text = "where is my jacket, the tent?"
    rows, encoded = encode(tokenizer, [text])
    ids, marks, tags = encoded.split.ids[0], np.asarray(encoded.split.trained[0]), np.asarray(encoded.split.tags[0])
    assert ids.tolist() == tokenizer(text)["input_ids"], "the text is read as anywhere else"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert marks.sum() == len(rows[0].words) == 8
    for place, (start, end), tag in zip(np.flatnonzero(marks), rows[0].words, rows[0].tags, strict=True):
        assert offsets[place][0] in (start, start - 1), "byte-level tokens may begin with the space before"
        assert start < offsets[place][1] <= end
        assert tags[place] == TAGS[tag]
    assert (tags[~marks] == NO_TAG).all(), "no other token has a tag"
    (words,) = encoded.split.targets
    assert words.reads.tolist() == [*range(8)]


def test_a_batch_reads_marked_tokens_and_their_tags(tokenizer):
    rows, encoded = encode(tokenizer, ["where is it", "pay", "ship my new tent please"])
    batch = packing.collate(encoded.split, [0, 1, 2])
    assert batch.rows == (1, 0, 2) or encoded.split.lengths[1] == encoded.split.lengths[0]
    assert batch.num_targets == tuple(len(rows[row].words) for row in batch.rows)
    assert batch.targets.tolist() == [TAGS[tag] for row in batch.rows for tag in rows[row].tags]
    flat = np.concatenate([np.asarray(encoded.split.trained[row]) for row in batch.rows])
    assert batch.read.tolist() == np.flatnonzero(flat).tolist()


def test_long_texts_are_windows_that_read_every_word_once(tokenizer):
    text = " ".join(["the parcel is where my jacket and tent"] * 12)
    rows, encoded = encode(tokenizer, ["pay", text, "ship"], limit=24)
    assert encoded.num_windowed == 1
    assert encoded.row_of == [0, *[1] * (len(encoded.row_of) - 2), 2]
    assert max(encoded.split.lengths) <= 24
    covered = []
    for window in encoded.split.targets:
        if window.row == 1:
            covered += range(window.first, window.first + len(window.reads))
    assert covered == [*range(len(rows[1].words))], "in order, each once"
    of_text = [place for place, row in enumerate(encoded.row_of) if row == 1]
    read = [int(tag) for place in of_text for tag in np.asarray(encoded.split.tags[place]) if tag != NO_TAG]
    assert read == [TAGS[tag] for tag in rows[1].tags], "every word is learnt once"
    special = len(tokenizer("")["input_ids"])
    for place in of_text[1:]:  # a word at the start of a window sees what is before it there
        first = int(np.flatnonzero(np.asarray(encoded.split.trained[place]))[0])
        assert first >= (24 - special) * 0.25 / 2 - 2


def test_windows_of_one_token_are_refused_without_room(tokenizer):
    if not tokenizer("")["input_ids"]:
        pytest.skip("no special tokens")
    with pytest.raises(UserError, match="a window of 2 tokens has no room beside 2 special tokens"):
        encode(tokenizer, ["where is it"], limit=2)


def test_words_that_share_a_token_are_told(tokenizer):
    text = "where"
    row = TaggedText(text, "", "", words=((0, 1), (1, 5)), tags=("B-X", "O"))
    encoded = encode_tagged_texts(tokenizer, [row], limit=9, class_of=TAGS.__getitem__)
    (words,) = encoded.split.targets
    if np.asarray(encoded.split.trained[0]).sum() == 1:
        assert (words.reads.tolist(), words.shares.tolist(), encoded.num_hidden) == ([0, 0], [False, True], 1)
        assert [tag for tag in np.asarray(encoded.split.tags[0]).tolist() if tag != NO_TAG] == [TAGS["B-X"]], "of the first word"
    else:
        assert words.reads.tolist() == [0, 1]


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="does not say which characters"):
        encode_tagged_texts(Slow(), [], limit=9, class_of=TAGS.__getitem__)


def test_texts_without_a_tagged_token_are_left_out_of_training(tokenizer):
    rows = [TaggedText("pay", "", "", words=(), tags=()), TaggedText("ship", "", "", words=((0, 4),), tags=("O",))]
    encoded = encode_tagged_texts(tokenizer, rows, limit=9, class_of=TAGS.__getitem__)
    kept = encoded.with_tags()
    assert (encoded.row_of, kept.row_of) == ([0, 1], [1])
    assert [ids.tolist() for ids in kept.split.ids] == [encoded.split.ids[1].tolist()]
