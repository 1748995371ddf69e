"""Pictures inside a terminal: who gets them, and that the very bytes arrive."""

import base64
import re

import pytest

from finewright.cli import terminal_images

SPEAKS = (
    ({"TERM": "xterm-kitty"}, "kitty"),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
    ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
    ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
    ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
    ({"TERM": "xterm-kitty", "TERM_PROGRAM": "iTerm.app"}, "kitty"),
    ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "Apple_Terminal"}, "kitty"),
    ({"TERM": "alacritty", "KITTY_WINDOW_ID": "1"}, None),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "VTE_VERSION": "7600"}, None),
    ({"TERM": "xterm", "KITTY_WINDOW_ID": "1", "XTERM_VERSION": "XTerm(390)"}, None),
    ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "kitty"),
    ({}, None),
    ({"TERM": "xterm-256color"}, None),
    ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal", "KITTY_WINDOW_ID": "1"}, None),
    ({"TERM": "xterm-kitty", "TERM_PROGRAM": "tmux"}, None),
    ({"TERM": "xterm-kitty", "TMUX": "/x,1,0"}, None),
    ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
    ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
    ({"TERM": "xterm-kitty", "STY": "1.x"}, None),
    ({"TERM": "xterm-ghostty", "ZELLIJ": "0"}, None),
    ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
)


@pytest.mark.parametrize(("environ", "wanted"), SPEAKS)
def test_which_protocol(environ, wanted):
    assert terminal_images.protocol(environ) == wanted


@pytest.mark.parametrize("size", [1, 3072, 3073, 20_000])
def test_kitty_gets_the_bytes_in_chunks(size):
    png = bytes(index % 251 for index in range(size))
    sent = terminal_images.escape(png, "kitty", columns=40)
    pieces = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", sent)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in pieces) == sent
    assert pieces[0][0].startswith("a=T,f=100,q=2,c=40,m=")
    assert [keys[-3:] for keys, _ in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"]
    assert all(len(data) <= 4096 and len(data) % 4 == 0 for _, data in pieces)
    assert base64.b64decode("".join(data for _, data in pieces)) == png


def test_iterm2_gets_the_bytes_and_their_size():
    png = b"\x89PNG" + bytes(5000)
    keys, data = re.fullmatch(
        r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07", terminal_images.escape(png, "iterm2", columns=80)
    ).groups()
    assert keys.split(";") == ["inline=1", "size=5004", "width=80", "preserveAspectRatio=1"]
    assert base64.b64decode(data) == png
