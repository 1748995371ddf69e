"""The folder of a model whose head no class of transformers has: a sentence-transformers folder of transformer, pooling, dense.

`SentenceTransformer(folder).encode(texts)` gives the logits. The transformer, or a PEFT adapter of it, lies at the top as
`AutoModel` reads it, so its tensors lack the prefix that they have inside a classification network.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file

from finewright.core.errors import ExitCode, UserError, first_line
from finewright.models import head_rows
from finewright.models.architectures.base import Architecture
from finewright.models.pooling import MODULES_FILE, POOLING_FLAGS

POOLING_FOLDER, HEAD_FOLDER = "1_Pooling", "2_Dense"
HEAD_WEIGHTS = f"{HEAD_FOLDER}/model.safetensors"
_TRANSFORMER_FILE = "sentence_bert_config.json"
_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PEFT_PREFIX = "base_model.model."
_TYPES = {"": "Transformer", POOLING_FOLDER: "Pooling", HEAD_FOLDER: "Dense"}


class _Dense(BaseModel):
    """What 2_Dense/config.json must say for the layer to be our head."""

    model_config = ConfigDict(extra="ignore")

    in_features: int
    out_features: int
    bias: bool
    activation_function: str


def has_head(folder: Path) -> bool:
    """Whether a folder is one of these: its modules are a transformer, a pooling and a dense layer."""
    try:
        modules = json.loads((folder / MODULES_FILE).read_text(encoding="utf-8"))
        return [str(module["type"]).rpartition(".")[2] for module in modules] == list(_TYPES.values())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def save_network(network: Any, folder: Path, *, architecture: Architecture) -> None:
    """Write a whole model: the folder of its own class, or of sentence-transformers where its head is in no class."""
    if architecture.has_standard_head:
        network.save_pretrained(folder)
        return
    network.get_submodule(architecture.body).save_pretrained(folder)
    _write_modules(folder, architecture=architecture, head=network.classifier.state_dict())


def convert_adapter(folder: Path, *, network: Any, architecture: Architecture) -> None:
    """Turn a PEFT adapter folder of a classification network into one of its body, with pooling and head beside it."""
    if architecture.has_standard_head:
        return
    inside, before = f"{_PEFT_PREFIX}classifier.", f"{_PEFT_PREFIX}{architecture.body}."
    tensors, head = {}, {}
    for name, tensor in load_file(folder / _ADAPTER_WEIGHTS).items():
        if name.startswith(inside):
            head[name.removeprefix(inside)] = tensor
        else:
            assert name.startswith(before), f"{name} is neither in the body nor in the head"
            tensors[_PEFT_PREFIX + name.removeprefix(before)] = tensor
    save_file(tensors, folder / _ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config |= {"task_type": "FEATURE_EXTRACTION", "modules_to_save": None}
    (folder / _ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    _write_modules(folder, architecture=architecture, head=head)


def _write_modules(folder: Path, *, architecture: Architecture, head: dict[str, torch.Tensor]) -> None:
    rows, width = head["weight"].shape
    dense: dict[str, Any] = {"in_features": width, "out_features": rows, "bias": "bias" in head}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    pooling = {"word_embedding_dimension": width}
    pooling |= {flag: own == architecture.pooling for flag, own in POOLING_FLAGS.items()}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(_TYPES.items())
    ]
    for place, content in (
        (MODULES_FILE, modules),
        (f"{POOLING_FOLDER}/config.json", pooling),
        (f"{HEAD_FOLDER}/config.json", dense),
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    state = {f"linear.{name}": tensor.detach().cpu().contiguous().clone() for name, tensor in head.items()}
    save_file(state, folder / HEAD_WEIGHTS, metadata={"format": "pt"})


def write_max_length(folder: Path, max_length: int) -> None:
    """Tell sentence-transformers how many tokens of a text are read, where the folder is one of its own."""
    if has_head(folder):
        written = {"max_seq_length": max_length, "do_lower_case": False}
        (folder / _TRANSFORMER_FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def load_head(folder: Path, network: Any) -> None:
    """Give the network the head that the folder holds. Raise `UserError` if it is damaged or is for other labels."""
    with _reading(folder):
        network.classifier.load_state_dict(_read_head(folder))


def reuse_head(folder: Path, network: Any, *, saved: Any) -> tuple[bool, str]:
    """Give the network the rows of the folder's head that have labels of the same name; return whether any has, and a note.

    `saved`: the folder's config.
    """
    wanted = [str(network.config.id2label[index]) for index in range(len(network.config.id2label))]
    own = head_rows.row_names(saved)
    kept = head_rows.match_names(own, wanted)
    note = head_rows.describe_match(own, wanted, kept)
    if own == wanted:
        load_head(folder, network)
    elif kept:
        with _reading(folder):
            stored = _read_head(folder)
            if any(len(tensor) != len(own) for tensor in stored.values()):
                raise ValueError(f"its dense layer has other outputs than the {len(own)} labels of config.json")
            head_rows.put_rows(network.classifier, stored, kept=kept)
    return bool(kept), note


def _read_head(folder: Path) -> dict[str, torch.Tensor]:
    described = _Dense.model_validate_json((folder / HEAD_FOLDER / "config.json").read_bytes())
    if not described.activation_function.endswith(".Identity"):
        raise ValueError(f"its dense layer has the activation {described.activation_function}")
    return {name.removeprefix("linear."): tensor.float() for name, tensor in load_file(folder / HEAD_WEIGHTS).items()}


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Inside, every fault of the folder's head is one `UserError`."""
    try:
        yield
    except ValidationError as error:
        raise _damaged(folder, f"{HEAD_FOLDER}/config.json: {error.errors()[0]['msg']}") from None
    except Exception as error:  # safetensors, PyTorch and the system have errors of their own
        raise _damaged(folder, first_line(error)) from None


def _damaged(folder: Path, reason: str) -> UserError:
    what = f"the saved model cannot be read: {reason}"
    return UserError(what, where=str(folder / HEAD_FOLDER), fix="train it again", code=ExitCode.MISMATCH)
