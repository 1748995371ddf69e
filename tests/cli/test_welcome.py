"""The program without a command, its version, short help and completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import finewright
from finewright.cli import welcome
from finewright.core import program
from support.commands import call


def test_without_a_command_six_lines_welcome(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 6
    assert "Nothing leaves this machine." in out
    assert " core" in lines[1]
    assert "GB of memory" in lines[1]
    assert [line.split("   ")[0].strip() for line in lines[3:]] == [
        "finewright demo",
        "finewright train --help",
        "finewright learn",
    ]


def test_a_data_file_of_the_folder_is_in_the_command(tmp_path):
    (tmp_path / "my messages.csv").write_text("text,label\n")
    (tmp_path / "notes.txt").write_text("x\n")
    assert any("finewright train 'my messages.csv' " in line for line in welcome.welcome_lines(tmp_path))


def test_the_commands_are_those_of_the_program_as_it_was_started(tmp_path, monkeypatch):
    monkeypatch.setattr(welcome, "program_name", lambda: ".venv/bin/finewright")
    assert "  .venv/bin/finewright demo " in welcome.welcome_lines(tmp_path)[3]


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version(flag):
    assert call(flag)[:2] == (0, f"finewright {finewright.__version__}\n")


@pytest.mark.parametrize("words", [(), ("train",), ("runs",), ("learn",), ("learn", "check")])
def test_a_short_flag_for_help(words):
    assert call(*words, "-h")[:2] == call(*words, "--help")[:2]
    assert "Usage: " in call(*words, "-h")[1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [("finewright tr", "train"), ("finewright train --epo", "--epochs"), ("finewright learn sh", "show")],
)
def test_a_shell_completes_commands_and_options(words, offered):
    code = "import sys; sys.argv = ['finewright']; from finewright.cli.main import main; main()"
    known = {"_FINEWRIGHT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    outcome = subprocess.run([sys.executable, "-c", code], env=os.environ | known, capture_output=True, text=True, check=False)
    assert offered in outcome.stdout.split()
    assert len(outcome.stdout.split()) <= 2


def test_examples_of_the_help_run_as_printed(monkeypatch):
    monkeypatch.setattr(program, "program_name", lambda: ".venv/bin/finewright")
    assert "Example: .venv/bin/finewright train tickets.csv" in call("train", "--help")[1]
    assert "Example: .venv/bin/finewright learn show 1" in call("learn", "--help")[1]


def test_errors_name_the_program_as_it_was_started(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "program_name", lambda: ".venv/bin/finewright")
    assert "→ .venv/bin/finewright train tickets.csv" in call("train")[2]


@pytest.mark.parametrize("command", ["train", "compare", "demo", "plan"])
def test_every_command_that_reports_progress_can_be_quiet_or_verbose(command):
    out = call(command, "--help")[1]
    assert "-v, --verbose" in out
    assert "-q, --quiet" in out
    data = [] if command == "demo" else ["x.csv"]
    code, _, err = call(command, *data, "-v", "-q", *(["--out", "never"] if command == "demo" else []))
    assert (code, "contradict each other" in err) == (2, True)
    assert not Path("never").exists()
