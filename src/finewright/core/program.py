"""How this program is called from where it was started, so that every command it prints runs as printed."""

import functools
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

NAME = "finewright"
_COMMAND = re.compile(
    rf"(?<![\w./'\[-]){NAME} "
    r"(?=(?:train|predict|evaluate|generate|chat|runs|plan|compare|export|demo|doctor|methods|options|config|learn)\b)"
)
"""The program's name before one of its commands, not in a path or a package name."""


@functools.cache
def program_name() -> str:
    """Return what a shell understands as this program: `finewright`, a path such as `.venv/bin/finewright`, or a call of Python.

    Other programs that use the package get `finewright`.
    """
    return find_program(sys.argv[0] if sys.argv else "", interpreter=sys.executable, folder=Path.cwd())


def find_program(started: str, *, interpreter: str, folder: Path) -> str:
    """Return the name for a program that was started as `started` in `folder`; see `program_name`."""
    path = Path(started)
    is_module = path.name == "__main__.py" and path.parent.name == NAME
    if not is_module and (path.stem != NAME or path.parent == Path()):
        return NAME
    script = Path(interpreter).parent / NAME if is_module else path
    found = shutil.which(NAME)
    if found and script.exists() and Path(found).samefile(script):
        return NAME
    return _shown(script, folder) if script.exists() else f"{_shown(Path(interpreter), folder)} -m {NAME}"


def _shown(path: Path, folder: Path) -> str:
    """Return a path as it is typed in `folder`: relative if it lies below, links not followed."""
    absolute = Path(os.path.abspath(path))  # `resolve` would follow a virtual environment's link to its Python
    return shlex.quote(str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute))


def show_path(path: object) -> str:
    """Return a path as text: `./-x` for `-x`, which a command would read as a flag."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def quote_path(path: object) -> str:
    """Return a path as a command takes it, quoted for the shell."""
    return shlex.quote(show_path(path))


def localize_commands(text: str) -> str:
    """Return text with the program's name in every command as it runs here."""
    name = program_name()
    return text if name == NAME else _COMMAND.sub(lambda found: f"{name} ", text)
