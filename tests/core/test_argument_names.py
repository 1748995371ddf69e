"""Errors name arguments where Python called, flags where the program runs."""

import pytest

import finewright
from finewright.core.argument_names import name_arguments, naming_arguments, program_running
from finewright.core.errors import UserError
from support.commands import call


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("--set data.max_length=N keeps more", 'options={"data.max_length": N} keeps more'),
        (
            "leave them out with --set data.drop_unseen_labels=true",
            'leave them out with options={"data.drop_unseen_labels": True}',
        ),
        ("(--set data.validation_fraction=0.1)", '(options={"data.validation_fraction": 0.1})'),
        ("--set 'method.text=Which team answers?'", 'options={"method.text": "Which team answers?"}'),
        ("--force replaces it; or -o with another name", "force=True replaces it; or output with another name"),
        ("choose another --out", "choose another output_dir"),
        ("another --label-column, or a file", "another data.label_column, or a file"),
        ("--text-column NAME", 'options={"data.text_column": NAME}'),
        ("--text-column 1", 'options={"data.text_column": "1"}'),
        ("--max-length 64", 'options={"data.max_length": 64}'),
        ("--model mini (embedded)", 'model="mini" (embedded)'),
        ("--method full, or leave it out", 'method="full", or leave it out'),
        ("--seeds 3", "seeds=3"),
        (
            "`finewright train --resume runs/x`, --change learning_rate=1",
            "`finewright train --resume runs/x`, --change learning_rate=1",
        ),
        ("finewright export runs/x --out a", "finewright export runs/x --out a"),
        ("a well-off non-flag - and -- dashes", "a well-off non-flag - and -- dashes"),
    ],
)
def test_flags_become_arguments_and_commands_stay(flags, arguments):
    assert name_arguments(flags) == arguments


def test_the_program_names_flags():
    @naming_arguments()
    def refuse():
        raise UserError("no", where="--search", fix="--force")

    with pytest.raises(UserError) as caught:
        refuse()
    assert str(caught.value) == "search_trials: no\n  → force=True"
    with program_running(), pytest.raises(UserError) as caught:
        refuse()
    assert str(caught.value) == "--search: no\n  → --force"


def test_a_call_in_python_and_the_command_name_what_each_takes(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,a\ny,b\n")
    (tmp_path / "b.csv").write_text("text,label\nx,c\n")
    with pytest.raises(UserError, match=r'options=\{"data\.drop_unseen_labels": True\}'):
        finewright.train(tmp_path / "a.csv", model="mini", test=tmp_path / "b.csv", output_dir=tmp_path / "run")
    words = ("train", tmp_path / "a.csv", "--model", "mini", "--test", tmp_path / "b.csv", "--out", tmp_path / "other")
    assert "--set data.drop_unseen_labels=true" in call(*words)[2]
    with pytest.raises(UserError, match=r'test=FILE, or options=\{"data\.test_fraction": 0\.15\}'):
        finewright.compare(tmp_path / "a.csv", model="mini", output_dir=tmp_path / "compared")
