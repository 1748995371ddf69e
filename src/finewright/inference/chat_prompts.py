"""Prompts of a language model as tokens: messages by its chat template, or plain text; and what ends an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data import chat_encoding
from finewright.data.chat_templates import added_start, own_template
from finewright.data.conversations import Conversation, conversation_of
from finewright.data.message_parsing import Fault, parse_messages

Messages = Sequence[Mapping[str, Any]]


def has_template(tokenizer: Any) -> bool:
    """Return whether the tokenizer has a chat template."""
    return own_template(tokenizer) is not None


def encode_conversation(tokenizer: Any, row: Conversation) -> list[int]:
    """Return the tokens of a conversation and of what begins the next answer, as a model learns them before an answer.

    It is not cut: generation refuses what is too long for the model. Raise `UserError` if there is no chat template, or it does
    not take the conversation.
    """
    if row.messages and not has_template(tokenizer):
        what = "the model has no chat template, so messages cannot be written for it"
        raise UserError(what, where=row.where, fix="give plain prompts, or an instruction-tuned model")
    return chat_encoding.encode_prompts(tokenizer, [row], limit=chat_encoding.NO_LIMIT, after_all=True)[0]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text to continue, with the token that begins a text, without one that ends it.

    An empty text is the token that begins a text, or else the one that ends the text before.
    """
    if not text:
        start = added_start(tokenizer)
        known = (start, tokenizer.bos_token_id, tokenizer.eos_token_id)
        return [one for one in known if one is not None][:1]
    return encode_conversation(tokenizer, Conversation(text, "", "prompt", form="text"))


def as_conversation(messages: Messages, *, where: str) -> Conversation:
    """Return messages as training reads them. Raise `UserError` if they are none."""
    try:
        return conversation_of(parse_messages(messages, column="messages"), where=where)
    except Fault as fault:
        fix = 'a list of messages, such as {"role": "user", "content": "…"}'
        raise UserError(str(fault), where=where, fix=fix, code=ExitCode.BAD_DATA) from None


def find_ends(tokenizer: Any, network: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return (tokens, texts) that end an answer.

    Tokens: the tokenizer's end of text, those of the model's generation config, and the special token that the chat template
    writes after an answer. Texts: what it writes there if that is no special token.
    """
    known = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    end = chat_encoding.find_turn_end(tokenizer)
    ids = [*chat_encoding.end_of_turn_ids(tokenizer, end), *(known if isinstance(known, list | tuple) else [known])]
    texts = (end.tail,) if end.kind == "text" and end.id is None else ()
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, int))), texts
