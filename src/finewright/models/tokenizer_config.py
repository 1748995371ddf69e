"""What a saved tokenizer says, so that other programs read texts as we do: padding, length, the side that is cut."""

import inspect
import json
from pathlib import Path
from typing import Any

from finewright.models.architectures.base import Architecture

FILE = "tokenizer_config.json"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def align_padding(network: Any, tokenizer: Any, *, architecture: Architecture) -> list[str]:
    """Give the model's config and the tokenizer one padding id; return notes for the user.

    Other programs pad with the tokenizer's id and look for the config's. Nothing is padded with it here.
    """
    config = network.config
    rows = network.get_input_embeddings().weight.shape[0]
    valid = isinstance(config.pad_token_id, int) and 0 <= config.pad_token_id < rows
    stated, own = (config.pad_token_id if valid else None), tokenizer.pad_token_id
    chosen = _choose_padding(tokenizer, stated, own, architecture=architecture, counted_from=architecture.first_position(config))
    notes = []
    if config.pad_token_id is None:
        notes.append(f"padding: the model has no padding id; {chosen} is saved for other programs, none is used here")
    elif chosen != config.pad_token_id or own not in (None, chosen):
        said = f"the model's config says {config.pad_token_id}, its tokenizer {'nothing' if own is None else own}"
        notes.append(f"padding: {said}; {chosen} is saved in both for other programs, none is used here")
    config.pad_token_id = chosen
    if own != chosen and chosen in _special_ids(tokenizer):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)
    return notes


def prepare_for_saving(tokenizer: Any, *, network: Any, max_length: int | None, truncation_side: str) -> None:
    """Set what a saved tokenizer says, in place. `max_length`: most tokens of a text, special ones included; None: leave it."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if max_length is not None:
        tokenizer.model_max_length = max_length
    wanted = inspect.signature(network.forward).parameters
    tokenizer.padding_side, tokenizer.truncation_side = "right", truncation_side
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in wanted]
    for name in ("padding_side", "truncation_side", "model_input_names"):
        tokenizer.init_kwargs[name] = getattr(tokenizer, name)  # only names that are in it are saved


def add_missing_specials(tokenizer: Any, *, architecture: Architecture) -> list[str]:
    """Put [CLS] and [SEP] around every text, if an encoder's tokenizer has these tokens and does not; return a note if so.

    Some versions of transformers lose the rule that adds them when they rebuild a tokenizer, and the model was trained with them.
    """
    ids = tokenizer.cls_token_id, tokenizer.sep_token_id
    if architecture.is_causal or None in ids or not tokenizer.is_fast or len(tokenizer("")["input_ids"]):
        return []
    from tokenizers import processors

    first, last = tokenizer.cls_token, tokenizer.sep_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=[first, "$A", last],
        pair=[first, "$A", last, "$B:1", f"{last}:1"],
        special_tokens=list({first: (first, ids[0]), last: (last, ids[1])}.values()),
    )
    return [f"tokenizer: it put no {first} and {last} around a text, as the model was trained with; they are added"]


def describe_kind(tokenizer: Any) -> list[str]:
    """Return a note if a tokenizer has no fast version."""
    if tokenizer.is_fast:
        return []
    return [f"tokenizer: {type(tokenizer).__name__} has no fast version, so texts are cut one by one, in Python"]


def missing_specials(tokenizer: Any, *, architecture: Architecture) -> list[str]:
    """Return a note if the head reads a text's first token, which such models train as [CLS], and the tokenizer adds none."""
    if architecture.pooling != "first" or len(tokenizer("")["input_ids"]):
        return []
    what = "the head reads the first token of a text, and this tokenizer puts no special token such as [CLS] there"
    return [f"warning: {what}; is it the tokenizer the model was trained with?"]


def find_fault(folder: Path) -> str:
    """Return what is wrong in tokenizer_config.json, with the entry; empty if nothing is, or there is no such file."""
    path = folder / FILE
    if not path.is_file():
        return ""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"{FILE} is not JSON: {str(error).splitlines()[0]}"
    if not isinstance(written, dict):
        return f"{FILE} holds {type(written).__name__}, wanted an object"
    entries = [(name, written[name]) for name in _SPECIAL_TOKENS if written.get(name) is not None]
    for name in ("additional_special_tokens", "extra_special_tokens"):
        value = written.get(name) or []
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [("", value)]
        entries += [(f"{name}[{key}]", one) for key, one in pairs]
    added = written.get("added_tokens_decoder") or {}
    if not isinstance(added, dict):
        return f"{FILE}: added_tokens_decoder: wanted an object, found {type(added).__name__}"
    faults = (f"{FILE}: {name}: {fault}" for name, value in entries if (fault := _token_fault(value)))
    of_added = (
        f"{FILE}: added_tokens_decoder[{key}]: {fault}" for key, value in added.items() if (fault := _added_fault(key, value))
    )
    return next(faults, "") or next(of_added, "")


def _token_fault(value: Any) -> str:
    if isinstance(value, str):
        return ""
    if not isinstance(value, dict):
        return f"wanted a string or an AddedToken, found {json.dumps(value)[:60]}"
    if not isinstance(value.get("content"), str):
        return "an AddedToken without content"
    if value.get("__type") != "AddedToken":
        return 'an object without "__type": "AddedToken"; write the token as a string'
    return ""


def _added_fault(key: str, value: Any) -> str:
    if not key.isdigit():
        return "wanted a token id as the key"
    return "" if isinstance(value, dict) and isinstance(value.get("content"), str) else "an AddedToken without content"


def _special_ids(tokenizer: Any) -> set[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(token_id for token_id, token in added.items() if token.special)}


def _choose_padding(tokenizer: Any, stated: int | None, own: int | None, *, architecture: Architecture, counted_from: int) -> int:
    """Return the padding id. `stated`: the config's; `own`: the tokenizer's; None if they have none.

    `counted_from`: position of a text's first token; unless it is 0, positions are counted from the config's padding id. The id
    must be a special token already: a word that becomes one would be cut out of texts. Where the head reads the last token it
    should not be the one that ends every text, which other programs would take for padding.
    """
    special = _special_ids(tokenizer)
    named = stated if stated in special and stated != tokenizer.unk_token_id else None
    ids = [stated if counted_from else None, own, named, tokenizer.eos_token_id, stated if stated in special else None]
    found = [token_id for token_id in ids if token_id is not None]
    last = (tokenizer("a")["input_ids"] or [None])[-1] if architecture.pooling == "last" else None
    usable = [token_id for token_id in [*found, *sorted(special)] if token_id != last]
    return next(iter(usable or found), 0 if stated is None else stated)
