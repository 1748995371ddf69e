"""Answers that fit a JSON schema: at each token only those are allowed after which the answer can still fit.

The package llguidance (MIT) compiles the schema to a grammar over the tokenizer's own tokens. It is an optional extra.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.core.errors import ExitCode, UserError, first_line

if TYPE_CHECKING:
    import torch

INSTALL = "pip install 'finewright[schema]'"
_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write each value, that of `json.dumps`: else a model may write white space until its tokens are used up."""


class SchemaVocabulary:
    """A schema compiled for a tokenizer. Compiling takes about a second, so answers share it."""

    def __init__(self, tokenizer: Any, schema: Mapping[str, Any], *, end_ids: Sequence[int]) -> None:
        """Compile. Raise `UserError` if the package is missing, the tokenizer has no fast version, or the schema is wrong."""
        try:
            llguidance, adapter = (importlib.import_module(name) for name in ("llguidance", "llguidance.hf"))
        except ImportError:
            raise UserError("answers by a schema need the package `llguidance`", where="--schema", fix=INSTALL) from None
        if not tokenizer.is_fast:
            what = f"answers by a schema need a fast tokenizer, and {type(tokenizer).__name__} is none"
            raise UserError(what, where="--schema", fix="a model whose folder has a tokenizer.json")
        if not end_ids:
            what = "answers by a schema need a token that ends an answer, and the tokenizer names none"
            raise UserError(what, where="--schema", fix="set eos_token in the model's tokenizer_config.json")
        self._matcher = llguidance.LLMatcher
        try:
            self._tokenizer = adapter.from_tokenizer(tokenizer, eos_token=list(end_ids))
        except ValueError as error:
            what = f"answers by a schema cannot use this tokenizer: {first_line(error)}"
            raise UserError(what, where="--schema", fix="another model") from None
        try:
            self._grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=_STYLE)
        except ValueError as error:
            raise _bad_schema(first_line(error)) from None
        wrong, messages = llguidance.LLMatcher.validate_grammar_with_warnings(self._grammar, self._tokenizer)
        if wrong:
            raise _bad_schema(messages[0].strip().splitlines()[0])

    def start(self) -> "SchemaMatcher":
        """Return what follows one answer."""
        return SchemaMatcher(self._matcher(self._tokenizer, self._grammar, log_level=0))


class SchemaMatcher:
    """Follows one answer."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def forbid(self, logits_V: "torch.Tensor") -> None:
        """Set the outputs of tokens after which the answer could not fit to minus infinity, in place."""
        import torch

        allowed = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        self._check()
        size = min(len(logits_V), len(allowed))
        logits_V[size:] = -torch.inf
        logits_V[:size][torch.from_numpy(allowed[:size] == 0).to(logits_V.device)] = -torch.inf

    def take(self, token: int) -> bool:
        """Add a token. Return whether the answer is complete, so that nothing may follow."""
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _bad_schema(self._matcher.get_error().strip().splitlines()[0])


def _bad_schema(reason: str) -> UserError:
    what = f"the schema cannot be followed: {reason}"
    return UserError(what, where="--schema", fix="correct the JSON schema, see json-schema.org", code=ExitCode.BAD_DATA)
