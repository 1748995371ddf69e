"""Tokenizers and chat templates of the kinds that are in use, made in code."""

from typing import Any

from finewright.data.conversations import Message, conversation_of

_TEXT = [
    "User: Where is it?\n\nAssistant: It arrives on Friday.\n\n### User:\nHello there\n\n### Assistant:\nHi, who are you?\n\n",
    "Below is an instruction that describes a task.\n\n\n\nWrite a response that completes the request.\n\nThe answer is 42.\n\n",
    "Once upon a time there was a little girl.\n\n<think>\n\n</think>\n\nassistant\nsystem\nuser\n",
] * 30


def byte_level(*, added: tuple[str, ...] = (), template: str | None = None, eos: str | None = "<|end|>") -> Any:
    """A tokenizer like GPT-2's: no start token, `eos` alone is special; blank lines are one token where nothing follows them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(_TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos)
    tokenizer.add_special_tokens({"additional_special_tokens": list(added)} if added else {})
    tokenizer.chat_template = template
    return tokenizer


def with_start(*, added: tuple[str, ...] = (), template: str | None = None) -> Any:
    """A tokenizer like Llama's: it puts <s> before every text, and a blank before every word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    made.train_from_iterator([text.replace("\n", " ") for text in _TEXT], trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    if added:
        tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(one, normalized=False) for one in added]})
    tokenizer.pad_token = "</s>"
    tokenizer.chat_template = template
    return tokenizer


TURNS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THINKING = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% set said = m['content'] %}"
    "{% if m['role'] == 'assistant' and loop.index0 < ns.last %}{% set said = said.split('</think>')[-1].lstrip() %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + said + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""As Qwen3's: what the assistant thought is left out of all turns before the last question."""
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""As Gemma's."""
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Marks that leave out the end of the turn."""
WRONG_MARKS = MARKED.replace("m['role'] == 'assistant'", "m['role'] == 'user'")
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
"""No token ends a turn."""
TEXT_END = NO_END.replace("+ '\\n'", "+ ' [/answer]\\n'")
FORCED_THOUGHT = CHATML.replace("'<|im_start|>assistant\\n' }}{% endif %}", "'<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
"""The generation prompt begins a thought that answers do not have."""
TWO_STARTS = "{{ bos_token }}{{ bos_token }}" + CHATML


def talk(*turns: str, system: str = "", where: str = "a.jsonl:1", **more: Any) -> Any:
    """A conversation in which the user begins."""
    first = (Message("system", system),) if system else ()
    said = tuple(Message("assistant" if place % 2 else "user", text) for place, text in enumerate(turns))
    return conversation_of((*first, *said), where=where, **more)
