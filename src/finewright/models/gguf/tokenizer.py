"""Rebuild the tokenizer that a GGUF file describes, and save it with its chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finewright.models.gguf.reader import GgufFile, refuse

_ANOTHER = "take the model as a folder with its tokenizer.json"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens."""
_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3_SPLIT = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_TAIL}"
_QWEN2_SPLIT = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_TAIL}"
_SPLITS = {
    **dict.fromkeys(("gpt-2", "gpt2", "phi-2", "olmo", "mpt", "jais"), _GPT2_SPLIT),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell", "command-r"), _GPT2_SPLIT),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "dbrx", "smaug-bpe"), _LLAMA3_SPLIT),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), _QWEN2_SPLIT),
}
"""How a byte-level vocabulary cuts a text into words before merges, by the file's name of it."""
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "codeshell", "command-r")
_WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "falcon3")
"""A word that is in the vocabulary is a token, whatever the merges."""
_COMPOSED = ("qwen2", "deepseek-r1-qwen", "megrez")
"""Texts are put in the normal form C first."""


def save_tokenizer(file: GgufFile, folder: Path) -> None:
    """Write the tokenizer of a file. Raise `UserError` if the file has none, or one that is not known here."""
    from transformers import PreTrainedTokenizerFast

    tokens, kinds = _read_tokens(file)
    model = file.metadata.get("tokenizer.ggml.model")
    if model == "gpt2":
        backend = _byte_level(file, tokens)
    elif model == "llama":
        backend = _sentencepiece(file, tokens, kinds)
    else:
        raise refuse(file.path, f"its tokenizer is of the kind {model!r}; known: gpt2, llama", fix=_ANOTHER)
    _add_special(backend, tokens, kinds)
    names = _special_names(file, tokens)
    _add_ends(file, backend, names, default_bos=model == "llama")
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **names)
    template = file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def _read_tokens(file: GgufFile) -> tuple[list[str], list[int]]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise refuse(file.path, "holds no tokenizer", fix=_ANOTHER)
    if len(set(tokens)) < len(tokens):
        raise refuse(file.path, "its vocabulary names a token twice", fix=_ANOTHER)
    kinds = file.metadata.get("tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise refuse(file.path, "its vocabulary has another length than its kinds of tokens")
    return tokens, kinds


def _byte_level(file: GgufFile, tokens: Sequence[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    merges, split = file.metadata.get("tokenizer.ggml.merges"), file.metadata.get("tokenizer.ggml.pre")
    if not isinstance(merges, list):
        raise refuse(file.path, "its tokenizer has no merges", fix=_ANOTHER)
    if split is None and file.architecture == "gpt2":
        split = "gpt-2"
    if split not in _SPLITS:
        said = f"cuts texts by {split!r}" if split else "does not say how it cuts texts into words"
        raise refuse(file.path, f"its tokenizer {said}; known: {', '.join(sorted(_SPLITS))}", fix=_ANOTHER)
    pairs = [(left, right) for left, _, right in (str(merge).partition(" ") for merge in merges)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    try:
        tokenizer: Any = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=split in _WHOLE_WORDS))
    except Exception as error:  # a merge of pieces that are no tokens
        raise refuse(file.path, f"its tokenizer is damaged: {str(error).splitlines()[0]}") from None
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split in _SINGLE_DIGITS else []
    words = pre_tokenizers.Split(Regex(_SPLITS[split]), behavior="isolated")
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, words, alphabet])
    if split in _COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GgufFile, tokens: Sequence[str], kinds: Sequence[int]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores = file.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise refuse(file.path, "its tokenizer has no score for every token", fix=_ANOTHER)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    bpe = models.BPE(
        vocab=vocabulary,
        merges=_derive_merges(tokens, kinds, scores),
        unk_token=next((token for token, kind in zip(tokens, kinds, strict=True) if kind == _UNKNOWN), None),
        fuse_unk=True,
        byte_fallback=_BYTE in kinds,
    )
    tokenizer: Any = Tokenizer(bpe)
    prefix = bool(file.metadata.get("tokenizer.ggml.add_space_prefix", True))
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space] if prefix else [space])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return tokenizer


def _derive_merges(tokens: Sequence[str], kinds: Sequence[int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Return the merges that a vocabulary with scores stands for: the pair that makes the token of the highest score first."""
    known = {token: index for index, token in enumerate(tokens) if kinds[index] in (_NORMAL, _UNUSED)}
    merges = []
    for token, index in known.items():
        for cut in range(1, len(token)):
            left, right = known.get(token[:cut]), known.get(token[cut:])
            if left is not None and right is not None:
                merges.append((-scores[index], left, right))
    return [(tokens[left], tokens[right]) for _, left, right in sorted(merges)]


def _add_special(tokenizer: Any, tokens: Sequence[str], kinds: Sequence[int]) -> None:
    from tokenizers import AddedToken

    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (_CONTROL, _UNKNOWN)]
    plain = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])


def _special_names(file: GgufFile, tokens: Sequence[str]) -> dict[str, str]:
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: file.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    found = {name: number for name, number in ids.items() if isinstance(number, int)}
    if outside := {name: number for name, number in found.items() if not 0 <= number < len(tokens)}:
        name, number = next(iter(outside.items()))
        raise refuse(file.path, f"its {name} is number {number}, its vocabulary has {len(tokens)} tokens")
    return {name: tokens[number] for name, number in found.items()}


def _add_ends(file: GgufFile, tokenizer: Any, names: dict[str, str], *, default_bos: bool) -> None:
    """Put the tokens around a text that the file asks for."""
    from tokenizers import processors

    wanted = {"bos_token": default_bos, "eos_token": False}
    flags = {name: bool(file.metadata.get(f"tokenizer.ggml.add_{name}", default)) for name, default in wanted.items()}
    used = {name: names[name] for name, flag in flags.items() if flag and name in names}
    if not used:
        return
    first, last = used.get("bos_token", ""), used.get("eos_token", "")
    single, pair = f"{first} $A {last}".split(), f"{first} $A {last} {first} $B:1 {last}".split()
    special = [(token, tokenizer.token_to_id(token)) for token in sorted(set(used.values()))]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
