"""The program: all its commands, and how an error ends it."""

import sys

import typer

from finewright.cli import compare, export, info, plan, runs, train
from finewright.cli.learn import app as learn
from finewright.core.interrupts import Interrupted

app = typer.Typer(
    name="finewright",
    help="Fine-tune a pre-trained language model on your own labelled text, and trust the result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(learn, name="learn")


for commands in (info, train, plan, compare, runs, export):
    commands.register(app)


def main() -> None:
    """Run a command; what a person can repair is one message and an exit code, never a traceback."""
    from finewright.cli import signals
    from finewright.cli.console import explain

    signals.stop_on_signals()
    try:
        app()
    except Interrupted as stop_request:
        sys.exit(signals.say_stopped(stop_request))
    except Exception as error:
        sys.exit(explain(error))


if __name__ == "__main__":
    main()
