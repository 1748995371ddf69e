"""Pictures inside a terminal: which protocol this one speaks, and a PNG written in it. Standard output is for the caller.

kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/ (also ghostty); iTerm2: https://iterm2.com/documentation-images.html
(also WezTerm).
"""

import base64
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["kitty", "iterm2"]

CHUNK_BYTES = 4096
"""Of base64 in one kitty command, the most that it takes."""
_PROGRAMS: dict[str, Protocol] = {"iTerm.app": "iterm2", "WezTerm": "iterm2", "ghostty": "kitty", "kitty": "kitty"}
_TERMS: dict[str, Protocol] = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty", "wezterm": "iterm2"}
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")
_MULTIPLEXED_TERMS = ("screen", "tmux")
_OTHERS = ("XTERM_VERSION", "VTE_VERSION", "KONSOLE_VERSION")
"""Of terminals that call themselves xterm and show no pictures."""


def protocol(environ: Mapping[str, str]) -> Protocol | None:
    """What the terminal says it speaks; None when it says nothing, or when a multiplexer would swallow pictures.

    The innermost program counts. Every terminal sets TERM; TERM_PROGRAM and KITTY_WINDOW_ID a terminal may have inherited from
    the one that it was started from, so they count only where TERM names none of those that are known.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    multiplexed = any(environ.get(name) for name in _MULTIPLEXERS) or program in _MULTIPLEXED_TERMS
    if multiplexed or term.startswith(_MULTIPLEXED_TERMS) or term == "dumb":
        return None
    if term in _TERMS:
        return _TERMS[term]
    if program:
        return _PROGRAMS.get(program)
    other = not term.startswith("xterm") or any(environ.get(name) for name in _OTHERS)
    return "kitty" if environ.get("KITTY_WINDOW_ID") and not other else None


def escape(png: bytes, protocol: Protocol, *, columns: int) -> str:
    """The picture as what a terminal must be sent, `columns` wide, as high as its shape wants."""
    return (_kitty if protocol == "kitty" else _iterm2)(png, columns)


def _kitty(png: bytes, columns: int) -> str:
    """a=T: show at once; f=100: PNG; q=2: no answer, which would be taken for typed text."""
    data = base64.b64encode(png).decode()
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    parts = []
    for number, chunk in enumerate(chunks, start=1):
        first = f"a=T,f=100,q=2,c={columns}," if number == 1 else ""
        parts.append(f"\x1b_G{first}m={int(number < len(chunks))};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2(png: bytes, columns: int) -> str:
    data = base64.b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\x07"
