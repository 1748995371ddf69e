"""Flags that are generated from the options."""

import inspect
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from finewright.cli import compare, evaluate, main, plan, predict, train
from finewright.cli.arguments import DATA_FLAGS, READ_FLAGS, OptionFlags, expand_option_flags
from finewright.core import config
from finewright.core.config import RunConfig, TrainingConfig, describe_options, option
from support.commands import call

FLAGS = [
    "--model",
    "--task",
    "--seed",
    "--budget",
    "--force",
    "--text-column",
    "--label-column",
    "--format",
    "--encoding",
    "--no-header",
    "--max-length",
    "--epochs",
    "--lr",
    "--max-steps",
    "--batch-tokens",
    "--threads",
    "--patience",
    "--precision",
    "--optimizer",
]
READING = {"--format", "--encoding", "--no-header"}


def flags_of(command):
    """The names of a command's flags."""
    app = typer.Typer()
    app.command()(expand_option_flags(command))
    return {name for one in get_command(app).params for name in one.opts if name.startswith("--")}


def test_every_marked_option_is_a_flag_of_the_commands_that_train():
    assert flags_of(train.train) >= set(FLAGS)
    assert flags_of(plan.plan) >= set(FLAGS)
    assert flags_of(compare.compare) >= set(FLAGS) - {"--seed"}
    assert "--seed" not in flags_of(compare.compare), "it has --seeds"
    own = {"--force"}  # there it means to replace the output
    assert flags_of(evaluate.evaluate) & set(FLAGS) - own == {"--text-column", "--label-column", *READING}
    assert flags_of(predict.predict) & set(FLAGS) - own == {"--text-column", *READING}


def test_a_new_field_with_a_flag_is_a_flag_of_every_command(monkeypatch):
    class MoreTraining(TrainingConfig):
        label_smoothing: float = option(0.0, "share given to the other labels", low=0, high=1, flag="--label-smoothing")

    class MoreOptions(RunConfig):
        training: MoreTraining = MoreTraining()

    monkeypatch.setattr(config, "RunConfig", MoreOptions)
    for command in (train.train, plan.plan, compare.compare):
        assert "--label-smoothing" in flags_of(command)
        parameter = inspect.signature(expand_option_flags(command)).parameters["training_label_smoothing"]
        kind, flag = parameter.annotation.__args__[0], parameter.annotation.__metadata__[0]
        assert (kind, flag.min, flag.max) == (float | None, 0, 1)
        assert flag.help == "Share given to the other labels. [default: 0.0]"


def test_the_command_gets_the_values_that_were_given_by_option_name():
    received = []

    def command(name: str, options: Annotated[dict[str, Any], OptionFlags()], more: int = 2) -> None:
        received.append((name, options, more))

    app = typer.Typer()
    app.command()(expand_option_flags(command))
    run = get_command(app)
    run(["x", "--seed", "0", "--lr", "1e-4", "--force", "--more", "3"], standalone_mode=False)
    run(["y"], standalone_mode=False)
    assert received == [("x", {"seed": 0, "training.learning_rate": 1e-4, "force": True}, 3), ("y", {}, 2)]


def test_a_column_flag_given_twice_keeps_both_columns():
    received = []

    def command(options: Annotated[dict[str, Any], OptionFlags(only=READ_FLAGS)]) -> None:
        received.append(options)

    app = typer.Typer()
    app.command()(expand_option_flags(command))
    run = get_command(app)
    run(["--text-column", "subject", "--text-column", "body", "--no-header"], standalone_mode=False)
    run(["--text-column", "subject"], standalone_mode=False)
    run([], standalone_mode=False)
    assert received == [
        {"data.text_column": ["subject", "body"], "data.no_header": True},
        {"data.text_column": "subject"},
        {},
    ]
    assert config.build_options(RunConfig, {"data": {"text_column": ["subject", "body"]}}).data.text_column == ("subject", "body")


def test_a_command_without_generated_flags_stays_as_it_is():
    def command(name: str) -> None:
        pass

    assert expand_option_flags(command) is command
    assert DATA_FLAGS.only == (*READ_FLAGS, "data.label_column")
    assert READ_FLAGS == ("data.text_column", "data.format", "data.encoding", "data.no_header")


def test_help_shows_text_default_and_range_of_the_option():
    code, out, _ = call("train", "--help")
    words = " ".join(out.split())
    rows = {name: (default, text) for name, default, text in describe_options(RunConfig)}
    default, text = rows["training.max_steps"]
    assert code == 0
    assert f"{text[0].upper()}{text[1:]}. [default: {default}]" in words
    assert "[0.01<=x<=1000]" in words
    assert max(map(len, out.splitlines())) <= 200


@pytest.mark.parametrize("command", ["train", "plan", "compare"])
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--threads", "many"], "Invalid value for '--threads'"),
        (["--learning-rate", "1"], "No such option: --learning-rate"),
        (["--precision", "float64"], "training.precision = 'float64'"),
    ],
)
def test_a_wrong_flag_is_refused_by_every_command(tmp_path, monkeypatch, command, flag, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,label\n" + "a,x\nb,y\n" * 20)
    code, out, err = call(command, "t.csv", "--model", "mini", *flag)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_the_list_of_commands_is_complete_and_imports_no_option():
    code, out, _ = call("--help")
    assert code == 0
    commands = get_command(main.app).commands
    assert {"train", "plan", "compare", "evaluate", "predict", "runs", "methods", "options", "doctor", "demo", "learn"} <= set(
        commands
    )
    for name, command in commands.items():
        assert name in out
        assert command.help, name
