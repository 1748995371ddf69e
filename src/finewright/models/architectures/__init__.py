"""The architectures that can be fine-tuned, by `model_type`."""

import difflib
from typing import Any

from finewright.core.errors import UserError
from finewright.models.architectures.base import Architecture
from finewright.models.architectures.decoders import BLOOM, GPT2, LLAMA, NEOX, OPT, decoder
from finewright.models.architectures.encoders import DISTILBERT, encoder

_KNOWN = {
    architecture.model_type: architecture
    for architecture in (
        decoder("gpt2", fused="thirds", entry="ln_1", names=GPT2),
        *(decoder(name, entry="input_layernorm", names=LLAMA) for name in ("llama", "mistral", "qwen2", "qwen3")),
        decoder("gpt_neox", fused="interleaved", entry="input_layernorm", names=NEOX),
        decoder("bloom", fused="interleaved", names=BLOOM, not_packable="its ALiBi bias counts positions over the whole row"),
        decoder("opt", names=OPT, not_packable="it counts positions from the padding mask"),
        encoder("bert", body="bert", head_kind="pooler", pooler="bert.pooler"),
        encoder("roberta", body="roberta", head_kind="features"),
        encoder("xlm-roberta", body="roberta", head_kind="features"),
        DISTILBERT,
    )
}


def architecture_names() -> list[str]:
    """Architectures (`model_type`) that can be fine-tuned."""
    return sorted(_KNOWN)


def architecture_of(config: Any) -> Architecture:
    """The anatomy of a transformers config; an unknown `model_type` is a `UserError`."""
    name = config.model_type
    if name not in _KNOWN:
        near = difflib.get_close_matches(str(name), _KNOWN, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"the architecture {name!r} is not known",
            where="config.json: model_type",
            fix=f"{hint}known: {', '.join(architecture_names())}",
        )
    architecture = _KNOWN[name]
    if architecture.head_kind == "features":  # RoBERTa counts positions from padding_idx + 1
        from dataclasses import replace

        if not isinstance(config.pad_token_id, int):
            raise UserError("positions are counted from pad_token_id, which is not there", where="config.json", fix="add it")
        return replace(architecture, first_position=config.pad_token_id + 1)
    return architecture
