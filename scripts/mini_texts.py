"""The texts that `mini` learns from.

Everyday English and books give sentences, questions and short passages. Neither knows many of today's words, such as "password"
or "refund", so words of the teacher's own vocabulary are put into some of the sentences: the teacher's vector of the changed
sentence still says what the word means there. No text is, or holds, a row that somebody may want to test `mini` on.
"""

import csv
import json
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(]?[A-Z])")
LIST_MARK = re.compile(r"^\s*(?:-|\([A-Z]\)|[A-Z]\)|(?:Sentence [A-Z]|Claim|Question|Answer|Premise|Q|A):)\s*")
WORD = re.compile(r"[a-z0-9]+")
MAX_WORDS = 120
READ_ONE_PARAGRAPH_IN = 8
"""The books are many times more than is needed."""
LEAST_USES = 3
"""In everyday English, of a word that may count as one of today."""
LEAST_RATIO = 4.0
"""Of its share of everyday English to its share of the books."""
MOST_MODERN_WORDS = 5_000
WORDS_THAT_IDENTIFY = 5
"""A held-out text of fewer words, such as "cancel my order", occurs by chance; it is dropped only as a whole text."""
TYPED_LETTERS = "abcdefghijklmnopqrstuvwxyz"
TRAINED_ON = ("banking77", "gsm8k")
"""Data sets whose train splits are learned from. Those of trec6 and emotion are for research only, so `mini` does without."""


# ---- texts that must not be learned from ----------------------------------------------------------------------------


def held_out_texts(data: Path, tickets: Path) -> list[str]:
    """Rows of every test and validation split in the folders of `data`, every row of `tickets`, and the sentences of all."""
    paths = sorted([*data.glob("*/test.jsonl"), *data.glob("*/validation.jsonl")])
    found = [text for path in paths for text in read_rows(path)]
    for path in sorted(tickets.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [row["text"] for row in csv.DictReader(file)]
    parts = [part for text in found for part in SENTENCE_END.split(text) if len(split_words(part)) >= WORDS_THAT_IDENTIFY]
    return found + parts


def read_rows(path: Path) -> list[str]:
    """The texts of a file of JSON lines: `text`, or `question` without its answer."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [row["text"] if "text" in row else row["question"] for row in map(json.loads, lines)]


class HeldOut:
    """Recognises texts that are, or hold, one of the `texts`; capitals, punctuation and spaces do not matter."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_start: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        self._whole: set[tuple[str, ...]] = set()
        for text in texts:
            words = split_words(text)
            self._whole.add(words)
            if len(words) >= WORDS_THAT_IDENTIFY:
                self._by_start.setdefault(words[:WORDS_THAT_IDENTIFY], set()).add(words)

    def __contains__(self, text: str) -> bool:
        words = split_words(text)
        return words in self._whole or any(
            words[start : start + len(one)] == one
            for start in range(len(words) - WORDS_THAT_IDENTIFY + 1)
            for one in self._by_start.get(words[start : start + WORDS_THAT_IDENTIFY], ())
        )


def split_words(text: str) -> tuple[str, ...]:
    """Words of a text in small letters, without punctuation."""
    return tuple(WORD.findall(text.lower()))


# ---- where texts come from ------------------------------------------------------------------------------------------


def books(path: Path) -> Iterator[str]:
    """Some paragraphs of the books, line breaks taken out, in order."""
    number = 0
    with lzma.open(path, "rt", encoding="utf-8", errors="replace") as file:
        lines: list[str] = []
        for line in file:
            if stripped := line.strip():
                lines.append(stripped)
            elif lines:
                number += 1
                if number % READ_ONE_PARAGRAPH_IN == 0:
                    yield " ".join(lines)
                lines = []


def sentences(paragraph: str) -> list[str]:
    """A paragraph's sentences that look like prose: 3 to 45 words, mostly letters."""
    found = []
    for sentence in SENTENCE_END.split(paragraph.replace("_", "")):
        text = sentence.strip(" \"'")
        if 3 <= len(text.split()) <= 45 and sum(c.isalpha() or c == " " for c in text) > 0.85 * len(text):
            found.append(text)
    return found


def everyday(folder: Path) -> tuple[list[str], list[str]]:
    """Distinct (sentences, passages) of everyday English: questions, claims, explanations; template words stripped."""
    found: dict[str, None] = {}
    passages: dict[str, None] = {}
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            for line in f"{row['instruction']}\n{row['output']}".replace("\\n", "\n").split("\n"):
                stripped = LIST_MARK.sub("", line).strip()
                parts = [text.strip(" \"'") for text in SENTENCE_END.split(stripped)]
                found |= {text: None for text in parts if 2 <= len(text.split()) <= 60}
                if len(parts) > 1:
                    passages[" ".join(stripped.split()[:MAX_WORDS])] = None
    return list(found), list(passages)


def rows_of_data(data: Path) -> list[str]:
    """Train rows of the data sets that may be learned from; of those of several sentences, each sentence too."""
    found: dict[str, None] = {}
    for name in TRAINED_ON:
        for text in read_rows(data / name / "train.jsonl"):
            parts = SENTENCE_END.split(text)
            found |= dict.fromkeys([" ".join(text.split()[:MAX_WORDS]), *(parts if len(parts) > 1 else [])])
    return list(found)


def whole_words(vocab_file: Path) -> list[str]:
    """The teacher's whole words of three letters or more, most frequent first."""
    words = vocab_file.read_text(encoding="utf-8").split("\n")
    return [word for word in words if len(word) > 2 and word.isascii() and word.isalpha()]


# ---- what is made of them -------------------------------------------------------------------------------------------


def find_modern_words(data: Path, corpus: Path) -> list[str]:
    """The words that everyday English uses much more than the books do, most frequent first.

    A rule and not a list of ours: who has seen the texts that `mini` is tested on would write down some of their words.
    """
    daily, _ = everyday(data / "alpaca_cot")
    uses = Counter(word for text in daily + rows_of_data(data) for word in split_words(text))
    in_books = Counter(word for paragraph in books(corpus) for word in split_words(paragraph))
    usual = LEAST_RATIO * uses.total() / max(1, in_books.total())
    found = [word for word, count in uses.most_common() if count >= max(LEAST_USES, usual * in_books[word])]
    return [word for word in found if len(word) > 2 and word.isalpha()][:MOST_MODERN_WORDS]


def with_words_of(vocabulary: list[str], text: str, rng: random.Random) -> str:
    """`text` with one to three of its longer words replaced by words of `vocabulary`."""
    words = text.split()
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in rng.sample(places, min(len(places), rng.randint(1, 3))):
        words[place] = rng.choice(vocabulary)
    return " ".join(words)


def collect(  # noqa: PLR0913  every source is named
    corpus: Path, data: Path, tickets: Path, vocabulary: list[str], *, modern_words: list[str], seed: int, scale: float = 1.0
) -> list[str]:
    """All texts, shuffled by `seed`; `scale` shrinks the set for a trial.

    `corpus`: books. `data`: a folder of data sets, `alpaca_cot` (everyday English) among them. `tickets`: a folder of CSV
    files, none of whose rows is used. `vocabulary`: words to put into sentences; `modern_words`: those to put in
    more often.
    """
    rng = random.Random(seed)
    plain: list[str] = []
    questions: list[str] = []
    passages: list[str] = []
    for paragraph in books(corpus):
        prose = sentences(paragraph)
        questions += [text for text in prose if text.endswith("?")]
        plain += [text for text in prose if not text.endswith("?")]
        if len(prose) > 2:
            start = rng.randrange(len(prose) - 1)
            passages.append(" ".join(" ".join(prose[start : start + rng.randint(2, 6)]).split()[:MAX_WORDS]))
    daily, daily_passages = everyday(data / "alpaca_cot")

    held_out = HeldOut(held_out_texts(data, tickets))

    def allowed(texts: Iterable[str]) -> list[str]:
        return [text for text in texts if text not in held_out]

    def some(texts: list[str], number: int) -> list[str]:
        return rng.sample(texts, min(len(texts), int(number * scale)))

    rows, daily = allowed(rows_of_data(data)), allowed(daily)
    base = allowed(some(plain, 30_000) + some(questions, 12_000)) + some(daily, 60_000) + some(rows, 50_000)
    changed = [with_words_of(modern_words if i % 2 else vocabulary, text, rng) for i, text in enumerate(some(base, 50_000))]
    joined = [" ".join(rng.choices(rows + daily, k=rng.randint(2, 4))) for _ in range(int(20_000 * scale))]
    listed = modern_words + some(vocabulary, 16_000)
    for words, number in ((vocabulary, 10_000), (modern_words, 6_000)):
        listed += [" ".join(rng.choices(words, k=rng.randint(2, 5))) for _ in range(int(number * scale))]
    passages = some(passages, 8_000) + some(daily_passages, 12_000)
    texts = allowed(dict.fromkeys(base + changed + joined + listed + passages))  # parts put together can make a held-out text
    rng.shuffle(texts)
    return texts


def as_people_type(text: str, rng: random.Random) -> str:
    """The text as a person might have typed it: no full stop, or slips of the finger. Its meaning stays."""
    if rng.random() < 0.20:
        text = text.rstrip(".!?")
    if rng.random() < 0.12:
        letters = list(text)
        for _ in range(1 + len(letters) // 60):
            place = rng.randrange(len(letters)) if letters else 0
            if letters and letters[place].isalpha():
                letters[place] = rng.choice(("", letters[place] * 2, rng.choice(TYPED_LETTERS)))
        text = "".join(letters)
    return text or "?"


def batches_of_one_length(lengths: Sequence[int], *, tokens: int, seed: int) -> list[list[int]]:
    """Rows of one length each, at most `tokens` tokens together, rows and batches shuffled; no row is left out."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    by_length: dict[int, list[int]] = {}
    for row in order:
        by_length.setdefault(lengths[row], []).append(row)
    batches = []
    for length, rows in by_length.items():
        size = max(1, tokens // max(1, length))
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    rng.shuffle(batches)
    return batches
