"""What `mini` is trained on: never a row that it may be tested on."""

import importlib.util
import json
import lzma
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TICKETS = ROOT / "src" / "finewright" / "assets" / "data" / "tickets"
SECRET = "My secret parcel, number nine, is late again"
HOLDS_IT = f"Well. {SECRET.upper()}! Please help."


def load_texts_module():
    spec = importlib.util.spec_from_file_location("mini_texts", ROOT / "scripts" / "mini_texts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mini_texts = load_texts_module()


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def sources(tmp_path):
    """Books, data sets and tickets, in most of which a held-out text hides."""
    data = tmp_path / "data"
    write_lines(data / "banking77" / "train.jsonl", [{"text": t} for t in (SECRET, HOLDS_IT, "My card is lost.", "Is it him ?")])
    write_lines(data / "banking77" / "test.jsonl", [{"text": SECRET.lower()}])
    write_lines(data / "gsm8k" / "train.jsonl", [{"question": f"Ann has two cats. {SECRET}. How many cats has she?"}])
    write_lines(data / "gsm8k" / "test.jsonl", [{"question": "Bob has one dog and no cat. How many dogs has Bob?"}])
    write_lines(data / "trec6" / "test.jsonl", [{"text": "Is it him?"}])
    write_lines(data / "emotion" / "train.jsonl", [{"text": "i feel that nobody reads this row"}])
    (data / "alpaca_cot").mkdir()
    everyday = [{"instruction": "Bob has one dog and no cat. How many dogs has Bob?", "output": "He has a dog. It is him."}]
    (data / "alpaca_cot" / "a.json").write_text(json.dumps(everyday), encoding="utf-8")
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "train.csv").write_text(
        "text,label\nthe green kettle came without its lid,defect\n", encoding="utf-8"
    )
    book = ["They said the green kettle came without its lid today.", "A quiet evening came over the hills."]
    with lzma.open(tmp_path / "books.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n\n".join(book * mini_texts.READ_ONE_PARAGRAPH_IN) + "\n\n")
    return tmp_path


def collect(folder, data, tickets, corpus, **more):
    return mini_texts.collect(corpus, data, tickets, folder, modern_words=["refund"], seed=0, **more)


def test_no_held_out_row_is_collected(sources):
    texts = collect(["router", "password"], sources / "data", sources / "tickets", sources / "books.txt.xz", scale=0.01)
    plain = {" ".join(mini_texts.split_words(text)) for text in texts}
    assert {"my card is lost", "ann has two cats", "he has a dog", "refund"} <= plain
    held_out = ("secret parcel number nine is late", "bob has one dog and no cat how many", "kettle came without its lid")
    assert [text for text in plain for part in held_out if part in text] == []
    assert "is it him" not in plain
    assert not any("nobody reads this row" in text for text in plain), "emotion is for research only"


def test_short_held_out_texts_are_dropped_only_as_a_whole():
    held_out = mini_texts.HeldOut(["Cancel my order", "Where is the nearest cash machine?"])
    assert "cancel my order!" in held_out
    assert "Please cancel my order today" not in held_out
    assert "Tell me: where is the nearest cash machine" in held_out
    assert "Where is the nearest cash desk?" not in held_out
    assert "" not in held_out


def test_a_text_typed_anew_keeps_its_words_but_for_slips():
    rng = random.Random(0)
    text = "I have not received my order yet."
    typed = [mini_texts.as_people_type(text, rng) for _ in range(300)]
    untouched = [one for one in typed if one in (text, text.rstrip("."))]
    assert 200 < len(untouched) < 300
    assert all(abs(len(one) - len(text)) <= 2 for one in typed)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "corpus" / "gutenberg.txt.xz").exists(), reason="needs the texts that mini is trained on")
def test_what_mini_is_trained_on_holds_no_row_of_a_test_split():
    data = SHARED / "data"
    texts = collect(["router", "password"], data, TICKETS, SHARED / "corpus" / "gutenberg.txt.xz")
    assert len(texts) > 150_000
    joined = "\n".join(" ".join(mini_texts.split_words(text)) for text in texts)
    held_out = {" ".join(mini_texts.split_words(text)) for text in mini_texts.held_out_texts(data, TICKETS)}
    assert len(held_out) > 8_000
    lines = set(joined.split("\n"))
    assert held_out & lines == set()
    starts = {}
    for text in held_out:
        if text.count(" ") >= mini_texts.WORDS_THAT_IDENTIFY - 1:
            starts.setdefault(" ".join(text.split()[: mini_texts.WORDS_THAT_IDENTIFY]), []).append(f" {text} ")
    found = []
    for line in lines:
        words = line.split()
        for place in range(len(words)):
            for text in starts.get(" ".join(words[place : place + mini_texts.WORDS_THAT_IDENTIFY]), ()):
                found += [text] if text in f" {line} " else []
    assert found == []


def test_modern_words_are_those_of_everyday_english_that_the_books_hardly_use(sources):
    everyday = [{"instruction": "Reset the router password. The kettle is green.", "output": "The router is reset."}] * 3
    (sources / "data" / "alpaca_cot" / "b.json").write_text(json.dumps(everyday), encoding="utf-8")
    rows = [{"text": f"my password and my router, case {number}, and the kettle"} for number in range(3)]
    write_lines(sources / "data" / "banking77" / "train.jsonl", rows)
    found = mini_texts.find_modern_words(sources / "data", sources / "books.txt.xz")
    assert {"router", "password"} <= set(found)
    assert "the" not in found, "the books have it as often"
    assert "green" not in found
    assert "lost" not in found, "used too rarely"
