"""Pre-train `mini`, the small GPT-2 inside the package, and report what it learned.

    python scripts/pretrain_mini.py --corpus gutenberg.txt.xz --everyday alpaca_cot --teacher all-MiniLM-L6-v2 --minutes 100

Three losses: the next token; the teacher's sentence vector at the sentence's last token (cosine, and which of the batch's
sentences are close to it); and, two blocks lower, the teacher's state of every word at the word's last token, without
which a sentence teaches one vector where it could teach one a word. Started again with the same --work it goes on from
its last checkpoint; a later run, on a faster machine, goes on from the constant part of the schedule and lets the rate
fall again at its end.
"""

import argparse
import json
import math
import random
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mini_texts
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY, WIDTH, BLOCKS, HEADS, POSITIONS = 8192, 256, 6, 4, 512
END = "<|endoftext|>"
WORD_BLOCK = 4
"""The blocks below learn the teacher's words, those above gather them."""
LONG = 60
"""Tokens from which a text counts as a passage."""


@dataclass
class Progress:
    """Where the run stands; kept beside every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    view: int = 0  # how often the texts have been gone through
    batch: int = 0  # the next batch of this view
    log: list[dict[str, Any]] = field(default_factory=list)


# ---- what is learned from -------------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace) -> tuple[list[str], mini_texts.Lessons, Tokenizer, np.ndarray]:
    """Texts, what the teacher says of them, tokenizer and one long row of book tokens; made once and kept in --work."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "texts.json").exists():
        words = mini_texts.whole_words(options.teacher / "vocab.txt")
        texts = mini_texts.collect(options.corpus, options.everyday, words, seed=options.seed, scale=options.scale)
        (work / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    texts = json.loads((work / "texts.json").read_text(encoding="utf-8"))
    if not (work / "tokenizer.json").exists():
        train_tokenizer(texts).save(str(work / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    if not (work / "books.npy").exists():
        np.save(work / "books.npy", book_tokens(options.corpus, tokenizer, options.book_tokens))
    if not (work / "starts.npy").exists():
        mini_texts.teach(texts, options.teacher, device=options.device).save(work)
    return texts, mini_texts.Lessons.load(work), tokenizer, np.load(work / "books.npy")


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE, as GPT-2's, of 8,192 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    rng = random.Random(0)
    tokenizer.train_from_iterator((mini_texts.as_people_type(text, rng) for text in texts), trainer)
    return tokenizer


def book_tokens(corpus: Path, tokenizer: Tokenizer, number: int) -> np.ndarray:
    """About `number` tokens of the books, every fourth paragraph, ends marked."""
    end = tokenizer.token_to_id(END)
    found: list[int] = []
    paragraphs: list[str] = []
    for i, paragraph in enumerate(mini_texts.books(corpus)):
        if i % 4 == 0 and len(paragraph) > 80:
            paragraphs.append(paragraph)
        if len(paragraphs) == 5_000:
            for encoding in tokenizer.encode_batch(paragraphs):
                found += [*encoding.ids, end]
            paragraphs = []
            if len(found) > number:
                break
    return np.array(found, dtype=np.uint16)


def typed_anew(texts: list[str], tokenizer: Tokenizer, *, view: int, seed: int) -> tuple[list, list]:
    """Of every text, as somebody might have typed it this time: ids, and the character after each token.

    Where a slip of the finger has moved the characters, the second is empty.
    """
    rng = random.Random(seed * 1_000 + view)
    ids, ends = [], []
    for start in range(0, len(texts), 20_000):
        plain = texts[start : start + 20_000]
        typed = [mini_texts.as_people_type(text, rng) for text in plain]
        for before, after, encoding in zip(plain, typed, tokenizer.encode_batch(typed), strict=True):
            in_place = before[: len(after)].lower() == after.lower() and before.isascii()
            ids.append(np.array(encoding.ids[:POSITIONS], dtype=np.uint16))
            ends.append(np.array([end for _, end in encoding.offsets[:POSITIONS]] if in_place else [], dtype=np.uint16))
    return ids, ends


def chosen_batches(ids: list, *, view: int, seed: int, tokens: int) -> list[list[int]]:
    """Batches of one view. Passages hold half of all tokens but one vector each: one in three of their batches is enough."""
    rng = random.Random(seed * 1_000 + view)
    batches = mini_texts.batches_of_one_length([len(one) for one in ids], tokens=tokens, seed=seed * 1_000 + view)
    return [batch for batch in batches if len(batch) > 3 and (len(ids[batch[0]]) < LONG or rng.random() < 1 / 3)]


# ---- the model and its two losses -----------------------------------------------------------------------------------


def new_model(seed: int, tokenizer: Tokenizer | None = None, teacher: Path | None = None) -> GPT2LMHeadModel:
    """`mini`'s shape with random weights; token embeddings start from the teacher's, turned onto their main axes."""
    torch.manual_seed(seed)
    end = 0
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=WIDTH, n_layer=BLOCKS, n_head=HEADS,
        activation_function="gelu_pytorch_tanh", bos_token_id=end, eos_token_id=end,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    if tokenizer is not None and teacher is not None:
        model.transformer.wte.weight.data.copy_(teacher_embeddings(tokenizer, teacher))
    return model


def teacher_embeddings(tokenizer: Tokenizer, teacher: Path) -> torch.Tensor:
    """(8192, 256): mean of the teacher's embeddings of each token's word pieces, on their 256 main axes."""
    pieces = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    pieces.no_padding()
    table = load_file(teacher / "model.safetensors")["embeddings.word_embeddings.weight"].float()
    rows = torch.zeros(VOCABULARY, table.shape[1])
    for token in range(VOCABULARY):
        ids = pieces.encode(tokenizer.decode([token]).strip(), add_special_tokens=False).ids
        if ids:
            rows[token] = table[ids].mean(0)
    rows -= rows.mean(0)
    _, _, axes = torch.linalg.svd(rows, full_matrices=False)
    turned = rows @ axes[:WIDTH].T
    return 0.04 * turned / turned.std() + 0.005 * torch.randn(VOCABULARY, WIDTH)


def language_loss(model: GPT2LMHeadModel, states: torch.Tensor, ids: torch.Tensor, every: int = 1) -> torch.Tensor:
    """Cross-entropy of the next token, nats; over every `every`-th position, which costs less and has the same mean."""
    before, after = states[:, :-1].reshape(-1, WIDTH)[::every], ids[:, 1:].reshape(-1)[::every]
    return F.cross_entropy(model.lm_head(before).float(), after)


def meaning_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    """(1 - cosine, cross-entropy between who is close to whom for the teacher and for the student); both (N, 384)."""
    student = F.normalize(student.float(), dim=-1)
    cosine = (student * teacher).sum(-1).mean()
    close = (teacher @ teacher.T / temperature).softmax(-1)
    return 1 - cosine, F.cross_entropy(student @ teacher.T / temperature, close)


def build_optimizers(parts: nn.ModuleDict, *, lr: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, whose steps it makes orthogonal; AdamW for all else."""
    inside = [p for n, p in parts.named_parameters() if ".h." in n and p.dim() == 2]
    known = {id(p) for p in inside}
    outside = [p for p in parts.parameters() if id(p) not in known]
    groups = [
        {"params": [p for p in outside if p.dim() > 1], "weight_decay": 0.05},
        {"params": [p for p in outside if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [
        torch.optim.Muon(inside, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True),
    ]


# ---- the run --------------------------------------------------------------------------------------------------------


class Run:
    """One pre-training run with its checkpoint."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.work = options, options.work
        self.texts, self.lessons, self.tokenizer, self.books = prepare(options)
        model = new_model(options.seed, self.tokenizer, options.teacher)
        sentence, word = nn.Linear(WIDTH, self.lessons.sentences.shape[1]), nn.Linear(WIDTH, self.lessons.words.shape[1])
        self.parts = nn.ModuleDict({"model": model, "sentence": sentence, "word": word}).to(options.device)
        self.model: GPT2LMHeadModel = self.parts["model"]
        self.optimizers = build_optimizers(self.parts, lr=options.lr)
        self.progress = Progress()
        if (self.work / "checkpoint" / "progress.json").exists():
            self.load()

    def load(self) -> None:
        folder = self.work / "checkpoint"
        self.progress = Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "state.safetensors", device=str(self.options.device))
        self.parts.load_state_dict(
            {k.removeprefix("parts."): v for k, v in tensors.items() if k.startswith("parts.")}, strict=False
        )
        for name, parameter in self.parts.named_parameters():
            optimizer = next(one for one in self.optimizers if any(parameter is p for g in one.param_groups for p in g["params"]))
            prefix = f"state.{name}:"
            optimizer.state[parameter] = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    def save(self) -> None:
        folder, fresh = self.work / "checkpoint", self.work / "checkpoint.new"
        fresh.mkdir(exist_ok=True)
        tensors = {f"parts.{k}": v for k, v in self.parts.state_dict().items() if k != "model.lm_head.weight"}
        for optimizer in self.optimizers:
            for name, parameter in self.parts.named_parameters():
                tensors |= {f"state.{name}:{k}": v for k, v in optimizer.state.get(parameter, {}).items() if torch.is_tensor(v)}
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, fresh / "state.safetensors")
        (fresh / "progress.json").write_text(json.dumps(asdict(self.progress)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)

    def learn(self) -> None:
        """Until the minutes are over: a constant rate, checkpointed, then one that falls to nothing at the end."""
        began, limit, saved = time.monotonic(), self.options.minutes * 60, time.monotonic()
        base = self.progress.seconds
        sums: dict[str, float] = {}
        while True:
            view, options = self.progress.view, self.options
            self.ids, self.ends = typed_anew(self.texts, self.tokenizer, view=view, seed=options.seed)
            batches = chosen_batches(self.ids, view=view, seed=options.seed, tokens=options.batch_tokens)
            while self.progress.batch < len(batches):
                spent = time.monotonic() - began
                if spent > limit:
                    return
                falling = max(0.0, (spent / limit - 1 + options.falling) / options.falling)
                rate = options.lr * min(1.0, (self.progress.step + 1) / 300) * (1 - falling)
                for key, value in self.step(batches[self.progress.batch], rate).items():
                    sums[key] = sums.get(key, 0.0) + value
                self.progress.seconds = base + spent
                if self.progress.step % 100 == 0:
                    self.note(sums, rate)
                    sums = {}
                if falling == 0 and time.monotonic() - saved > 300:
                    self.save()
                    saved = time.monotonic()
            self.progress.view, self.progress.batch = view + 1, 0

    def note(self, sums: dict[str, float], rate: float) -> None:
        """A line of the log: means over 100 steps."""
        entry: dict[str, Any] = {key: round(value / 100, 4) for key, value in sums.items()}
        entry |= {"step": self.progress.step, "tokens": self.progress.tokens, "seconds": round(self.progress.seconds), "lr": rate}
        self.progress.log.append(entry)
        print(json.dumps(entry), flush=True)

    def step(self, rows: list[int], rate: float) -> dict[str, float]:
        """One update from one batch of sentences with all losses; every fifth step also from windows of the books."""
        device, progress = self.options.device, self.progress
        batch = torch.from_numpy(np.stack([self.ids[row] for row in rows]).astype(np.int64)).to(device)
        vectors = torch.from_numpy(self.lessons.sentences[rows].astype(np.float32)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            outputs = self.model.transformer(batch, output_hidden_states=True)
            states = outputs.last_hidden_state
            language = language_loss(self.model, states, batch, every=3) if batch.shape[1] > 1 else states.sum() * 0
            far, mixed = meaning_loss(self.parts["sentence"](states[:, -1]), F.normalize(vectors, dim=-1))
            strange = self.word_loss(outputs.hidden_states[WORD_BLOCK], rows)
        (0.3 * language + 3 * far + mixed + self.options.word_weight * strange).backward()
        progress.tokens += batch.numel()
        values = {"language": language, "cosine": 1 - far, "mixed": mixed, "word_cosine": 1 - strange}
        values = {name: float(value.detach()) for name, value in values.items()}
        if progress.step % 5 == 4:
            values["books"] = 5 * self.read(np.random.default_rng(self.options.seed + progress.step))
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.batch += 1
        return values

    def word_loss(self, states: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """1 - cosine between the student's state at a word's last token and the teacher's of that word; states (N, L, H)."""
        places, words = [], []
        for number, row in enumerate(rows):
            start, stop = self.lessons.starts[row : row + 2]
            theirs, ours = self.lessons.ends[start:stop], self.ends[row]
            if len(theirs) and len(ours):
                found = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
                token = np.flatnonzero(theirs[found] == ours)
                places.append(number * states.shape[1] + token)
                words.append(start + found[token])
        if not places:
            return states.sum() * 0
        wanted = torch.from_numpy(self.lessons.words[np.concatenate(words)].astype(np.float32)).to(states.device)
        chosen = states.flatten(0, 1)[torch.from_numpy(np.concatenate(places)).to(states.device)]
        return 1 - F.cosine_similarity(self.parts["word"](chosen).float(), wanted).mean()

    def read(self, rng: np.random.Generator) -> float:
        """Gradient of the next-token loss over windows of the books of 64 to 512 tokens."""
        length = int(rng.choice((64, 128, 256, POSITIONS)))
        starts = rng.integers(0, len(self.books) - length, self.options.batch_tokens // 2 // length)
        window = torch.from_numpy(np.stack([self.books[s : s + length] for s in starts]).astype(np.int64)).to(self.options.device)
        with torch.autocast(window.device.type, torch.bfloat16):
            loss = language_loss(self.model, self.model.transformer(window).last_hidden_state, window)
        (0.5 * loss).backward()
        self.progress.tokens += window.numel()
        return float(loss.detach())


@torch.no_grad()
def bits_per_byte(model: GPT2LMHeadModel, tokenizer: Tokenizer, text: bytes, *, batch: int = 16) -> float:
    """Mean bits per byte of `text`, read in windows of 512 tokens without a look back."""
    device = model.device
    ids = tokenizer.encode(text.decode("utf-8", "ignore")).ids
    windows = torch.tensor(ids[: len(ids) // POSITIONS * POSITIONS]).view(-1, POSITIONS)
    nats, counted = 0.0, 0
    for start in range(0, len(windows), batch):
        window = windows[start : start + batch].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss = language_loss(model, model.transformer(window).last_hidden_state, window)
        nats += float(loss) * window.shape[0] * (POSITIONS - 1)
        counted += window.shape[0] * (POSITIONS - 1)
    return nats / counted * len(ids) / len(text) / math.log(2)


def export(model: GPT2LMHeadModel, tokenizer_file: Path, out: Path) -> None:
    """The package's folder: bfloat16 weights, config, tokenizer."""
    from transformers import PreTrainedTokenizerFast

    out.mkdir(parents=True, exist_ok=True)
    model.to("cpu", torch.bfloat16).save_pretrained(out)
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), bos_token=END, eos_token=END, unk_token=END).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="books, .txt.xz, paragraphs parted by empty lines")
    parser.add_argument("--everyday", type=Path, required=True, help="folder of JSON files with instruction and output")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--work", type=Path, default=Path("build/mini"), help="texts, vectors, checkpoint")
    parser.add_argument("--out", type=Path, default=Path("build/mini/model"), help="where the finished model goes")
    parser.add_argument("--valid", type=Path, help="text for bits per byte")
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--falling", type=float, default=0.35, help="share of the minutes in which the rate falls to 0")
    parser.add_argument("--word-weight", type=float, default=1.0)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--book-tokens", type=int, default=12_000_000)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts, for a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    options = parser.parse_args()

    run = Run(options)
    run.learn()
    report = {"tokens": run.progress.tokens, "steps": run.progress.step, "seconds": run.progress.seconds, "seed": options.seed}
    report |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "device": str(options.device)}
    if options.valid:
        text = options.valid.read_bytes()
        report["bits_per_byte"] = bits_per_byte(run.model, run.tokenizer, text)
        report["bits_per_byte_untrained"] = bits_per_byte(new_model(options.seed).to(options.device), run.tokenizer, text)
    export(run.model, options.work / "tokenizer.json", options.out)
    (options.out / "log.json").write_text(json.dumps({**report, "curve": run.progress.log}, indent=1), encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
