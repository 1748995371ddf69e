"""Prompts of a language model as tokens: messages by its chat template, or plain text; and what ends an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.core.errors import ExitCode, UserError, first_line

Messages = Sequence[Mapping[str, Any]]
_PROBE = "Xyzzy"
"""An answer that no template changes."""


def has_template(tokenizer: Any) -> bool:
    """Return whether the tokenizer has a chat template."""
    return bool(tokenizer.chat_template)


def encode_messages(tokenizer: Any, messages: Messages, *, where: str = "messages") -> list[int]:
    """Return the tokens of messages and of what begins the next answer.

    Raise `UserError` if they are no messages, there is no chat template, or it does not take them.
    """
    _check_messages(messages, where=where)
    if not has_template(tokenizer):
        what = "the model has no chat template, so messages cannot be written for it"
        raise UserError(what, where=where, fix="give plain prompts, or an instruction-tuned model")
    return list(_apply_template(tokenizer, messages, where=where, tokenize=True, return_dict=False))


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text to continue, with the token that begins a text, without one that ends it.

    An empty text is the token that begins a text, or else the one that ends the text before.
    """
    ids = list(tokenizer(text, verbose=False)["input_ids"])
    end = tokenizer.eos_token_id
    if len(ids) > 1 and ids[-1] == end and not text.endswith(str(tokenizer.eos_token)):
        ids.pop()
    if not ids:
        ids = [one for one in (tokenizer.bos_token_id, end) if one is not None][:1]
    return ids


def find_ends(tokenizer: Any, network: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return (tokens, texts) that end an answer.

    Tokens: the tokenizer's end of text, those of the model's generation config, and the special token that the chat template
    writes after an answer. Texts: what it writes there if that is no special token.
    """
    known = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(known if isinstance(known, list | tuple) else [known])]
    token, text = _end_of_turn(tokenizer) if has_template(tokenizer) else (None, "")
    ids.append(token)
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, int))), (text,) if text else ()


def _end_of_turn(tokenizer: Any) -> tuple[int | None, str]:
    """Return the special token that a template writes after an answer; or the text, if that begins with something else."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": _PROBE}]
    try:
        written = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # a template may refuse anything; then the other tokens end an answer
        return None, ""
    tail = written.rpartition(_PROBE)[2] if _PROBE in written else ""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ids = tokenizer(tail.strip(), add_special_tokens=False, verbose=False)["input_ids"] if tail.strip() else []
    if ids and ids[0] in special:
        return ids[0], ""
    return None, "" if any(one in special for one in ids) else tail.strip()


def _apply_template(tokenizer: Any, messages: Messages, *, where: str, **how: Any) -> Any:
    try:
        return tokenizer.apply_chat_template([dict(one) for one in messages], add_generation_prompt=True, **how)
    except Exception as error:  # a template may raise anything, and says itself what it refuses
        fix = "other roles or another order of the messages; many templates take no system message"
        what = f"the model's chat template does not take these messages: {first_line(error)}"
        raise UserError(what, where=where, fix=fix, code=ExitCode.BAD_DATA) from None


def _check_messages(messages: Any, *, where: str) -> None:
    wanted = 'a list of messages, {"role": "user", "content": "…"}'
    fix = "role is system, user or assistant; content is text"
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise UserError(f"wanted {wanted}, found {str(messages)[:60]!r}", where=where, fix=fix, code=ExitCode.BAD_DATA)
    for number, message in enumerate(messages, start=1):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            what = f"message {number}: wanted {wanted}, found {str(message)[:60]!r}"
            raise UserError(what, where=where, fix=fix, code=ExitCode.BAD_DATA)
