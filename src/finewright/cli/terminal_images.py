"""Images in a terminal: detect the protocol and encode a PNG in it. Nothing is printed here.

kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/ (also ghostty); iTerm2: https://iterm2.com/documentation-images.html
(also WezTerm).
"""

import base64
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["kitty", "iterm2"]

CHUNK_BYTES = 4096
"""Maximum of base64 data in one kitty command."""
_PROGRAMS: dict[str, Protocol] = {"iTerm.app": "iterm2", "WezTerm": "iterm2", "ghostty": "kitty", "kitty": "kitty"}
_TERMS: dict[str, Protocol] = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty", "wezterm": "iterm2"}
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")
_MULTIPLEXED_TERMS = ("screen", "tmux")
_OTHERS = ("XTERM_VERSION", "VTE_VERSION", "KONSOLE_VERSION")
"""Variables of terminals that set TERM to xterm and cannot show images."""


def protocol(environ: Mapping[str, str]) -> Protocol | None:
    """Return the terminal's image protocol; None if it has none, or inside a multiplexer, which would drop images.

    Every terminal sets TERM. TERM_PROGRAM and KITTY_WINDOW_ID may be inherited from the terminal that started this one, so
    they count only if TERM is not a known terminal.
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
    """Return the escape sequence of an image `columns` wide, with its aspect ratio."""
    return (_kitty if protocol == "kitty" else _iterm2)(png, columns)


def _kitty(png: bytes, columns: int) -> str:
    """a=T: show at once; f=100: PNG; q=2: no reply, which would look like typed text."""
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
