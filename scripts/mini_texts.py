"""The texts that `mini` learns from, and what the teacher makes of them.

Books and everyday English give sentences, questions and short passages. A book of another century knows no
"password" or "refund", so words of the teacher's own vocabulary are put into some of the sentences: the teacher's
vector of the changed sentence still says what the word means there. The teacher is all-MiniLM-L6-v2 (Apache-2.0).
"""

import json
import lzma
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(]?[A-Z])")
LIST_MARK = re.compile(r"^\s*(?:-|\([A-Z]\)|[A-Z]\)|(?:Sentence [A-Z]|Claim|Question|Answer|Premise|Q|A):)\s*")
MAX_WORDS = 120
WORD_AXES = 96
"""Of the teacher's 384 directions of a word's state, those that are kept."""
TEACHER_TOKENS = 8192
KEYBOARD = "abcdefghijklmnopqrstuvwxyz"


def books(path: Path) -> Iterator[str]:
    """Paragraphs of the books, line breaks taken out, in order."""
    with lzma.open(path, "rt", encoding="utf-8", errors="replace") as file:
        lines: list[str] = []
        for line in file:
            if stripped := line.strip():
                lines.append(stripped)
            elif lines:
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


def everyday(folder: Path) -> list[str]:
    """Distinct sentences of everyday English: questions, claims, explanations, answers; template words stripped."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            for line in f"{row['instruction']}\n{row['output']}".replace("\\n", "\n").split("\n"):
                for text in SENTENCE_END.split(LIST_MARK.sub("", line)):
                    text = text.strip(" \"'")
                    if 2 <= len(text.split()) <= 60:
                        found[text] = None
    return list(found)


def with_words_of(vocabulary: list[str], text: str, rng: random.Random) -> str:
    """`text` with one to three of its longer words replaced by words of `vocabulary`."""
    words = text.split()
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in rng.sample(places, min(len(places), rng.randint(1, 3))):
        words[place] = rng.choice(vocabulary)
    return " ".join(words)


def collect(corpus: Path, everyday_folder: Path, vocabulary: list[str], *, seed: int, scale: float = 1.0) -> list[str]:
    """All texts, shuffled by `seed`; `scale` shrinks the set for a trial."""
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
    daily = everyday(everyday_folder)

    def some(texts: list[str], number: int) -> list[str]:
        return rng.sample(texts, min(len(texts), int(number * scale)))

    base = some(plain, 180_000) + some(questions, 60_000) + some(daily, 200_000)
    changed = [with_words_of(vocabulary, text, rng) for text in some(base, 160_000)]
    listed = some(vocabulary, 30_000) + [
        " ".join(rng.choices(vocabulary, k=rng.randint(2, 5))) for _ in range(int(60_000 * scale))
    ]
    texts = list(dict.fromkeys(base + changed + listed + some(passages, 50_000)))
    rng.shuffle(texts)
    return texts


def whole_words(vocab_file: Path) -> list[str]:
    """The teacher's whole words of three letters or more."""
    words = vocab_file.read_text(encoding="utf-8").split("\n")
    return [word for word in words if len(word) > 2 and word.isascii() and word.isalpha()]


def as_people_type(text: str, rng: random.Random) -> str:
    """The text as a person might have typed it: small letters, no full stop, a slip of the finger. Its meaning stays."""
    chance = rng.random()
    if chance < 0.30:
        text = text.lower()
    if rng.random() < 0.20:
        text = text.rstrip(".!?")
    if chance < 0.15:
        letters = list(text)
        for _ in range(1 + len(letters) // 60):
            place = rng.randrange(len(letters))
            if letters[place].isalpha():
                letters[place] = rng.choice(("", letters[place] * 2, rng.choice(KEYBOARD)))
        text = "".join(letters)
    return text or "?"


@dataclass
class Lessons:
    """What the teacher says of N texts with W words in all.

    `sentences`: unit vectors (N, 384), mean over tokens of the last states, as the teacher's makers use it.
    `words`: last state of every word, turned onto its main axes (W, WORD_AXES). `ends`: the character after each word;
    text i has the words from `starts[i]` to `starts[i + 1]`.
    """

    sentences: np.ndarray
    words: np.ndarray
    ends: np.ndarray
    starts: np.ndarray

    def save(self, folder: Path) -> None:
        """As plain arrays; the last one written is the first one looked for."""
        for name, array in vars(self).items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> "Lessons":
        """The arrays again, read from the disk when they are used."""
        return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__dataclass_fields__})


@torch.no_grad()
def teach(texts: list[str], teacher: Path, *, device: torch.device) -> Lessons:
    """The teacher's vectors of every text and of every word in it, float16."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(teacher, attn_implementation="eager").to(device).eval()
    ids, word_of_token, ends = as_teacher_reads(texts, AutoTokenizer.from_pretrained(teacher))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in ends])])
    lessons = Lessons(
        sentences=np.empty((len(texts), model.config.hidden_size), dtype=np.float16),
        words=np.empty((starts[-1], WORD_AXES), dtype=np.float16),
        ends=np.concatenate(ends).astype(np.uint16),
        starts=starts,
    )
    mean, axes, done = None, None, 0
    for rows in batches_of_one_length([len(one) for one in ids], tokens=TEACHER_TOKENS, seed=0):
        with torch.autocast(device.type, torch.bfloat16):
            states = model(torch.tensor([ids[row] for row in rows], device=device)).last_hidden_state.float()
        mean, axes = main_axes(states) if axes is None else (mean, axes)
        lessons.sentences[rows] = torch.nn.functional.normalize(states.mean(1), dim=-1).cpu().numpy()
        turned = ((states[:, 1:-1] - mean) @ axes).cpu()  # without [CLS] and [SEP]
        for row, state in zip(rows, turned, strict=True):
            word = torch.from_numpy(word_of_token[row])
            sums = torch.zeros(len(ends[row]), WORD_AXES).index_add_(0, word, state)
            lessons.words[starts[row] : starts[row + 1]] = sums / torch.bincount(word)[:, None]
        done += len(rows)
        if done // 50_000 > (done - len(rows)) // 50_000:
            print(f"taught {done:,} of {len(texts):,}", flush=True)
    return lessons


def as_teacher_reads(texts: list[str], tokenizer: Any) -> tuple[list[list[int]], list[np.ndarray], list[np.ndarray]]:
    """Of every text: token ids, the word that each token between [CLS] and [SEP] belongs to, the character after each word."""
    ids, word_of_token, ends = [], [], []
    for start in range(0, len(texts), 10_000):
        read = tokenizer(texts[start : start + 10_000], truncation=True, max_length=256)
        for encoding in read.encodings:
            word = np.array(encoding.word_ids[1:-1], dtype=np.int64)
            end = np.zeros(word[-1] + 1 if len(word) else 0, dtype=np.int64)
            np.maximum.at(end, word, [offset[1] for offset in encoding.offsets[1:-1]])
            ids.append(encoding.ids)
            word_of_token.append(word)
            ends.append(end)
    return ids, word_of_token, ends


def main_axes(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(H,) and (H, WORD_AXES): mean of the states (N, L, H) and the directions in which they vary most, as short as makes
    the length of a state about 1."""
    flat = states.flatten(0, 1)
    mean = flat.mean(0)
    _, strengths, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    return mean, axes[:WORD_AXES].T * (len(flat) ** 0.5 / strengths[:WORD_AXES].square().sum().sqrt())


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
