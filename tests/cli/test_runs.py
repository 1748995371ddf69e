"""Commands about runs load no more than they need."""

import subprocess
import sys

import pytest

from support import commands, tiny

UNUSED = ("peft", "bitsandbytes", "sklearn", "pyarrow", "datasets", "pandas", "optuna")
UNUSED_PARTS = ("training", "planning", "comparison", "learn", "exporters", "api", "runs.pipeline", "runs.stages", "runs.verify")


def loaded_by(*words):
    """Return (exit code, top-level modules, this package's modules) of a command in a process of its own."""
    code = (
        "import sys\n"
        "from finewright.cli import main\n"
        f"sys.argv = ['finewright', *{[str(word) for word in words]!r}]\n"
        "code = 0\n"
        "try:\n    main.main()\n"
        "except SystemExit as stop:\n    code = stop.code or 0\n"
        "print('\\n'.join(['', 'loaded', str(code), *sorted(sys.modules)]))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *names = outcome.stdout.rpartition("\nloaded\n")[2].splitlines()
    return int(exit_code), {name.partition(".")[0] for name in names}, {name.removeprefix("finewright.") for name in names}


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_prediction_loads_neither_peft_nor_the_training_half(method, tmp_path):
    data, run = tiny.tickets(tmp_path / "tickets.csv"), tmp_path / "run"
    base = tiny.folder(tmp_path / "base")
    words = ("train", data, "--model", base, "--method", method, "--out", run, *commands.FAST)
    assert commands.call(*words)[0] == 0
    code, libraries, parts = loaded_by("predict", run, "where is my parcel?")
    assert code == 0
    assert "torch" in libraries
    assert libraries & {*UNUSED} == set()
    assert [part for part in parts if part.startswith(UNUSED_PARTS)] == []


def test_a_fault_in_the_data_is_told_before_the_libraries_are_loaded(tmp_path):
    data = tmp_path / "tickets.csv"
    data.write_text("text,label\nwhere is my parcel?\n")
    code, libraries, _ = loaded_by("train", data, "--model", "mini", "--out", tmp_path / "run")
    assert code != 0
    assert libraries & {"torch", "transformers", "peft"} == set()
