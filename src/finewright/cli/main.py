"""The program: all its commands, and how an error ends it."""

import inspect
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from finewright import __version__
from finewright.cli import (
    chat,
    compare,
    config_files,
    evaluate,
    export,
    generate,
    info,
    learn,
    plan,
    predict,
    run_list,
    suspects,
    train,
)
from finewright.cli.arguments import expand_option_flags
from finewright.core.argument_names import program_running
from finewright.core.interrupts import Interrupted
from finewright.core.program import localize_commands

RENAMED = {"knobs": "options"}
"""Earlier names of commands."""
_COMMANDS = typer.Typer()
for module in (info, train, plan, compare, evaluate, predict, suspects, generate, chat, export):
    module.register(_COMMANDS)


class _DeferredCommand(TyperCommand):
    """A command whose flags are built when it is called, since that imports every option; `--help` lists its first line."""

    def __init__(self, app: typer.Typer, **texts: Any) -> None:
        super().__init__(**texts)
        self.app = app

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Return a context of the real command: that is the one which is invoked."""
        for command in self.app.registered_commands:
            command.callback = expand_option_flags(command.callback)  # type: ignore[arg-type]
        real = get_command(self.app)
        real.name = self.name
        _localize_examples(real)
        try:
            return real.make_context(*args, **extra)
        except Exception as error:
            if hasattr(error, "possibilities"):
                _suggest_flag(error, real)
            else:
                _name_range(error)
            raise


def _suggest_flag(error: Any, command: Any) -> None:
    """Let the message about a flag that does not exist name the one that is meant, also by another program's name."""
    from finewright.cli.arguments import suggest_flag
    from finewright.core.option_names import NOT_OPTIONS

    found = error.ctx.command if error.ctx else command
    flags = [flag for one in found.params for flag in one.opts if flag.startswith("--")]
    if meant := suggest_flag(error.option_name, known_flags=flags):
        error.possibilities = [meant]
    elif instead := NOT_OPTIONS.get(error.option_name.lstrip("-").replace("-", "_")):
        error.message, error.possibilities = f"{error.message}: {instead}", []


def _name_range(error: Any) -> None:
    """Let the message about a number that is out of range name the whole range."""
    from pydantic import ValidationError

    from finewright.core.config import OUT_OF_RANGE, describe_range

    if isinstance(error.__cause__, ValidationError) and error.__cause__.errors()[0]["type"] in OUT_OF_RANGE:
        limits = error.param.get_runtime_param().parameter_info
        error.message = f"{describe_range(limits.min, limits.max)}, found {error.__cause__.errors()[0]['input']}"


def _localize_examples(command: Any) -> None:
    """Make the examples of a command and of those below it run as printed."""
    command.epilog = command.epilog and localize_commands(command.epilog)
    for below in getattr(command, "commands", {}).values():
        _localize_examples(below)


class _Program(TyperGroup):
    def __init__(self, **extra: Any) -> None:
        super().__init__(**extra)
        for command in _COMMANDS.registered_commands:
            assert command.callback is not None
            one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            one.registered_commands.append(command)
            self._defer(one, name=command.callback.__name__, help=inspect.getdoc(command.callback))
        self._defer(config_files.app, name="config", help=config_files.app.info.help)
        self._defer(run_list.app, name="runs", help=run_list.app.info.help)
        self._defer(learn.app, name="learn", help=learn.app.info.help)

    def _defer(self, app: typer.Typer, *, name: str, help: Any) -> None:
        self.add_command(_DeferredCommand(app, name=name, help=help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in RENAMED:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{RENAMED[args[0]]}'?")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="finewright",
    cls=_Program,
    help="Fine-tune a pre-trained language model on your own text, to label it or to answer it, and trust the result.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"finewright {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        from finewright.cli import welcome

        typer.echo("\n".join(welcome.welcome_lines(Path.cwd())))


def main() -> None:
    """Run a command; what a person can repair is one message and an exit code, never a traceback."""
    from finewright.cli import signals
    from finewright.cli.streams import make_printable

    signals.stop_on_signals()
    for stream in (sys.stdout, sys.stderr):
        make_printable(stream)
    try:
        with program_running():
            app()
    except Interrupted as stop_request:
        sys.exit(signals.report_stopped(stop_request))
    except Exception as error:
        from finewright.cli.console import explain

        sys.exit(explain(error))


if __name__ == "__main__":
    main()
