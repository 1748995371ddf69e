"""Chat templates by name, for models without one, and the choice of the one that a tokenizer gets.

Every one of them marks what the assistant says with `{% generation %}`. Text that is no special token of a tokenizer needs no new
rows of an embedding; the end of a turn is then the tokenizer's own end of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finewright.core.errors import UserError

DEFAULT = "plain"
"""The template of a model that has none."""
_BOS = "{{ bos_token }}"
_CALLS = (
    "{% for call in message['tool_calls'] or [] %}{% if message['content'] or not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<tool_call>\\n' }}{{ call['function'] | tojson }}{{ '\\n</tool_call>' }}{% endfor %}"
)
"""Calls of functions, one after another, in the form that Hermes and Qwen models use."""
_TOOLS = (
    "{{ 'Functions, one a line. A call of one is <tool_call>, a JSON object with name and arguments, </tool_call>.' }}"
    "{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}"
)


@dataclass(frozen=True)
class _Parts:
    """What stands before and after what each role says. `end`: what ends an answer, and is learnt; `after`: what follows it.

    `tokens`: special tokens that the text has. `first`: what begins a conversation without a system message.
    """

    system: tuple[str, str]
    user: tuple[str, str]
    tool: tuple[str, str]
    answer: str
    end: str
    after: str
    tokens: tuple[str, ...] = ()
    first: str = ""


_EOS = "{{ eos_token }}"
_NAMED = {
    "chatml": _Parts(
        ("<|im_start|>system\n", "<|im_end|>\n"),
        ("<|im_start|>user\n", "<|im_end|>\n"),
        ("<|im_start|>tool\n", "<|im_end|>\n"),
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "\n",
        tokens=("<|im_start|>", "<|im_end|>"),
    ),
    "plain": _Parts(("", "\n\n"), ("### User:\n", "\n\n"), ("### Tool:\n", "\n\n"), "### Assistant:\n", _EOS, "\n\n"),
    "alpaca": _Parts(
        ("", "\n\n"),
        ("### Instruction:\n", "\n\n"),
        ("### Tool:\n", "\n\n"),
        "### Response:\n",
        _EOS,
        "\n\n",
        first="Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
    ),
    "llama3": _Parts(
        ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        ("<|start_header_id|>ipython<|end_header_id|>\n\n", "<|eot_id|>"),
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        "",
        tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "zephyr": _Parts(
        ("<|system|>\n", f"{_EOS}\n"), ("<|user|>\n", f"{_EOS}\n"), ("<|tool|>\n", f"{_EOS}\n"), "<|assistant|>\n", _EOS, "\n"
    ),
}
TEMPLATE_NAMES = tuple(_NAMED)


def _quote(text: str) -> str:
    """Return jinja that writes this text; what is already an expression stays."""
    pieces = text.split(_EOS)
    quoted = ["{{ " + repr(piece) + " }}" if piece else "" for piece in pieces]
    return _EOS.join(quoted)


def named_template(name: str, *, with_bos: bool) -> str:
    """Return the jinja text of a template by name. `with_bos`: it begins with the token that begins every text."""
    parts = _NAMED[name]
    content = "{{ message['content'] }}"
    before, after = map(_quote, parts.system)
    first = f"{{% if messages and messages[0]['role'] != 'system' %}}{_quote(parts.first)}{{% endif %}}" if parts.first else ""
    alone = f"{{% if tools and not (messages and messages[0]['role'] == 'system') %}}{before}{_TOOLS}{after}{{% endif %}}"
    tools = f"{{% if tools and loop.first %}}{{{{ '\\n\\n' }}}}{_TOOLS}{{% endif %}}"
    turns = [f"{{% if message['role'] == 'system' %}}{before}{content}{tools}{after}"]
    for role, (opens, closes) in (("user", parts.user), ("tool", parts.tool)):
        turns.append(f"{{% elif message['role'] == '{role}' %}}{_quote(opens)}{content}{_quote(closes)}")
    answer = f"{{% generation %}}{content}{_CALLS}{_quote(parts.end)}{{% endgeneration %}}"
    turns.append(f"{{% else %}}{_quote(parts.answer)}{answer}{_quote(parts.after)}{{% endif %}}")
    loop = f"{{% for message in messages %}}{''.join(turns)}{{% endfor %}}"
    prompt = f"{{% if add_generation_prompt %}}{_quote(parts.answer)}{{% endif %}}"
    return f"{_BOS if with_bos else ''}{first}{alone}{loop}{prompt}"


def added_start(tokenizer: Any) -> int | None:
    """Return the token that the tokenizer puts before each text by itself, such as <s>; None if it adds none."""
    ids = tokenizer("", verbose=False)["input_ids"]
    return ids[0] if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) else None


def own_template(tokenizer: Any) -> str | None:
    """Return the template that the tokenizer came with; of several the one called `default`."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        return own.get("default") or next(iter(own.values()), None)
    return own or None


def choose_template(tokenizer: Any, wanted: str | None) -> tuple[str | None, str]:
    """Set the chat template of a tokenizer, so that it is saved with the model, and return it with a note for the user.

    The tokenizer's own one unless another is wanted; `plain` where there is none. It is None if the tokenizer has neither a
    template nor a token that ends a text.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer; its `chat_template` is changed.
    wanted
        A name of `TEMPLATE_NAMES`, or None.

    Raises
    ------
    UserError
        If there is no template of that name, or the tokenizer lacks its special tokens: new ones would need new rows of the
        embedding, which the model has never learnt.
    """
    own = own_template(tokenizer)
    with_bos = added_start(tokenizer) is not None
    ours = {named_template(name, with_bos=with_bos): name for name in TEMPLATE_NAMES}
    if wanted is None and own is not None and own not in ours:
        return own, "chat template: the model's own"
    if wanted is not None and wanted not in TEMPLATE_NAMES:
        raise UserError(f"no chat template {wanted!r}", where="data.chat_template", fix=f"one of {_list(TEMPLATE_NAMES)}")
    name = wanted or ours.get(own or "", DEFAULT)
    fitting = [one for one in TEMPLATE_NAMES if not _missing_tokens(tokenizer, one)]
    if missing := _missing_tokens(tokenizer, name):
        if wanted is None:
            return None, "no chat template: the tokenizer has no token that ends a text"
        what = f"the template {name!r} needs {_list(missing)}, which the tokenizer does not have"
        raise UserError(what, where="data.chat_template", fix=f"take {_list(fitting)}" if fitting else "take another model")
    template = named_template(name, with_bos=with_bos)
    tokenizer.chat_template = template
    why = "the model has none" if own is None or own in ours else "in place of the model's own"
    return template, f"chat template: {name} ({why}); it is saved with the model"


def _list(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def _missing_tokens(tokenizer: Any, name: str) -> list[str]:
    """Return the special tokens that a template needs and the tokenizer lacks."""
    parts = _NAMED[name]
    known = tokenizer.get_added_vocab()
    missing = [token for token in parts.tokens if token not in known]
    needs_eos = parts.end == _EOS and not tokenizer.eos_token
    return [*missing, *(["a token that ends a text"] if needs_eos else [])]
