"""Commands that are printed run as printed."""

import sys
from pathlib import Path

import pytest

from finewright.core import program


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """The folder of a project with the program in its virtual environment, which is not on the path."""
    script = tmp_path / ".venv" / "bin" / "finewright"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    return tmp_path


def found(started, venv, folder=None):
    return program.find_program(str(started), interpreter=str(venv / ".venv/bin/python"), folder=folder or venv)


def test_a_program_that_is_not_on_the_path_is_named_by_its_path(venv, tmp_path):
    script = venv / ".venv" / "bin" / "finewright"
    assert found(script, venv) == ".venv/bin/finewright"
    assert found(venv / "src/finewright/__main__.py", venv) == ".venv/bin/finewright"
    assert found(script, venv, folder=tmp_path / "other") == str(script)


def test_a_program_on_the_path_is_named_by_its_name(venv, monkeypatch):
    monkeypatch.setenv("PATH", str(venv / ".venv" / "bin"))
    assert found(venv / ".venv" / "bin" / "finewright", venv) == "finewright"
    assert found(venv / "src/finewright/__main__.py", venv) == "finewright"


def test_another_program_of_that_name_on_the_path_does_not_count(venv, monkeypatch):
    other = venv / "other"
    other.mkdir()
    (other / "finewright").write_text("#!/bin/sh\n")
    (other / "finewright").chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert found(venv / ".venv" / "bin" / "finewright", venv) == ".venv/bin/finewright"


def test_python_without_a_script_beside_it_is_called_with_the_package(venv):
    (venv / ".venv" / "bin" / "finewright").unlink()
    assert found(venv / "src/finewright/__main__.py", venv) == ".venv/bin/python -m finewright"


@pytest.mark.parametrize("started", ["", "finewright", "/usr/bin/pytest", "notebook.py"])
def test_other_programs_get_the_plain_name(started, venv):
    assert found(started, venv) == "finewright"


def test_a_folder_with_a_space_is_quoted(tmp_path, monkeypatch):
    script = tmp_path / "my env" / "finewright"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setenv("PATH", "")
    assert program.find_program(str(script), interpreter=sys.executable, folder=tmp_path) == "'my env/finewright'"


@pytest.mark.parametrize(("path", "shown"), [("-dash", "./-dash"), ("a b", "'a b'"), ("-a b", "'./-a b'"), ("runs/x", "runs/x")])
def test_a_path_in_a_command_is_never_read_as_a_flag(path, shown):
    assert program.quote_path(Path(path)) == shown


def test_only_commands_are_changed_in_a_text(monkeypatch):
    monkeypatch.setattr(program, "program_name", lambda: ".venv/bin/finewright")
    text = (
        "`finewright train --resume runs/x` or finewright runs; pip install 'finewright[web]', a/finewright train, finewright is"
    )
    assert program.localize_commands(text) == (
        "`.venv/bin/finewright train --resume runs/x` or .venv/bin/finewright runs; "
        "pip install 'finewright[web]', a/finewright train, finewright is"
    )
