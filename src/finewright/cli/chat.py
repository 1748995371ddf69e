"""The command `chat`: a conversation with a language model, also beside its base."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finewright.cli.generate import GENERATION_FLAGS, Device, Model, Precision, System, load_model, load_options
from finewright.core.errors import UserError
from finewright.core.interrupts import Interrupted

if TYPE_CHECKING:
    from finewright.inference.language_model import LanguageModel

HELP = """/reset   start a new conversation
/quit    end, as does the end of the input
/help    show this list
^C       end an answer; twice, the program"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright chat runs/answers --beside base")(chat)


def chat(
    model: Model,
    flags: Annotated[dict[str, Any], GENERATION_FLAGS],
    beside: Annotated[
        Literal["base"] | None,
        typer.Option("--beside", help="base: also show what the model before fine-tuning answers.", show_default=False),
    ] = None,
    system: System = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Chat with a language model; standard input that is no terminal is answered line by line."""
    from finewright.cli.console import ErrorConsole
    from finewright.cli.progress import print_wrapped
    from finewright.core.config import build_options

    build_options(load_options(), flags)
    opened = load_model(model, device=device, precision=precision)
    if not opened.has_template:
        what = "the model has no chat template, so it cannot chat"
        raise UserError(what, where=model, fix=f"`finewright generate {model} PROMPT` continues a text")
    speakers = [Speaker(opened, "", system=system)]
    if beside == "base":
        speakers = [Speaker(opened, "fine-tuned: ", system=system), Speaker(opened.base, "base: ", system=system)]
    for note in opened.notes:
        print_wrapped(ErrorConsole(), note)
    interrupts = Interrupts()
    with interrupts.handled():
        _converse(speakers, dict(flags), interrupts)


class Speaker:
    """One model in a conversation, with its own answers. `title`: what stands before them."""

    def __init__(self, model: "LanguageModel", title: str, *, system: str | None) -> None:
        self._model, self._title = model, title
        self._start = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._start)

    def reset(self) -> None:
        """Forget the conversation."""
        self._messages = list(self._start)

    def answer(self, text: str, options: dict[str, Any], interrupts: "Interrupts") -> None:
        """Print the answer while it is generated. A message that the model does not take leaves no trace."""
        from finewright.cli.console import write_text

        asked = [*self._messages, {"role": "user", "content": text}]
        pieces: list[str] = []
        stream = self._model.stream(asked, **options)
        with interrupts.answering(), contextlib.closing(stream):
            for piece in stream:
                shown = piece if pieces else f"{self._title}{piece.lstrip()}"
                pieces.append(piece)
                write_text(shown)
                if interrupts.stopped:
                    break
        write_text("\n" if pieces else f"{self._title}\n")
        self._messages = [*asked, {"role": "assistant", "content": "".join(pieces).strip()}]


class Interrupts:
    """What ^C does: the first ends an answer or a line, the second the program. A line that is sent counts anew."""

    def __init__(self) -> None:
        self._count, self._answering = 0, False

    @property
    def stopped(self) -> bool:
        """Whether the answer shall end."""
        return self._count > 0

    def sent(self) -> None:
        """Count anew."""
        self._count = 0

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the first one only sets `stopped`."""
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Inside, ^C comes here."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _handle(self, number: int, _: Any) -> None:
        self._count += 1
        if self._count > 1:
            raise Interrupted(number)
        if not self._answering:
            raise KeyboardInterrupt


def _converse(speakers: list[Speaker], options: dict[str, Any], interrupts: Interrupts) -> None:
    """Answer line by line until the input ends."""
    from finewright.cli.console import ErrorConsole, clean, write_text

    console = ErrorConsole()
    if sys.stdin is not None and sys.stdin.isatty():
        console.print("/help lists the commands", highlight=False)
    for line in _lines(interrupts):
        interrupts.sent()
        text = line.strip()
        if text in ("/quit", "/exit"):
            return
        if text == "/help":
            write_text(f"{HELP}\n")
        elif text == "/reset":
            for one in speakers:
                one.reset()
            console.print("a new conversation", highlight=False)
        elif text.startswith("/") and len(text.split()) == 1:
            console.print(f"no command {clean(text)}; /help lists them", highlight=False)
        elif text:
            _answer(text, speakers, options, interrupts)


def _answer(text: str, speakers: list[Speaker], options: dict[str, Any], interrupts: Interrupts) -> None:
    from finewright.cli.console import ErrorConsole, clean

    try:
        for one in speakers:
            one.answer(text, options, interrupts)
            if interrupts.stopped:
                return
    except UserError as error:
        message = f"[red]error:[/red] {clean(str(error))}\n  → /reset starts a new conversation"
        ErrorConsole().print(message, highlight=False, soft_wrap=True)


def _lines(interrupts: Interrupts) -> Iterator[str]:
    """Yield what is typed, or each line of standard input. The first ^C drops a line."""
    if sys.stdin is None:
        return
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  lines can be edited and recalled
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            from finewright.cli.console import ErrorConsole

            ErrorConsole().print("\n^C once more ends the program", highlight=False)
