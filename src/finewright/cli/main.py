"""The program: all its commands, and how an error ends it."""

import inspect
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from finewright.cli import compare, evaluate, export, info, learn, plan, predict, runs, train
from finewright.cli.arguments import expand_option_flags
from finewright.core.interrupts import Interrupted

RENAMED = {"knobs": "options"}
"""Earlier names of commands."""
_COMMANDS = typer.Typer()
for module in (info, train, plan, compare, evaluate, predict, runs, export):
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
        return real.make_context(*args, **extra)


class _Program(TyperGroup):
    def __init__(self, **extra: Any) -> None:
        super().__init__(**extra)
        for command in _COMMANDS.registered_commands:
            assert command.callback is not None
            one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            one.registered_commands.append(command)
            self._defer(one, name=command.callback.__name__, help=inspect.getdoc(command.callback))
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
    help="Fine-tune a pre-trained language model on your own labelled text, and trust the result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _program() -> None:
    pass


def main() -> None:
    """Run a command; what a person can repair is one message and an exit code, never a traceback."""
    from finewright.cli import signals
    from finewright.cli.console import make_printable

    signals.stop_on_signals()
    for stream in (sys.stdout, sys.stderr):
        make_printable(stream)
    try:
        app()
    except Interrupted as stop_request:
        sys.exit(signals.report_stopped(stop_request))
    except Exception as error:
        from finewright.cli.console import explain

        sys.exit(explain(error))


if __name__ == "__main__":
    main()
