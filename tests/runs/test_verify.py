"""Verification of a saved model in a new interpreter (the other tests use a fork of a clean process)."""

import io
import os
import re
import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright import tasks
from finewright.core import events, quiet
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.inference import predictor
from finewright.models import loading
from finewright.models.attention import packed
from finewright.runs import new_interpreter, pipeline, verify
from finewright.training import loop, optimizer
from support import sessions, tiny

TEXTS = ["where is my parcel", "i was charged twice", "the tent leaks"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with sessions.quickly():
        place = sessions.place(tmp_path_factory.mktemp("proof"))
        return sessions.train(place, place / "run", method_name="lora", max_steps=2)


def _answers():
    return verify._answer_in_process.get()


def test_a_command_has_a_process_at_hand_that_was_forked_before_training(monkeypatch, folder):
    trained = predictor.Predictor.load(folder.model, limit=512, keep_end=False, task=tasks.DEFAULT, bfloat16=False)
    monkeypatch.setattr(quiet, "is_process_ours", lambda: True)
    monkeypatch.setattr(verify, "_can_fork", lambda: True)
    monkeypatch.setattr(verify.new_interpreter, "ask", lambda *_: pytest.fail("a new interpreter"))
    with verify.verifying_with(verify.answer_in_new_interpreter):
        with verify.process_at_hand():
            forked = _answers()
            with verify.process_at_hand():
                assert _answers() is forked, "one is enough"
            assert verify.verify_saved_model(trained, folder.model, TEXTS) == 0
        assert _answers() is verify.answer_in_new_interpreter
    with pytest.raises(ChildProcessError):
        os.waitpid(forked._child, os.WNOHANG)


def test_a_new_interpreter_scores_as_we_do_and_a_changed_file_is_found(folder):
    trained = predictor.Predictor.load(folder.model, limit=512, keep_end=False, task=tasks.DEFAULT, bfloat16=False)
    with verify.verifying_with(verify.answer_in_new_interpreter):
        assert verify.verify_saved_model(trained, folder.model, TEXTS) == 0
        path = folder.model / "adapter_model.safetensors"
        weights = load_file(path)
        save_file({name: values * 1.5 + 0.01 for name, values in weights.items()}, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"scores of the saved model differ by .* from the trained one's") as caught:
            verify.verify_saved_model(trained, folder.model, TEXTS)
    assert caught.value.code == ExitCode.MISMATCH


def test_a_new_interpreter_scores_long_texts_with_two_threads_as_we_do(tmp_path):
    """It attends to long texts in tiles, and shares out products among as many threads, as we do."""
    tiny.folder(tmp_path / "gpt2", n_positions=512)
    tiny.tickets(tmp_path / "tickets.csv")
    with sessions.quickly():
        long = sessions.train(tmp_path, tmp_path / "run", method_name="lora", max_steps=1)
    trained = predictor.Predictor.load(long.model, limit=512, keep_end=False, task=tasks.DEFAULT, bfloat16=False)
    texts = [" ".join([text] * times) for text in TEXTS for times in (20, 31)]
    assert min(packing.encode_texts(trained.tokenizer, texts, limit=512).lengths) >= packed.LONG
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with verify.verifying_with(verify.answer_in_new_interpreter):
            assert verify.verify_saved_model(trained, long.model, texts) == 0
    finally:
        torch.set_num_threads(before)


def test_a_file_that_cannot_be_loaded_is_reported_with_its_last_line(folder):
    trained = predictor.Predictor.load(folder.model, limit=512, keep_end=False, task=tasks.DEFAULT, bfloat16=False)
    (folder.model / "adapter_model.safetensors").write_bytes(b"not a tensor")
    with (
        verify.verifying_with(verify.answer_in_new_interpreter),
        pytest.raises(UserError, match="the saved model cannot be loaded again: ") as caught,
    ):
        verify.verify_saved_model(trained, folder.model, TEXTS)
    assert caught.value.code == ExitCode.MISMATCH


REQUEST = {"folder": "saved", "task": tasks.DEFAULT, "inputs": TEXTS, "limit": 9, "keep_end": False}
REQUEST |= {"bfloat16": True, "threads": 1, "out": "out"}


@pytest.mark.parametrize(
    ("code", "words", "ends_with"),
    [
        (6, "last words", ExitCode.OUT_OF_MEMORY),
        (-signal.SIGKILL, "last words", ExitCode.OUT_OF_MEMORY),
        (1, "MemoryError", ExitCode.OUT_OF_MEMORY),
        (-signal.SIGABRT, "  what():  std::bad_alloc", ExitCode.OUT_OF_MEMORY),
        (-signal.SIGABRT, "  what():  a fault", ExitCode.MISMATCH),
        (7, "last words", ExitCode.DISK),
        (1, "last words", ExitCode.MISMATCH),
    ],
)
def test_memory_that_ran_out_in_the_other_process_is_distinguished_from_a_damaged_model(monkeypatch, code, words, ends_with):
    monkeypatch.setattr(
        new_interpreter.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code, stderr=f"first\n{words}\n")
    )
    with pytest.raises(UserError, match=f"cannot be loaded again: {re.escape(words)}") as caught:
        verify.answer_in_new_interpreter(REQUEST)
    assert caught.value.code == ends_with


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), MemoryError(), UserError("one text", code=ExitCode.OUT_OF_MEMORY)], ids=repr
)
def test_the_other_process_ends_with_the_code_of_memory(monkeypatch, error):
    def answer(request):
        raise error

    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    with pytest.raises(SystemExit) as caught:
        new_interpreter.serve(answer)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY


def test_of_what_can_be_repaired_the_other_process_says_the_cause_last(monkeypatch, capsys):
    def answer(request):
        raise UserError("no weights here", where="saved", fix="train it again", code=ExitCode.MISMATCH)

    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    with pytest.raises(SystemExit) as caught:
        new_interpreter.serve(answer)
    assert (caught.value.code, capsys.readouterr().err) == (ExitCode.MISMATCH, "no weights here\n")


def test_verification_loads_on_the_device_that_was_trained_on(monkeypatch, tmp_path):
    """Where a base in four bits is packed decides its last bits."""
    asked = []
    net = SimpleNamespace(config=SimpleNamespace(id2label={0: "a"}))
    trainable_module = SimpleNamespace(to=lambda device: asked.append(("moved", device)))

    def reload(folder, **how):
        asked.append(how)
        return SimpleNamespace(network=net, trainable_module=trainable_module), None

    monkeypatch.setattr(loading, "reload_model", reload)
    monkeypatch.setattr(predictor.Predictor, "score", lambda self, texts: torch.zeros(1, 1).numpy())
    verify.answer({**REQUEST, "device": "cuda:0", "threads": torch.get_num_threads(), "out": str(tmp_path / "out")})
    assert [{name: asked[0][name] for name in ("bfloat16", "device")}, *asked[1:]] == [
        {"bfloat16": True, "device": "cuda:0"},
        ("moved", "cuda:0"),
    ]


def test_a_run_without_memory_for_verification_keeps_its_weights_and_continues_from_there(tmp_path, monkeypatch):
    built, left, said, honest, elsewhere = [], [], [], optimizer.build_optimizer, verify._in_new_process
    monkeypatch.setattr(loop, "build_optimizer", lambda *given, **how: built.append(honest(*given, **how)) or built[-1])

    def no_room(request):
        parameters = [one for group in built[-1].param_groups for one in group["params"]]
        left.append((len(built[-1].state), [one for one in parameters if one.grad is not None]))
        raise UserError("killed", code=ExitCode.OUT_OF_MEMORY)

    with sessions.quickly():
        place = sessions.place(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(verify, "_in_new_process", elsewhere)
            with (
                verify.verifying_with(no_room),
                pytest.raises(UserError, match="the model is trained and saved, but memory ran out") as caught,
            ):
                sessions.train(place, tmp_path / "run", max_steps=2)
        assert caught.value.code == ExitCode.OUT_OF_MEMORY
        assert f"`finewright train --resume {tmp_path / 'run'}` repeats the verification" in caught.value.fix
        assert left == [(0, [])], "gradients and the optimizer's state are let go before"
        folder = pipeline.resume(tmp_path / "run", on_event=said.append)
    assert folder.complete
    assert not [event for event in said if isinstance(event, events.StepCompleted)]


@pytest.mark.parametrize("reason", ["process", "thread", "accelerator"])
def test_elsewhere_no_process_is_forked(monkeypatch, reason):
    """Another program's process is not ours to fork; a fork lacks the other threads, and an accelerator that is open."""
    monkeypatch.setattr(verify, "CleanProcess", lambda *_: pytest.fail("it forked"))
    monkeypatch.setattr(quiet, "is_process_ours", lambda: reason != "process")
    monkeypatch.setattr(threading, "active_count", lambda: 2 if reason == "thread" else 1)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: reason == "accelerator")
    with verify.verifying_with(verify.answer_in_new_interpreter), verify.process_at_hand():
        assert _answers() is verify.answer_in_new_interpreter
