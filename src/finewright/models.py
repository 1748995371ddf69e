"""A model and its tokenizer: built with a head for the labels, or loaded again from what a run saved."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from finewright import anatomy as anatomies
from finewright import attention, fast, hub, provenance
from finewright.anatomy import Anatomy
from finewright.errors import ExitCode, UserError
from finewright.tuned import Origin, Tuned

MOST_BLOCKS = 2048
LEAST_WORDS = 16
"""A tokenizer that knows fewer tokens than this, special ones aside, is what transformers makes up when there is none."""


@dataclass(frozen=True)
class Base:
    """A pre-trained (or random) network with a classification head, before a way has touched it.

    `new`: head modules the checkpoint did not bring. `kept_head`: the checkpoint's own head fits these labels.
    """

    network: Any
    anatomy: Anatomy
    origin: Origin
    new: tuple[str, ...]
    kept_head: bool
    notes: list[str] = field(default_factory=list)

    @property
    def total_parameters(self) -> int:
        """Numbers in the network, its head included."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def shape(source: hub.Source, *, labels: Sequence[str], tokenizer: bool = True) -> Base:
    """The network without memory: names and shapes on the meta device, from its config alone; the head always fresh."""
    with quiet(), torch.device("meta"):
        config = _config(source, labels=labels)
        anatomy = anatomies.of(config)
        _refuse_absurd(config, where=str(source.path / "config.json"))
        network, _ = _random(config)
    network.config.use_cache = False
    _use_packing(network, anatomy)
    with quiet():
        origin = Origin(source.name, source.revision, _tokenizer(source.path, network) if tokenizer else None)
    pooled = anatomy.pooler and not _stores_pooler(source.path)
    return Base(network, anatomy, origin, new=(*anatomy.head, *((anatomy.pooler,) if pooled else ())), kept_head=False)


def _refuse_absurd(config: Any, *, where: str) -> None:
    """A config of a few bytes can claim more blocks than building them would ever end."""
    for name in ("num_hidden_layers", "num_attention_heads"):
        value = getattr(config, name, 1)
        if not isinstance(value, int) or not 0 < value <= MOST_BLOCKS:
            raise UserError(f"{name} is {value!r}, wanted 1 to {MOST_BLOCKS:,}", where=where, fix="another model folder")


def _stores_pooler(folder: Path) -> bool:
    """Whether the checkpoint brings the pooler; without weights at hand it is taken to."""
    from safetensors import safe_open

    names = []
    for file in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError, SafetensorError), safe_open(file, framework="pt") as stored:
            names += list(stored.keys())
    return not names or any("pooler." in name for name in names)


def load(source: hub.Source, *, labels: Sequence[str], random: bool = False, seed: int = 0) -> Base:
    """The network of `source` with a head for `labels`; `random`: the same shape with random weights."""
    with quiet():
        config = _config(source, labels=labels)
        anatomy = anatomies.of(config)
        torch.manual_seed(seed)
        network, missing = _random(config) if random else _pretrained(source, config)
        tokenizer = _tokenizer(source.path, network)
    notes = []
    if config.pad_token_id is None:
        network.config.pad_token_id = _pad_id(tokenizer)
        pad = network.config.pad_token_id
        notes.append(f"padding: the model names no padding id; {pad} is saved for other programs, here none is used")
    network.config.use_cache = False
    network.name_or_path = source.name
    notes += _use_packing(network, anatomy)
    if not len(network.get_submodule(anatomy.blocks)):
        raise UserError("the model has no blocks", where=str(source.path / "config.json"), fix="another model folder")
    _require_finite(network, source.name)
    kept = not random and not _touches(missing, anatomy.head) and _same_labels(source, labels)
    new = (*anatomy.head, *((anatomy.pooler,) if _touches(missing, (anatomy.pooler,)) else ()))
    if kept:
        notes.append("head: the checkpoint's own head has these labels and is kept")
    origin = Origin(name=source.name, revision=source.revision, tokenizer=tokenizer)
    return Base(network=network, anatomy=anatomy, origin=origin, new=new, kept_head=kept, notes=notes)


def reload(folder: Path, *, bfloat16: bool) -> tuple[Tuned, Any]:
    """What a run saved, ready to predict: the network (an adapter on its base again) and the tokenizer."""
    if not (folder / "config.json").is_file():
        raise UserError("no saved model here", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    with quiet():
        if (folder / "adapter_config.json").exists():
            tuned = _reload_adapter(folder)
        else:
            network = _from_pretrained(folder, _saved_config(folder))[0].requires_grad_(False)
            tuned = Tuned(network=network, owner=network, anatomy=anatomies.of(network.config))
        tokenizer = _tokenizer(folder, tuned.network)
    _use_packing(tuned.network, tuned.anatomy)
    if bfloat16:
        use_bfloat16(tuned)
    fast.apply(tuned)
    tuned.owner.requires_grad_(False)
    tuned.owner.eval()
    return tuned, tokenizer


def use_bfloat16(tuned: Tuned) -> None:
    """Matrix products in bfloat16; frozen matrices of the blocks are kept in it.

    Autocast would round them to the very same numbers at every step. What is trained, the head, the norms and the
    embeddings stay in float32.
    """
    from transformers.pytorch_utils import Conv1D

    tuned.bfloat16 = True
    for module in tuned.network.get_submodule(tuned.anatomy.blocks).modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and not any(p.requires_grad for p in module.parameters()):
            module.to(torch.bfloat16)


def _config(source: hub.Source, *, labels: Sequence[str]) -> Any:
    config = _saved_config(source.path)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    return config


def _saved_config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a strange value raises whatever reads it first
        reason = _first_line(error)
        raise UserError(f"not a model config: {reason}", where=str(folder / "config.json"), fix="another model folder") from None


def _require_finite(network: Any, name: str) -> None:
    broken = [key for key, parameter in network.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        what = f"{len(broken)} tensors hold values that are no numbers, for instance {broken[0]}"
        raise UserError(what, where=name, fix="another checkpoint", code=ExitCode.MISMATCH)


def _random(config: Any) -> tuple[Any, list[str]]:
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), []
    except Exception as error:
        raise UserError(f"not a model config: {_first_line(error)}", where="config.json", fix="another model folder") from None


def _pretrained(source: hub.Source, config: Any) -> tuple[Any, list[str]]:
    network, info = _from_pretrained(source.path, config)
    anatomy = anatomies.of(config)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    for unset, fault in ((info["missing_keys"], "lacks"), (mismatched, "has other shapes for")):
        strange = sorted(key for key in unset if not _touches([key], (*anatomy.head, anatomy.pooler)))
        if strange:
            raise UserError(
                f"the checkpoint {fault} {len(strange)} tensors of the model, for instance {strange[0]}",
                where=source.name,
                fix="another checkpoint or config: random numbers would stand there",
                code=ExitCode.MISMATCH,
            )
    return network, sorted({*info["missing_keys"], *mismatched})


def _from_pretrained(folder: Path, config: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # a strange value raises whatever reads it first
        reason = _first_line(error)
        raise UserError(f"cannot load the weights: {reason}", where=str(folder), code=ExitCode.MISMATCH) from error


def _reload_adapter(folder: Path) -> Tuned:
    from peft import PeftConfig, PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("the adapter has no weights", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    try:
        adapter: Any = PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise _damaged(folder, error) from None
    source = hub.resolve(adapter.base_model_name_or_path, revision=adapter.revision or "")
    provenance.require_same(folder, source)
    network = _from_pretrained(source.path, _saved_config(folder))[0].requires_grad_(False)
    network.name_or_path = source.name
    anatomy = anatomies.of(network.config)
    try:
        # What is trainable is not rounded to bfloat16; a prompt lies outside the blocks, and PEFT refuses it as trainable.
        owner: Any = PeftModel.from_pretrained(network, str(folder), is_trainable=not adapter.is_prompt_learning)
    except Exception as error:
        raise _damaged(folder, error) from None
    prompt = owner.prompt_encoder["default"].embedding.weight if adapter.is_prompt_learning else None
    return Tuned(network=network, owner=owner, anatomy=anatomy, prompt=prompt)


def _damaged(folder: Path, error: Exception) -> UserError:
    what = f"the saved adapter cannot be read: {_first_line(error)}"
    return UserError(what, where=str(folder), fix="train it again", code=ExitCode.MISMATCH)


def _tokenizer(folder: Path, network: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        reason = _first_line(error)
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _pad_id(tokenizer: Any) -> int:
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token_id for token_id in ids if token_id is not None)


def _use_packing(network: Any, anatomy: Anatomy) -> list[str]:
    if anatomy.unpackable:
        return [f"batches are padded: {anatomy.model_type} cannot be packed, {anatomy.unpackable}"]
    attention.register()
    network.set_attn_implementation(attention.NAME)
    return []


def _same_labels(source: hub.Source, labels: Sequence[str]) -> bool:
    names = _saved_config(source.path).id2label or {}
    return [names.get(index) for index in range(len(names))] == list(labels)


def _touches(keys: Sequence[str], modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for key in keys for module in modules if module)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
