"""The encoding of a text file, told from its bytes."""

import codecs
import re
from collections.abc import Iterable

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks; that of UTF-32 begins like that of UTF-16."""
WINDOWS = "cp1252"
_LETTERS = rb"\xc0-\xd6\xd8-\xf6\xf8-\xff\x83\x8a\x8c\x8e\x9a\x9c\x9e\x9f"
_NOT_WINDOWS = re.compile(rb"[\x81\x8d\x8f\x90\x9d\x00-\x08\x0e-\x1f\x7f]")
"""Bytes that have no character there, and control characters, which text has not."""
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8_PIECE = re.compile(rb"\xc3[\x80-\xbf]|\xe2[\x80-\x84][\x80-\xbf]|\xed[\xa0-\xbf][\x80-\xbf]")
"""Usual characters in UTF-8, and halves of surrogate pairs: the file is UTF-8 with a fault in it."""
_UNUSUAL = re.compile(
    rb"["
    + _LETTERS
    + rb"]{3,}|[\x80-\xff]{5,}"  # words of another script
    + rb"|[a-z][\xc0-\xd6\xd8-\xde\x8a\x8c\x8e](?![A-Z])"  # a capital inside a word
    + rb"|[A-Za-z][\xa1-\xa7\xa9\xab\xac\xae\xaf\xb1\xb3\xb6\xb8\xb9\xbb-\xbf][a-z]"  # a sign inside a word
)
_MOST_UNUSUAL = 0.02
_ALONE = (
    (re.compile(rb"[\xde\xfe\xd0\xf0]"), re.compile(rb"[\xe1\xed\xf3\xfa\xe6]")),  # eth and thorn: Icelandic has these too
    (re.compile(rb"[a-z]\xf8|\xf8[a-z]"), re.compile(rb"[\xe5\xe6\xc5\xc6]")),  # o with a stroke: Danish has these too
)
"""Letters that another encoding has in their place, and letters of the language that has them here."""


def find_mark(head: bytes) -> bytes:
    """Return the byte order mark that a file begins with, or nothing."""
    return next((mark for mark in MARKS if head.startswith(mark)), b"")


def find_utf16(head: bytes) -> str:
    """Return `utf-16-le` or `utf-16-be` if one byte of each pair, and only that one, is often zero; else nothing."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if even and odd or (even + odd) * 4 <= len(head):
        return ""
    return "utf-16-le" if odd else "utf-16-be"


def why_not_windows(lines: Iterable[bytes]) -> str:
    """Return why a text that is not UTF-8 should not be read as Windows-1252; nothing if it clearly is that.

    Every byte sequence could be read so, and would give wrong letters without an error. Hence the words must look like those
    of a language that is written in Windows-1252: single letters with accents among plain ones, quotes, dashes.
    """
    runs = unusual = 0
    seen: list[list[bool]] = [[False, False] for _ in _ALONE]
    for line in lines:
        if line.isascii():
            continue
        if _NOT_WINDOWS.search(line):
            return "it has bytes that Windows-1252 does not know"
        if _UTF8_PIECE.search(line):
            return "other characters in it are UTF-8"
        runs += len(_HIGH.findall(line))
        unusual += len(_UNUSUAL.findall(line))
        for found, patterns in zip(seen, _ALONE, strict=True):
            found[:] = [old or bool(pattern.search(line)) for old, pattern in zip(found, patterns, strict=True)]
    unusual += runs * any(letter and not company for letter, company in seen)
    return "its words do not look like Windows-1252" if unusual > _MOST_UNUSUAL * runs else ""
