"""Train `mini`, the small GPT-2 inside the package, to say what its teacher says, and report what it learned.

    python scripts/pretrain_mini.py --corpus gutenberg.txt.xz --data DATA --teacher all-MiniLM-L6-v2 --minutes 60

It starts as three of the teacher's layers (mini_start.py) and learns from texts (mini_texts.py) that the teacher reads too:
the teacher's vector of the text at its last token; at every token the mean of the teacher's states so far; one block lower the
teacher's state of every word; and, a little, the next token. Started again with the same
--work it goes on from its last checkpoint: the rate is constant until the last part of the minutes, where it falls to nothing.
"""

import argparse
import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import mini_start
import mini_texts
import numpy as np
import torch
from mini_reading import Aligned, Reading, read_all
from mini_start import END, POSITIONS, WIDTH
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

MOST_TOKENS = 160
"""Of a text; few are longer, and the teacher was trained on 256."""
WARM_UP_STEPS = 50
NOTE_EVERY = 25
VALID_BYTES = 300_000
WORD_RATE = 3.0
"""Rate of the token embeddings over that of the rest: many tokens are rarely seen."""
SENTENCE_SCALE = 0.05
"""Temperature of the similarities in a batch."""
LANGUAGE_EVERY = 16
"""Positions of which the next-token loss looks at one: it costs less and has the same mean."""


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


def prepare(options: argparse.Namespace) -> tuple[list[str], Tokenizer]:
    """Texts and tokenizer; made once and kept in --work."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    words = mini_texts.whole_words(options.teacher / "vocab.txt")
    modern_words = mini_texts.find_modern_words(options.data, options.corpus)
    if not (work / "texts.json").exists():
        texts = mini_texts.collect(
            options.corpus,
            options.data,
            options.tickets,
            words,
            modern_words=modern_words,
            seed=options.seed,
            scale=options.scale,
        )
        (work / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    texts = json.loads((work / "texts.json").read_text(encoding="utf-8"))
    if not (work / "tokenizer.json").exists():
        mini_start.train_tokenizer(texts, modern_words).save(str(work / "tokenizer.json"))
    return texts, Tokenizer.from_file(str(work / "tokenizer.json"))


def typed_anew(texts: list[str], tokenizer: Tokenizer, *, view: int, seed: int) -> list[Reading]:
    """Every text as somebody might have typed it this time. Where a slip has moved the characters, `ends` is empty."""
    rng = Random(seed * 1_000 + view)
    typed = [mini_texts.as_people_type(text, rng) for text in texts]
    found = read_all(typed, tokenizer, limit=MOST_TOKENS)
    for plain, changed, reading in zip(texts, typed, found, strict=True):
        if not plain.startswith(changed):
            reading.ends = np.zeros(0, dtype=np.uint16)
    return found


# ---- losses ---------------------------------------------------------------------------------------------------------


def language_loss(model: GPT2LMHeadModel, states: torch.Tensor, ids: torch.Tensor, every: int = 1) -> torch.Tensor:
    """Cross-entropy of the next token, nats, over every `every`-th position.

    The head's weights are the token embeddings; as a head they get no gradient. It would be one for all 16,384 at each step, and
    Adam would move them all, away from the teacher's, by which the blocks know them.
    """
    before, after = states[:, :-1].reshape(-1, WIDTH)[::every], ids[:, 1:].reshape(-1)[::every]
    return F.cross_entropy(F.linear(before, model.lm_head.weight.detach()).float(), after)


def meaning_loss(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1 - cosine, how differently the two see who is close to whom); both (N, WIDTH), the teacher's of length 1."""
    student = F.normalize(student.float(), dim=-1)
    close = (teacher @ teacher.T / SENTENCE_SCALE).softmax(-1)
    apart = F.cross_entropy(student @ teacher.T / SENTENCE_SCALE, close) + (close * close.clamp(min=1e-9).log()).sum(-1).mean()
    return 1 - (student * teacher).sum(-1).mean(), apart


def mean_distance(student: torch.Tensor, teacher: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """1 - cosine, the mean over the chosen places; 0 if there is none."""
    if not chosen.any():
        return student.sum() * 0
    return 1 - F.cosine_similarity(student[chosen].float(), teacher[chosen].float(), dim=-1).mean()


# ---- the run --------------------------------------------------------------------------------------------------------


class Run:
    """One training run with its checkpoint."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.work = options, options.work
        self.texts, self.tokenizer = prepare(options)
        pieces, self.teacher = mini_start.load_teacher(options.teacher, options.device)
        self.theirs = read_all(self.texts, pieces.backend_tokenizer, limit=256)
        self.model = mini_start.build(self.tokenizer, options.teacher, self.texts, seed=options.seed)
        heads = {name: nn.Linear(WIDTH, WIDTH) for name in ("last", "word")}
        with torch.no_grad():
            norm = self.model.transformer.h[-1].ln_1  # its output is what the teacher's states were fitted to
            for head, weight, bias in (
                (heads["last"], torch.ones(WIDTH), torch.zeros(WIDTH)),
                (heads["word"], norm.weight, norm.bias),
            ):
                head.weight.copy_(weight.diag())
                head.bias.copy_(bias)
        self.parts = nn.ModuleDict({"model": self.model, **heads}).to(options.device)
        words = self.model.transformer.wte.weight
        others = [p for p in self.parts.parameters() if p is not words]
        groups = [{"params": others, "share": 1.0}, {"params": [words], "share": WORD_RATE}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
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
            prefix = f"state.{name}:"
            self.optimizer.state[parameter] = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    def save(self) -> None:
        folder, fresh = self.work / "checkpoint", self.work / "checkpoint.new"
        fresh.mkdir(exist_ok=True)
        tensors = {f"parts.{k}": v for k, v in self.parts.state_dict().items() if k != "model.lm_head.weight"}
        for name, parameter in self.parts.named_parameters():
            tensors |= {f"state.{name}:{k}": v for k, v in self.optimizer.state.get(parameter, {}).items()}
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
            self.ours = typed_anew(self.texts, self.tokenizer, view=view, seed=options.seed)
            lengths = [len(reading.ids) for reading in self.ours]
            batches = mini_texts.batches_of_one_length(lengths, tokens=options.batch_tokens, seed=options.seed * 1_000 + view)
            batches = [batch for batch in batches if len(batch) > 3]
            while self.progress.batch < len(batches):
                spent = time.monotonic() - began
                if spent > limit:
                    return
                falling = max(0.0, (spent / limit - 1 + options.falling) / options.falling)
                rate = options.lr * min(1.0, (self.progress.step + 1) / WARM_UP_STEPS) * (1 - falling)
                for key, value in {"steps": 1.0, **self.step(batches[self.progress.batch], rate)}.items():
                    sums[key] = sums.get(key, 0.0) + value
                self.progress.seconds = base + spent
                if self.progress.step % NOTE_EVERY == 0:
                    self.note(sums, rate)
                    sums = {}
                if falling == 0 and time.monotonic() - saved > 300:
                    self.save()
                    saved = time.monotonic()
            self.progress.view, self.progress.batch = view + 1, 0

    def note(self, sums: dict[str, float], rate: float) -> None:
        """A line of the log: means over the steps since the last one."""
        steps = sums.pop("steps")
        entry: dict[str, Any] = {key: round(value / steps, 4) for key, value in sums.items()}
        entry |= {"step": self.progress.step, "tokens": self.progress.tokens, "seconds": round(self.progress.seconds)}
        entry["lr"] = round(rate, 7)
        self.progress.log.append(entry)
        print(json.dumps(entry), flush=True)

    def step(self, rows: list[int], rate: float) -> dict[str, float]:
        """One update from one batch of texts of one length, with all losses."""
        device = self.options.device
        aligned = Aligned.of([self.ours[row] for row in rows], [self.theirs[row] for row in rows])
        batch = aligned.ids.to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            mask = aligned.real.long().to(device)
            theirs = self.teacher(aligned.theirs.to(device), attention_mask=mask).last_hidden_state.float()
        so_far = aligned.means_so_far(theirs)
        whole = F.normalize(so_far[:, -1], dim=-1)
        with torch.autocast(device.type, torch.bfloat16):
            outputs = self.model.transformer(batch, output_hidden_states=True)
            states, lower = outputs.last_hidden_state, F.layer_norm(outputs.hidden_states[-2], (WIDTH,))
            language = language_loss(self.model, states, batch, every=LANGUAGE_EVERY)
            summary = self.parts["last"](states)
            last, apart = meaning_loss(summary[:, -1], whole)
            prefix = mean_distance(summary[:, 1:-1], so_far[:, 1:-1], aligned.known[:, 1:-1].to(device))
            word = mean_distance(self.parts["word"](lower), aligned.at_our_tokens(theirs), aligned.has_word.to(device))
        total = 2 * last + apart + prefix + word
        (total + self.options.language_weight * language).backward()
        nn.utils.clip_grad_norm_(self.parts.parameters(), 2.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.batch += 1
        self.progress.tokens += batch.numel()
        values = {"last": 1 - last, "apart": apart, "prefix": 1 - prefix, "word": 1 - word, "language": language}
        return {name: float(value.detach()) for name, value in values.items()}


@torch.no_grad()
def bits_per_byte(model: GPT2LMHeadModel, tokenizer: Tokenizer, text: bytes, *, batch: int = 16) -> float:
    """Mean bits per byte of `text` in small letters, read in windows of 512 tokens without a look back."""
    device = model.device
    ids = tokenizer.encode(text.decode("utf-8", "ignore"), add_special_tokens=False).ids
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
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets alpaca_cot, banking77, gsm8k, ...")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--tickets", type=Path, default=Path(__file__).parents[1] / "src/finewright/assets/data/tickets")
    parser.add_argument("--work", type=Path, default=Path("build/mini"), help="texts, tokenizer, checkpoint")
    parser.add_argument("--out", type=Path, default=Path("build/mini/model"), help="where the finished model goes")
    parser.add_argument("--valid", type=Path, help="text for bits per byte")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--lr", type=float, default=2.5e-4)
    parser.add_argument("--falling", type=float, default=0.5, help="share of the minutes in which the rate falls to 0")
    parser.add_argument("--language-weight", type=float, default=0.03)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts, for a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    options = parser.parse_args()

    run = Run(options)
    run.learn()
    report = {"tokens": run.progress.tokens, "steps": run.progress.step, "seconds": run.progress.seconds, "seed": options.seed}
    report |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "device": str(options.device)}
    export(run.model, options.work / "tokenizer.json", options.out)
    if options.valid:
        report["bits_per_byte"] = bits_per_byte(run.model.float(), run.tokenizer, options.valid.read_bytes()[:VALID_BYTES])
    (options.out / "log.json").write_text(json.dumps({**report, "curve": run.progress.log}, indent=1), encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
