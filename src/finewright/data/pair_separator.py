"""What a tokenizer puts between the two texts of a pair: special tokens of its own, else a line break that is added to it.

An encoder's tokenizer has a rule for pairs, such as `[CLS] A [SEP] B [SEP]`. A decoder's puts the texts one after the other, or a
second start token between them, so that a model could not see where the second text begins. Its rule for pairs becomes that
for one text with a line break between the two. One that ends a text by its separator token but has no rule for pairs gets the
usual one. The rule is part of tokenizer.json: whoever loads it reads pairs alike.
"""

from collections.abc import Sequence
from typing import Any

from finewright.core.errors import UserError
from finewright.data.text_pairs import SEPARATOR

_PIECE = "finewright_pair_separator"
"""Name of the separator inside the rule; no text has it, and it is no token."""
_PROBE = "a"


def ensure_separator(tokenizer: Any) -> bool:
    """Make a tokenizer tell the texts of a pair apart, in place. Return whether it was changed; a second call changes nothing.

    Raises
    ------
    UserError
        If the tokenizer has neither a separator nor a fast version, whose rule could be changed.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        _check_slow(tokenizer)
        return False
    between, before, after = _specials_around(backend)
    if any(number != tokenizer.bos_token_id for number in between):
        return False
    if after and after[-1][1] == tokenizer.sep_token_id != tokenizer.bos_token_id:
        _set_rule(backend, before, after, rest=["$B:1", *(f"{token}:1" for token, _ in after)])
        return True
    ids = _separator_ids(tokenizer)
    if not ids:
        what = f"the tokenizer has no token between two texts, and none for {SEPARATOR!r}"
        raise UserError(what, where="tokenizer", fix="data.text_columns_as=joined, or another model")
    _set_rule(backend, before, after, rest=["$B", *(token for token, _ in after)], separator=ids)
    return True


def least_length(tokenizer: Any) -> int:
    """Return the tokens of the shortest pair that says something: its special ones, and one of each text."""
    return len(tokenizer(_PROBE, _PROBE)["input_ids"]) - 2 * len(tokenizer(_PROBE, add_special_tokens=False)["input_ids"]) + 2


def _check_slow(tokenizer: Any) -> None:
    plain = [*tokenizer(_PROBE, add_special_tokens=False)["input_ids"]] * 2
    if len(tokenizer(_PROBE, _PROBE)["input_ids"]) <= len(plain) + 1:
        what = f"{type(tokenizer).__name__} has no fast version and puts nothing between two texts"
        raise UserError(what, where="tokenizer", fix="data.text_columns_as=joined, or another model")


def _specials_around(backend: Any) -> tuple[list[int], list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the ids that are put between the texts of a pair, and (token, id) of those before and after a single text."""
    pair, single = backend.encode(_PROBE, _PROBE), backend.encode(_PROBE)
    real = [place for place, used in enumerate(pair.attention_mask) if used]
    first, second = ([place for place in real if pair.sequence_ids[place] == text] for text in (0, 1))
    named = [one for one, used in zip(zip(single.tokens, single.ids, strict=True), single.attention_mask, strict=True) if used]
    own = [place for place, text in enumerate(single.sequence_ids) if text == 0]
    padding = single.attention_mask.index(1)
    return pair.ids[first[-1] + 1 : second[0]], named[: own[0] - padding], named[own[-1] + 1 - padding :]


def _separator_ids(tokenizer: Any) -> list[int]:
    """Return the ids of a line break behind a text."""
    alone, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (_PROBE, _PROBE + SEPARATOR))
    ids = both[len(alone) :] if both[: len(alone)] == alone else []
    return [token for token in ids if token != tokenizer.unk_token_id]


def _set_rule(
    backend: Any,
    before: list[tuple[str, int]],
    after: list[tuple[str, int]],
    *,
    rest: list[str],
    separator: Sequence[int] = (),
) -> None:
    """Set the rule: a pair is the first text as if it was alone, without its end if there is a `separator`, and then the rest."""
    from tokenizers import processors

    start, end = [token for token, _ in before], [token for token, _ in after]
    named: dict[str, Any] = {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in (*before, *after)}
    if separator:
        tokens = [backend.id_to_token(number) for number in separator]
        named[_PIECE] = {"id": _PIECE, "ids": list(separator), "tokens": tokens}
    middle = [_PIECE] if separator else end
    backend.post_processor = processors.TemplateProcessing(
        single=[*start, "$A", *end], pair=[*start, "$A", *middle, *rest], special_tokens=list(named.values())
    )
