"""Small conversations, and language models with random weights."""

import copy
import json
from pathlib import Path
from typing import Any

import torch

from finewright.data.packing import Batch, EncodedSplit, collate
from finewright.models import architectures, network_class
from finewright.models.attention import packed
from finewright.models.head_spec import LANGUAGE_MODEL
from finewright.models.prepared import PreparedModel, Runtime
from support import tiny

_WHO = ("my parcel", "the tent", "the invoice", "my refund", "the jacket")
_ASKED = ("where is", "please send", "i pay for", "when does it arrive", "charged twice for")


def rows(number: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Conversations that differ: a question about a thing, an answer that names it."""
    made = []
    for index in range(start, start + number):
        thing, asked = _WHO[index % 5], _ASKED[index // 5 % 5]
        question, answer = f"{asked} {thing} {index}", f"the new {thing.split()[-1]}"
        made.append({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
    return made


def folder(path: Path, *, train: int = 40, validation: int = 10, test: int = 10) -> Path:
    """A folder with conversations by split."""
    path.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, number in (("train", train), ("validation", validation), ("test", test)):
        lines = [json.dumps(row) for row in rows(number, start=start)]
        (path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        start += number
    return path


def network(kind: str, *, is_packed: bool = True, seed: int = 0) -> Any:
    """A random language model in evaluation mode; otherwise with transformers' own attention."""
    torch.manual_seed(seed)
    config = copy.deepcopy(tiny.build_config(kind))
    net = network_class.from_config(config, auto_model=LANGUAGE_MODEL).eval()
    net.config.use_cache = False
    architecture = architectures.architecture_of(config)
    if not is_packed and getattr(config, "attn_logit_softcapping", None):
        net.set_attn_implementation("eager")
    if is_packed and not architecture.not_packable:
        packed.register()
        net.set_attn_implementation(packed.NAME)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


def prepared_model(net: Any, **runtime: Any) -> PreparedModel:
    """The network as a method returns it, everything trainable."""
    architecture = architectures.architecture_for(net.config, auto_model=LANGUAGE_MODEL)
    return PreparedModel(
        network=net, trainable_module=net, architecture=architecture, runtime=Runtime(reads="next-token", **runtime)
    )


def batch(ids: list[list[int]], trained: list[list[int]]) -> Batch:
    """One batch of rows of tokens with marks."""
    split = EncodedSplit(ids, [len(one) for one in ids], [*range(len(ids))], trained=trained)
    return collate(split, range(len(ids)))
