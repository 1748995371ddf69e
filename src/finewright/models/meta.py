"""A model before its weights: its config, its tokenizer, and its shape on the meta device."""

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from finewright.core.errors import ExitCode, UserError
from finewright.models import architectures, hub, quantization
from finewright.models.architectures.base import Architecture
from finewright.models.attention import packed
from finewright.models.prepared import BaseModelRef
from finewright.models.quantization import FourBit

MOST_BLOCKS, MOST_PARAMETERS = 512, 20 * 10**12
"""Beyond these a config is taken for a mistake: about ten times what the largest published models have."""
MOST_UNSTORED = 10**8
"""Numbers a network may have beyond what its weight files could hold: a head for many labels, which no checkpoint brings."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
LEAST_WORDS = 16
"""A tokenizer that knows fewer tokens than this, special ones aside, is what transformers makes up when there is none."""


@dataclass(frozen=True)
class BaseNetwork:
    """A pre-trained (or random) network with a classification head, before a way has touched it.

    `new`: head modules the checkpoint did not bring. `kept_head`: the checkpoint's own head fits these labels.
    `total_parameters`: numbers in the network, its head included, however they are packed. `loaded_bytes`: of all its tensors
    as they are read, before a way rounds or adds any.
    """

    network: Any
    architecture: Architecture
    origin: BaseModelRef
    new: tuple[str, ...]
    kept_head: bool
    total_parameters: int
    loaded_bytes: int = 0
    notes: list[str] = field(default_factory=list)


def meta_model(
    source: hub.ModelSource,
    *,
    labels: Sequence[str],
    four_bit: FourBit | None = None,
    bfloat16: bool = False,
    tokenizer: bool = True,
) -> BaseNetwork:
    """The network without memory: names and shapes on the meta device, from its config alone; the head always fresh."""
    with quiet_libraries(), torch.device("meta"):
        config = load_config(source, labels=labels)
        architecture = architectures.architecture_of(config)
        network, _ = build_random_network(config)
    network.config.use_cache = False
    use_packed_attention(network, architecture)
    total = count_parameters(network)
    if total > MOST_PARAMETERS:
        what = f"the config claims {total:,} numbers, more than {MOST_PARAMETERS:,}"
        raise UserError(what, where=str(source.path / "config.json"), fix="another model folder")
    if four_bit is not None:
        with torch.device("meta"):
            quantization.meta_quantize(network, layers=architecture.layers, four_bit=four_bit, bfloat16=bfloat16)
    with quiet_libraries():
        origin = BaseModelRef(source.name, source.revision, load_tokenizer(source.path, network) if tokenizer else None)
    pooled = architecture.pooler and not has_pooler(source.path)
    new = (*architecture.head, *((architecture.pooler,) if pooled else ()))
    loaded = sum(tensor.numel() * tensor.element_size() for tensor in [*network.parameters(), *network.buffers()])
    return BaseNetwork(network, architecture, origin, new=new, kept_head=False, total_parameters=total, loaded_bytes=loaded)


def count_parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _refuse_absurd(config: Any, *, where: str) -> None:
    """A config of a few bytes can claim more blocks than building them would ever end."""
    for name in ("num_hidden_layers", "num_attention_heads"):
        value = getattr(config, name, 1)
        if not isinstance(value, int) or not 0 < value <= MOST_BLOCKS:
            raise UserError(f"{name} is {value!r}, wanted 1 to {MOST_BLOCKS:,}", where=where, fix="another model folder")
    for name in ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"):
        value = getattr(config, name, None)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f"{name} is {value!r}, wanted 1 or more", where=where, fix="another model folder")
    heads, shared = getattr(config, "num_attention_heads", 1), getattr(config, "num_key_value_heads", None)
    if shared and heads % shared:
        raise UserError(f"{heads} attention heads cannot share {shared} of keys", where=where, fix="another model folder")


def check_not_hollow(config: Any, folder: Path) -> None:
    """A config that claims many more numbers than lie beside it is a `UserError`, before memory is asked for them.

    Nothing stores a number in less than half a byte.
    """
    with quiet_libraries(), torch.device("meta"):
        claimed = count_parameters(build_random_network(config)[0])
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if claimed > 2 * stored + MOST_UNSTORED:
        what = f"the config claims {claimed:,} numbers, the weights beside it are {stored:,} bytes"
        fix = "bring back the config that belongs to the weights"
        raise UserError(what, where=str(folder), fix=fix, code=ExitCode.MISMATCH)


def has_pooler(folder: Path) -> bool:
    """Whether the checkpoint brings the pooler; without weights at hand it is taken to."""
    from safetensors import safe_open

    names = []
    for file in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError, SafetensorError), safe_open(file, framework="pt") as stored:
            names += list(stored.keys())
    return not names or any("pooler." in name for name in names)


def load_config(source: hub.ModelSource, *, labels: Sequence[str]) -> Any:
    config = load_saved_config(source.path)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    return config


def load_saved_config(folder: Path) -> Any:
    """The config of a folder, whoever wrote it; one that claims what no model has is a `UserError`."""
    from transformers import AutoConfig

    where = str(folder / "config.json")
    try:
        json.loads((folder / "config.json").read_bytes(), object_hook=partial(_refuse_many_layers, where=where))
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UserError:
        raise
    except json.JSONDecodeError as error:
        raise UserError(f"not a model config, not even JSON: {error}", where=where, fix="another model folder") from None
    except Exception as error:  # a strange value raises whatever reads it first
        raise UserError(f"not a model config: {first_line(error)}", where=where, fix="another model folder") from None
    _refuse_absurd(config, where=where)
    return config


def _refuse_many_layers(written: dict[str, Any], *, where: str) -> None:
    """Before transformers sees it: some of its configs make a list as long as this number when they are read."""
    for name in _LAYERS:
        value = written.get(name)
        if isinstance(value, int | float) and value > MOST_BLOCKS:
            what = f"num_hidden_layers is {value!r}, wanted 1 to {MOST_BLOCKS:,}"
            raise UserError(what, where=where, fix="another model folder")


def build_random_network(config: Any) -> tuple[Any, list[str]]:
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), []
    except Exception as error:
        raise UserError(f"not a model config: {first_line(error)}", where="config.json", fix="another model folder") from None


def load_tokenizer(folder: Path, network: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"no tokenizer: {reason}", where=str(folder), fix="save the model's tokenizer into the folder") from None
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) < LEAST_WORDS:
        what = f"no tokenizer: it knows {len(tokenizer)} tokens, so every text would look the same"
        raise UserError(what, where=str(folder), fix="save the model's tokenizer into the folder")
    num_rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_rows:
        raise UserError(
            f"the tokenizer knows {len(tokenizer)} tokens, the model has embeddings for {num_rows}",
            where=str(folder),
            fix="use the tokenizer the model was trained with",
            code=ExitCode.MISMATCH,
        )
    return tokenizer


def load_tokenizer_if_any(folder: Path) -> Any | None:
    """The tokenizer of a folder, None when it holds no file of one."""
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        return None
    with quiet_libraries():
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise UserError(
                f"no tokenizer: {first_line(error)}", where=str(folder), fix="save the model's tokenizer there"
            ) from None


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def use_packed_attention(network: Any, architecture: Architecture) -> list[str]:
    if architecture.not_packable:
        return [f"batches are padded: {architecture.model_type} cannot be packed, {architecture.not_packable}"]
    packed.register()
    network.set_attn_implementation(packed.NAME)
    return []


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """transformers and PEFT draw bars and print advice for their own users; ours get notes."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
