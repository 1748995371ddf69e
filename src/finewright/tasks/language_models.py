"""What the tasks of language models have in common."""

from typing import Any

from finewright.core.config import DataConfig
from finewright.data import chat_encoding, chat_templates


def complete_model(network: Any, tokenizer: Any, *, options: DataConfig) -> None:
    """Give the tokenizer its chat template, and the generation config every token that ends an answer."""
    chat_templates.choose_template(tokenizer, options.chat_template)
    ends = chat_encoding.end_of_turn_ids(tokenizer)
    settings = getattr(network, "generation_config", None)
    if ends and settings is not None:
        settings._from_model_config = False  # it says more than the config, and must be kept
        settings.eos_token_id = ends[0] if len(ends) == 1 else ends
        settings.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
