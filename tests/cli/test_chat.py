"""The command chat: line by line, with history, beside the base, and what ^C does."""

import io
import os
import signal
import sys

import pytest

from finewright.cli import chat
from finewright.core.interrupts import Interrupted
from finewright.inference import language_model
from support import chatters
from support.commands import call


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chatters.folder(tmp_path_factory.mktemp("model") / "chat", template=chatters.TEMPLATE)


@pytest.fixture
def asked(monkeypatch):
    """Every conversation that a model was given; it answers with their number."""
    seen = []

    def stream(self, messages, **options):
        seen.append((self.name, [(one["role"], one["content"]) for one in messages], options))
        yield " answer"
        yield f" {len(seen)}"

    monkeypatch.setattr(language_model.LanguageModel, "stream", stream)
    return seen


def talk(monkeypatch, text, *words):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return call("chat", *words)


def test_the_conversation_is_remembered_until_reset(model, monkeypatch, asked):
    code, out, err = talk(monkeypatch, "hello\n\nagain\n/reset\nnew\n/quit\nnever\n", model, "--system", "Be kind")
    assert code == 0
    assert out == "answer 1\nanswer 2\nanswer 3\n"
    start = [("system", "Be kind")]
    assert [messages for _, messages, _ in asked] == [
        [*start, ("user", "hello")],
        [*start, ("user", "hello"), ("assistant", "answer 1"), ("user", "again")],
        [*start, ("user", "new")],
    ]
    assert "a new conversation" in err


def test_help_and_unknown_commands(model, monkeypatch, asked):
    code, out, err = talk(monkeypatch, "/help\n/rest\n/ a slash\n", model)
    assert code == 0
    assert out == f"{chat.HELP}\nanswer 1\n"
    assert "no command /rest; /help lists them" in err
    assert asked[0][1] == [("user", "/ a slash")]


def test_a_real_conversation_with_flags(model, monkeypatch):
    code, out, _ = talk(monkeypatch, "where is my parcel\nrefund\n", model, "--max-new-tokens", "5")
    assert code == 0
    loaded = language_model.load_language_model(model)
    first = loaded.chat([{"role": "user", "content": "where is my parcel"}], max_new_tokens=5)
    assert out.startswith(first.strip().split("\n")[0][:3])
    assert out.count("\n") >= 2


def test_beside_the_base_each_has_its_own_history(model, tmp_path, monkeypatch, asked):
    import json

    run = tmp_path / "run"
    run.mkdir()
    (run / "checks.json").write_text("{}")
    (run / "config.json").write_text(json.dumps({"task": "text-generation", "model": {"name": str(model), "revision": ""}}))
    (run / "model").symlink_to(model)
    code, out, _ = talk(monkeypatch, "hello\nagain\n", run, "--beside", "base")
    assert code == 0
    assert out == "fine-tuned: answer 1\nbase: answer 2\nfine-tuned: answer 3\nbase: answer 4\n"
    assert asked[2][1][1] == ("assistant", "answer 1")
    assert asked[3][1][1] == ("assistant", "answer 2")
    assert [name for name, _, _ in asked[:2]] == [str(run), f"base of {run}"]


def test_what_cannot_chat_is_refused(model, tmp_path, monkeypatch):
    plain = chatters.folder(tmp_path / "plain")
    code, _, err = talk(monkeypatch, "hello\n", plain)
    assert code == 2
    assert "the model has no chat template, so it cannot chat" in err
    code, _, err = talk(monkeypatch, "hello\n", model, "--beside", "base")
    assert code == 2
    assert "the model is not fine-tuned" in err
    code, _, err = talk(monkeypatch, "hello\n", model, "--beside", "other")
    assert code == 2
    assert "--beside" in err


def test_a_conversation_that_is_too_long_says_so_and_the_program_goes_on(model, monkeypatch):
    long = "where is my parcel " * 40
    code, out, err = talk(monkeypatch, f"{long}\nhi\n", model, "--max-new-tokens", "2")
    assert code == 0
    assert "and the model reads at most 64 with the answer" in err
    assert "/reset starts a new conversation" in err
    assert out.count("\n") >= 1


def send():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_ends_an_answer_and_the_second_the_program(model, monkeypatch, asked):
    interrupts, seen = chat.Interrupts(), []

    class Slow:
        def stream(self, messages, **_):
            for number in range(9):
                if number == 2:
                    send()
                seen.append(number)
                yield str(number)

    before = signal.getsignal(signal.SIGINT)
    with interrupts.handled():
        speaker = chat.Speaker(Slow(), "", system=None)
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        speaker.answer("hi", {}, interrupts)
        assert seen == [0, 1, 2]
        assert speaker._messages[-1] == {"role": "assistant", "content": "012"}
        with pytest.raises(Interrupted) as stop:
            send()
        assert stop.value.code == 130
        interrupts.sent()
        with pytest.raises(KeyboardInterrupt):
            send()
    assert signal.getsignal(signal.SIGINT) == before


def test_at_a_terminal_the_first_interrupt_drops_the_line(monkeypatch, capsys):
    typed = iter(["one", KeyboardInterrupt, "two", EOFError])

    def read(prompt):
        found = next(typed)
        if isinstance(found, str):
            return found
        raise found

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", read)
    assert list(chat._lines(chat.Interrupts())) == ["one", "two"]
    assert "^C once more ends the program" in capsys.readouterr().err
