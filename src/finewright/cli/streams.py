"""Standard output and standard error, whatever their encoding."""

import io
from typing import Any


def make_printable(stream: Any) -> None:
    """Write what the encoding of a stream lacks, such as a letter in ASCII or Windows-1252, as `\\u043f` instead of failing."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")
