"""Tiny random language models with a tokenizer that writes text, and with a chat template."""

from pathlib import Path
from typing import Any

from support import tiny

TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "[{{ message['role'] }}] {{ message['content'] }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def folder(path: Path, *, template: str | None = None, kind: str = "llama", **config: Any) -> Path:
    """A model folder whose tokenizer has a decoder, and this chat template."""
    from tokenizers import decoders
    from transformers import AutoTokenizer

    tiny.folder(path, kind=kind, **config)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(path)
    return path
