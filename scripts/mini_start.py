"""`mini` before its training: a GPT-2 that computes what its teacher computes, as far as a GPT-2 can.

The teacher, all-MiniLM-L6-v2, is a BERT: it normalises after each sum, reads in both directions, and begins each text with
[CLS]. Four of its six layers become the blocks of a GPT-2, which normalises before each layer and reads forwards. Where the
teacher scales its states by a norm's weights, a GPT-2 cannot; here the layers write into its stream at the scale that the
stream has by then, measured on some texts. The end mark at the start of each text takes the place of [CLS].
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, GPT2Config, GPT2LMHeadModel

VOCABULARY, WIDTH, HEADS, POSITIONS = 16_384, 384, 12, 512
TEACHER_LAYERS = (0, 1, 5)
END = "<|endoftext|>"
END_ID = 0
MOST_SCALE = 3.0
"""The stream's axes get at most this many times the middle scale: without a limit one axis grows to 40 times."""
AVERAGE_SHARE = 10.0
"""How much more the last block writes of the text so far than of the token itself."""
MEASURED_TEXTS = 400


# ---- tokenizer ------------------------------------------------------------------------------------------------------


def train_tokenizer(texts: Sequence[str], words: Sequence[str]) -> Tokenizer:
    """Byte-level BPE of small letters, END before each text. `words` become whole tokens where there is room."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()  # the teacher knows no capitals
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*texts, *(f"{word} " * 40 for word in words)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, END_ID)]
    )
    return tokenizer


def token_rows(tokenizer: Tokenizer, teacher: Path) -> torch.Tensor:
    """(VOCABULARY, WIDTH): of each token the mean of the teacher's embeddings of its word pieces, all of one length."""
    pieces, bert = AutoTokenizer.from_pretrained(teacher), AutoModel.from_pretrained(teacher)
    known = pieces.get_vocab()
    table = centred_rows(bert)
    rows = torch.zeros(VOCABULARY, WIDTH)
    for token in range(VOCABULARY):
        text = tokenizer.decode([token], skip_special_tokens=False)
        begins = text.startswith(" ") or not text[:1].isalnum()
        ids = pieces.encode(text, add_special_tokens=False) if begins else continuation(text, known)
        ids = [pieces.cls_token_id] if token == END_ID else [one for one in ids if one != pieces.unk_token_id]
        if ids:
            rows[token] = table[ids].mean(0)
    length = table.std(1).median()
    rows += torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)) * 0.1 * length
    return F.layer_norm(rows, (WIDTH,)) * length


def continuation(text: str, known: dict[str, int]) -> list[int]:
    """Ids of the longest pieces that continue a word and make up `text`; nothing where there are none."""
    ids = []
    while text:
        size = next((size for size in range(len(text), 0, -1) if f"##{text[:size]}" in known), 0)
        if not size:
            return []
        ids.append(known[f"##{text[:size]}"])
        text = text[size:]
    return ids


# ---- blocks ---------------------------------------------------------------------------------------------------------


def centred_rows(bert: Any) -> torch.Tensor:
    """The teacher's embeddings of its word pieces, (30,522, WIDTH), as a norm sees them: mean 0, one length."""
    rows = bert.embeddings.word_embeddings.weight.detach() + bert.embeddings.token_type_embeddings.weight[0].detach()
    length = (rows - rows.mean(1, keepdim=True)).std(1).median()
    return F.layer_norm(rows, (WIDTH,)) * length


class Stream:
    """The states of a student that is being built, beside its teacher's for the same texts, both (texts, tokens, WIDTH)."""

    def __init__(self, student: torch.Tensor, teacher: torch.Tensor, real: torch.Tensor) -> None:
        self.student, self.teacher, self.real = student, teacher, real

    def fit(self, norm: torch.nn.LayerNorm) -> torch.Tensor:
        """Set the student's norm to give the teacher's states. Return the scale of the stream's axes over the teacher's."""
        ours, theirs = F.layer_norm(self.student, (WIDTH,))[self.real], self.teacher[self.real]
        mean, wanted = ours.mean(0), theirs.mean(0)
        weight = ((ours - mean) * (theirs - wanted)).mean(0) / (ours - mean).square().mean(0)
        weight = weight.clamp(weight.median() / MOST_SCALE, weight.median() * MOST_SCALE)
        norm.weight.copy_(weight)
        norm.bias.copy_(wanted - weight * mean)
        return self.student[self.real].std(1).mean() / weight


@torch.no_grad()
def build(tokenizer: Tokenizer, teacher: Path, texts: Sequence[str], *, seed: int = 0) -> GPT2LMHeadModel:
    """The GPT-2 of the teacher's layers. `texts`: some to measure scales on."""
    torch.manual_seed(seed)
    pieces = AutoTokenizer.from_pretrained(teacher)
    bert = AutoModel.from_pretrained(teacher, attn_implementation="eager").eval()
    chosen = random.Random(seed).sample(list(texts), min(MEASURED_TEXTS, len(texts)))
    read = pieces(chosen, truncation=True, max_length=64, padding=True, return_tensors="pt")
    ids, real = read["input_ids"], read["attention_mask"].bool() & (read["input_ids"] != pieces.sep_token_id)
    length = ids.shape[1]
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=WIDTH, n_layer=len(TEACHER_LAYERS) + 1, n_head=HEADS,
        activation_function="gelu_pytorch_tanh", bos_token_id=END_ID, eos_token_id=END_ID,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    body, places = model.transformer, bert.embeddings.position_embeddings.weight
    body.wte.weight.copy_(token_rows(tokenizer, teacher))
    body.wpe.weight.copy_(places - places.mean(1, keepdim=True))
    forwards = torch.where(torch.ones(length, length).tril().bool(), 0.0, -1e4).expand(len(ids), 1, -1, -1)
    stream = Stream(centred_rows(bert)[ids] + body.wpe.weight[:length], bert.embeddings(ids), real)
    for block, number in zip(body.h[:-1], TEACHER_LAYERS, strict=True):
        take_layer(block, bert.encoder.layer[number], stream, forwards)
    average_prefix(body.h[-1], stream, forwards)
    stream.fit(body.ln_f)
    model.set_attn_implementation("sdpa")
    return model


def take_layer(block: Any, layer: Any, stream: Stream, forwards: torch.Tensor) -> None:
    """Set a block's weights from the teacher's layer, and move both streams past it. `forwards`: what attention adds."""
    attention, out = layer.attention.self, layer.attention.output.dense
    parts = (attention.query, attention.key, attention.value)
    scale = stream.fit(block.ln_1)
    set_dense(block.attn.c_attn, torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))
    set_dense(block.attn.c_proj, out.weight, out.bias + block.ln_1.bias, scale=scale)
    stream.student = stream.student + block.attn(block.ln_1(stream.student), attention_mask=forwards)[0]
    attended = layer.attention(stream.teacher, forwards)
    stream.teacher = attended[0] if isinstance(attended, tuple) else attended
    scale = stream.fit(block.ln_2)
    set_dense(block.mlp.c_fc, layer.intermediate.dense.weight, layer.intermediate.dense.bias)
    set_dense(block.mlp.c_proj, layer.output.dense.weight, layer.output.dense.bias + block.ln_2.bias, scale=scale)
    stream.student = stream.student + block.mlp(block.ln_2(stream.student))
    stream.teacher = layer.output(layer.intermediate(stream.teacher), stream.teacher)


def average_prefix(block: Any, stream: Stream, forwards: torch.Tensor) -> None:
    """Set a block to add to each state the mean of the states so far, AVERAGE_SHARE times, so that the last one tells of all.

    Queries and keys are so small that all tokens get nearly the same attention, but not 0, from where they could not be trained.
    The second half of the block does nearly nothing yet.
    """
    scale, nearly_nothing = stream.fit(block.ln_1), 0.03 * torch.randn(2 * WIDTH, WIDTH)
    set_dense(block.attn.c_attn, torch.cat([nearly_nothing, torch.eye(WIDTH)]), torch.zeros(3 * WIDTH))
    set_dense(block.attn.c_proj, AVERAGE_SHARE * torch.eye(WIDTH), torch.zeros(WIDTH), scale=scale)
    stream.student = stream.student + block.attn(block.ln_1(stream.student), attention_mask=forwards)[0]
    sums = (stream.teacher * stream.real[..., None]).cumsum(1)
    stream.teacher = sums / stream.real.cumsum(1).clamp(min=1)[..., None]
    stream.fit(block.ln_2)
    block.mlp.c_proj.weight.mul_(0.1)


def set_dense(target: Any, weight: torch.Tensor, bias: torch.Tensor, *, scale: torch.Tensor | float = 1.0) -> None:
    """Give a GPT-2's layer, which holds (inputs, outputs), the weights (outputs, inputs), its outputs scaled."""
    target.weight.copy_(weight.T * scale)
    target.bias.copy_(bias * scale)


def load_teacher(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """(tokenizer, network) of the teacher, for reading only."""
    network = AutoModel.from_pretrained(folder).to(device).eval().requires_grad_(False)
    pieces = AutoTokenizer.from_pretrained(folder)
    pieces.backend_tokenizer.no_padding()
    pieces.backend_tokenizer.enable_truncation(256)
    return pieces, network
