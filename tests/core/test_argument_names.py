"""Errors name arguments where Python called, flags where the program runs."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import finewright
from finewright.cli import learn, main, run_list
from finewright.cli.arguments import expand_option_flags
from finewright.core.argument_names import is_known, name_arguments, naming_arguments, program_running
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
        ("--model mini (embedded)", "model='mini' (embedded)"),
        ("--model a/b need no network", "model='a/b' need no network"),
        ("--method full, or leave it out", "method='full', or leave it out"),
        ("for instance --else unsure", "for instance otherwise='unsure'"),
        ("for instance --else unsure, or leave it out", "for instance otherwise='unsure', or leave it out"),
        ("--else 'not sure'", "otherwise='not sure'"),
        ("--min-confidence, --else and --top-k are", "min_confidence, otherwise and top_k are"),
        ("--lr 1e-4", 'options={"training.learning_rate": 1e-4}'),
        ("--set training.learning_rate=1e-4", 'options={"training.learning_rate": 1e-4}'),
        ("--budget 8GB or more", "memory_budget='8GB' or more"),
        ("--encoding windows-1251, shift_jis, …", 'options={"data.encoding": "windows-1251"}, shift_jis, …'),
        ("--label-column urgent learns that one", 'options={"data.label_column": "urgent"} learns that one'),
        ("label '--test' in row 3", "label '--test' in row 3"),
        ("the label \"it's --test\" of '-o', --test FILE", "the label \"it's --test\" of '-o', test=FILE"),
        ("the model's own --lr isn't it", "the model's own training.learning_rate isn't it"),
        ("read -only this, --outer, --test-", "read -only this, --outer, --test-"),
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


def command_flags(command):
    below = getattr(command, "commands", {}).values()
    return {flag for one in command.params for flag in one.opts} | {flag for one in below for flag in command_flags(one)}


def all_flags():
    """The flags of every command."""
    for command in main._COMMANDS.registered_commands:
        command.callback = expand_option_flags(command.callback)
    return set().union(*(command_flags(get_command(app)) for app in (main._COMMANDS, run_list.app, learn.app)))


def flags_named_in(path):
    """The flags in the texts of a module that are no docstrings, commands or quoted."""
    tree = ast.parse(path.read_text())
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values}
            text = "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        text = re.sub(r"`[^`]*`|finewright [a-z]+ [^;\n]*", "", text)
        yield from re.findall(r"(?<![\w-])(?:--[a-z][a-z-]*[a-z]|-o)(?![\w-])", text)


def test_every_flag_that_a_message_of_the_package_names_is_known():
    """Errors of `cli/` are raised by the program alone, which names flags."""
    root = Path(finewright.__file__).parent
    paths = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ("cli", "assets")]
    named = {flag: path.name for path in paths if path.name != "argument_names.py" for flag in flags_named_in(path)}
    assert {"--else", "--out", "--lr", "--trust", "-o"} <= named.keys() & all_flags()
    assert not {flag: name for flag, name in named.items() if flag in all_flags() - {"--set"} and not is_known(flag)}
