"""Tokenizing in pieces, and once for many runs."""

import numpy as np
import pytest

from finewright.core import cache
from finewright.core.errors import UserError
from finewright.data import tokenization
from finewright.data.text_pairs import TextPair
from support import pairs, tiny

TEXTS = [f"where is parcel {number}" + " please" * (number % 7) for number in range(50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenization, "WORTH_CACHING", 10)


def encode(tokenizer, texts=TEXTS, *, limit=64, keep_end=False, keep=False):
    return tokenization.tokenize(tokenizer, texts, limit=limit, keep_end=keep_end, keep=keep)[:2]


@pytest.mark.parametrize("keep_end", [False, True])
def test_in_pieces_it_is_what_the_tokenizer_says(tokenizer, monkeypatch, keep_end):
    whole = [tokenizer(text)["input_ids"] for text in TEXTS]
    expected = [ids[-8:] if keep_end else ids[:8] for ids in whole]
    for at_once in (1, 7, 1000):
        monkeypatch.setattr(tokenization, "TEXTS_AT_ONCE", at_once)
        rows, uncut = encode(tokenizer, limit=8, keep_end=keep_end)
        assert rows.tolist() == expected
        assert uncut.tolist() == [len(ids) for ids in whole]
    assert max(map(len, whole)) > 8


def test_rows_are_views_into_one_array(tokenizer):
    rows, _ = encode(tokenizer)
    assert len(rows) == len(TEXTS)
    assert rows[3].base is not None
    assert np.shares_memory(rows[3], rows.flat)
    assert rows.lengths.tolist() == [len(row) for row in rows]


def test_no_text_is_no_row(tokenizer):
    rows, uncut = encode(tokenizer, [])
    assert len(rows) == len(uncut) == 0
    assert rows.tolist() == []


def counted(tokenizer, monkeypatch):
    calls = []
    kind = type(tokenizer)
    honest = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda self, texts, **options: calls.append(len(texts)) or honest(self, texts, **options)
    )
    return calls


def test_many_texts_are_tokenised_once(tokenizer, monkeypatch):
    first, uncut = encode(tokenizer, keep=True)
    calls = counted(tokenizer, monkeypatch)
    again, again_uncut = encode(tokenizer, keep=True)
    assert calls == []
    assert again.tolist() == first.tolist()
    assert again_uncut.tolist() == uncut.tolist()


def test_a_cut_before_does_not_hide_the_entry(tokenizer, monkeypatch):
    """Cutting leaves its settings in the tokenizer."""
    encode(tokenizer, keep=True, limit=8)
    encode(tokenizer, keep=True, limit=9)
    calls = counted(tokenizer, monkeypatch)
    encode(tokenizer, keep=True, limit=8)
    assert calls == []


@pytest.mark.parametrize(
    "change",
    [
        {"texts": [*TEXTS[:-1], "another"]},
        {"texts": TEXTS[:-1]},
        {"texts": [TEXTS[1], TEXTS[0], *TEXTS[2:]]},
        {"limit": 5},
        {"keep_end": True},
    ],
    ids=["a text", "fewer", "order", "limit", "end"],
)
def test_anything_else_is_tokenised(tokenizer, monkeypatch, change):
    encode(tokenizer, keep=True)
    calls = counted(tokenizer, monkeypatch)
    encode(tokenizer, **{"keep": True, **change})
    assert calls


def test_other_words_in_the_tokenizer_are_another_entry(tokenizer, monkeypatch):
    encode(tokenizer, keep=True)
    tokenizer.add_tokens(["parcel"])
    calls = counted(tokenizer, monkeypatch)
    encode(tokenizer, keep=True)
    assert calls


def test_few_texts_and_texts_to_predict_leave_no_trace(tokenizer):
    encode(tokenizer, TEXTS[:5], keep=True)
    encode(tokenizer)
    assert not (cache.cache_folder() / "tokens").exists()


@pytest.mark.parametrize("damage", [lambda old: old[:-4], lambda old: bytes([old[0] ^ 1]) + old[1:]], ids=["cut", "a bit"])
def test_a_damaged_entry_is_made_anew(tokenizer, monkeypatch, damage):
    first, _ = encode(tokenizer, keep=True)
    file = next(cache.cache_folder().glob("tokens/*/ids.bin"))
    file.write_bytes(damage(file.read_bytes()))
    calls = counted(tokenizer, monkeypatch)
    again, _ = encode(tokenizer, keep=True)
    assert calls
    assert again.tolist() == first.tolist()


def test_without_a_disk_it_is_tokenised_every_time(tokenizer, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "taken"))
    assert len(encode(tokenizer, keep=True)[0]) == len(TEXTS)


def test_where_ids_are_kept_is_reported_when_they_are(tokenizer, tmp_path):
    told = tokenization.cache_note(tokenizer, [50, 9, 10])
    assert told.startswith(f"60 texts in {tmp_path / 'cache'}: from 10 on")
    assert told.endswith("at most 21.5 GB and 25% of the disk's space")
    assert tokenization.cache_note(tokenizer, [9, 9]) == ""
    assert tokenization.cache_note(object(), [50]) == ""


@pytest.mark.parametrize("limit", [64, 6])
def test_a_text_that_begins_with_the_token_the_tokenizer_adds_has_it_once(tmp_path, limit):
    """A chat template writes the token that begins a text; with the tokenizer's own there would be two."""
    from transformers import AutoTokenizer

    bert = AutoTokenizer.from_pretrained(tiny.folder(tmp_path / "bert", kind="bert"))
    texts = [
        "where is my parcel",
        "[CLS]where is my parcel",
        "[CLS][CLS]where is my parcel",
        "where is [CLS] my parcel",
        "",
        "[CLS]",
    ]
    rows = encode(bert, texts, limit=limit)[0].tolist()
    assert rows[0] == rows[1] == rows[2]
    assert rows[4] == rows[5]
    assert all(ids[0] == bert.cls_token_id != ids[1] for ids in rows)
    assert len(rows[0]) == min(limit, len(bert(texts[0])["input_ids"]))


def test_a_tokenizer_that_adds_nothing_leaves_texts_as_they_are(tokenizer):
    texts = ["<|endoftext|>where is it", "<|endoftext|>"]
    assert encode(tokenizer, texts)[0].tolist() == [tokenizer(text)["input_ids"] for text in texts]


PAIRS = [TextPair(f"where is parcel {number}", "please " * (number % 9 + 1)) for number in range(40)]


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("keep_end", [False, True])
def test_pairs_are_what_the_tokenizer_says_of_two_texts(tmp_path, monkeypatch, kind, keep_end):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pairs.folder(tmp_path / kind, kind=kind))
    found = tokenization.tokenize(tokenizer, PAIRS, limit=24, keep_end=keep_end, keep=False)
    tokenizer.truncation_side = "left" if keep_end else "right"
    whole = [tokenizer(*pair, return_token_type_ids=True) for pair in PAIRS]
    cut = [tokenizer(*pair, truncation="longest_first", max_length=24, return_token_type_ids=True) for pair in PAIRS]
    assert found.ids.tolist() == [one["input_ids"] for one in cut]
    assert found.lengths_uncut.tolist() == [len(one["input_ids"]) for one in whole]
    assert max(found.lengths_uncut) > 24 > min(found.lengths_uncut)
    if kind == "bert":
        assert found.first_lengths.tolist() == [one["token_type_ids"].count(0) for one in cut]
    else:
        assert found.first_lengths is None
    monkeypatch.setattr(tokenization, "TEXTS_AT_ONCE", 7)
    again = tokenization.tokenize(tokenizer, PAIRS, limit=24, keep_end=keep_end, keep=True)
    cached = tokenization.tokenize(tokenizer, PAIRS, limit=24, keep_end=keep_end, keep=True)
    for other in (again, cached):
        assert other.ids.tolist() == found.ids.tolist()
        assert (other.first_lengths is None) == (kind != "bert")
        assert other.first_lengths is None or other.first_lengths.tolist() == found.first_lengths.tolist()


def test_pairs_and_joined_texts_are_not_mistaken_in_the_cache(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pairs.folder(tmp_path / "bert"))
    moved = [TextPair(*("".join(pair)[:cut], "".join(pair)[cut:])) for pair, cut in zip(PAIRS, range(3, 43), strict=True)]
    for some in (PAIRS, moved, [" ".join(pair) for pair in PAIRS]):
        kept = tokenization.tokenize(tokenizer, some, limit=64, keep_end=False, keep=True)
        fresh = tokenization.tokenize(tokenizer, some, limit=64, keep_end=False, keep=False)
        assert kept.ids.tolist() == fresh.ids.tolist()


def test_a_limit_that_holds_no_pair_is_refused(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pairs.folder(tmp_path / "bert"))
    with pytest.raises(UserError, match="4 tokens hold no pair: with its special tokens the shortest has 5"):
        tokenization.tokenize(tokenizer, PAIRS, limit=4, keep_end=False, keep=False)


def test_pairs_beside_single_texts_are_refused(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pairs.folder(tmp_path / "bert"))
    with pytest.raises(AssertionError, match="all inputs are pairs"):
        tokenization.tokenize(tokenizer, [PAIRS[0], "one text"], limit=64, keep_end=False, keep=False)
