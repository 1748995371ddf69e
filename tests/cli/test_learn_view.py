"""Pictures of the learner's own runs, where the terminal can."""

import base64
import io
import re

import pytest
from rich.console import Console

from finewright.cli import learn_view
from finewright.learn.workspace import Workspace
from support import made_runs


class Screen(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self):
        return True


@pytest.fixture
def workspace(tmp_path):
    made_runs.write_runs(tmp_path / "runs")
    return Workspace(work=tmp_path / "learn", runs=tmp_path / "runs")


def shown(workspace, file, environ, *, number=3):
    """What `learn show` writes; nothing else in the environment says which terminal this is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMUX", "STY", "ZELLIJ", "TERM_PROGRAM", "KITTY_WINDOW_ID", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        learn_view.show_lesson(Console(file=file, width=70), workspace, workspace.course.lesson(number))
    return file.getvalue()


def test_the_plot_is_shown_and_named(workspace):
    text = shown(workspace, Screen(), {"TERM": "xterm-kitty"})
    sent = "".join(data for _, data in re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b", text))
    path = workspace.root / "pictures" / "finewright-03_transfer.png"
    assert base64.b64decode(sent) == path.read_bytes()
    assert ",c=70," in text
    assert text.index("picture  ") > text.index("\x1b_G")
    assert str(path) in text


def test_iterm2_too(workspace):
    assert "\x1b]1337;File=inline=1;" in shown(workspace, Screen(), {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"})


@pytest.mark.parametrize(
    ("file", "environ"),
    [
        (io.StringIO, {"TERM": "xterm-kitty", "FORCE_COLOR": "1"}),
        (Screen, {"TERM": "xterm-256color"}),
        (Screen, {"TERM": "xterm-kitty", "TMUX": "/x,1,0"}),
    ],
)
def test_other_terminals_show_the_path_only(workspace, file, environ):
    text = shown(workspace, file(), environ)
    assert "\x1b_G" not in text
    assert "\x1b]1337" not in text
    assert "finewright-03_transfer.png" in text


def test_without_runs_there_is_nothing_to_show(tmp_path):
    workspace = Workspace(work=tmp_path / "learn", runs=tmp_path / "none")
    assert "\x1b_G" not in shown(workspace, Screen(), {"TERM": "xterm-kitty"})
