"""Texts and scores as a model takes and gives them, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.core.errors import ExitCode, UserError


def check_text(text: Any, where: str) -> str:
    """Return the text. Raise `UserError` with the location if it is empty, not a string or not valid Unicode."""
    if not isinstance(text, str) or not text.strip():
        found = "an empty text has no label" if isinstance(text, str) else f"wanted text, found {type(text).__name__}"
        raise UserError(found, where=where, fix="leave it out", code=ExitCode.BAD_DATA)
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "bytes that are not UTF-8, or half of a surrogate pair"
        raise UserError(what, where=where, fix="write it in UTF-8", code=ExitCode.BAD_DATA) from None
    return text


def check_finite(scores: np.ndarray, texts: Sequence[str]) -> None:
    """Raise `UserError` that names the first text whose scores, a row of `scores`, are not finite."""
    if not np.isfinite(scores).all():
        bad = texts[int(np.argwhere(~np.isfinite(scores))[0, 0])]
        raise UserError(
            f"the model's scores are not finite for {bad[:60]!r}", fix="the model is damaged", code=ExitCode.NON_FINITE
        )
