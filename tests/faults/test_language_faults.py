"""Runs of language models and preferences on a full disk, or with unreadable files: one message, and they go on later."""

import errno
import json
import os
import shutil

import pytest

from finewright.cli import console
from finewright.core import events
from finewright.core.errors import UserError
from support import chats, chatters, preferred, sessions
from support.commands import call
from support.faults import faulty

SHORT = {"max_steps": 4, "tokens_per_micro_batch": 400, "save_steps": 2, "num_generated": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        root = preferred.place(tmp_path_factory.mktemp("language"))
        chats.folder(root / "chats")
        yield root


def train(kind, place, out, **more):
    """A run, or the next session of one."""
    if kind == "preference":
        options = {name: value for name, value in SHORT.items() if name != "num_generated"}
        return preferred.train(place, out, **options, **more)
    return sessions.train(place, out, source="chats", method_name="lora", **SHORT, **more)


@pytest.fixture(scope="module")
def whole(place):
    return {kind: sessions.made(train(kind, place, place / f"whole-{kind}")) for kind in ("language", "preference")}


@pytest.mark.parametrize("step", [1, 4], ids=["while it trains", "when it has trained"])
@pytest.mark.parametrize("kind", ["language", "preference"])
def test_a_full_disk_is_one_message_and_the_run_continues_later(place, tmp_path, whole, capsys, kind, step):
    full = []

    def refuse(name, args):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def on_event(event):
        if isinstance(event, events.StepCompleted) and event.step == step:
            full.append(True)

    out = tmp_path / "run"
    with faulty(refuse), pytest.raises(UserError) as caught:
        train(kind, place, out, on_event=on_event)
    assert console.explain(caught.value) == 7
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3
    assert sessions.made(train(kind, place, out)) == whole[kind]


def damage(path):
    """A file that is there and is not what it should be."""
    path.write_bytes(b"\x00\xff{" * 20)


def replace_by_folder(path):
    """A name that is no file."""
    path.unlink()
    path.mkdir()


FILES = ("llama/tokenizer.json", "llama/config.json", "llama/model.safetensors", "rows.jsonl")


@pytest.mark.parametrize(
    ("name", "fault"),
    [("llama/chat_template.jinja", damage), *((name, fault) for name in FILES for fault in (damage, replace_by_folder))],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_file_that_cannot_be_read_is_named_in_one_message(tmp_path, name, fault):
    chatters.folder(tmp_path / "llama", template=chatters.TEMPLATE)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats.rows(20)))
    fault(tmp_path / name)
    fast = ["--set", "training.max_steps=1", "--set", "training.num_generated=0", "--method", "lora", "--out", tmp_path / "run"]
    code, _, said = call("train", tmp_path / "rows.jsonl", "--model", tmp_path / "llama", *fast)
    assert code != 0
    errors = said[said.index("error:") :]
    assert "Traceback" not in said
    assert name.rpartition("/")[2] in errors or str(tmp_path / "llama") in errors, errors
    assert len(errors.splitlines()) <= 4, errors


@pytest.mark.parametrize(
    "name", ["model/adapter_model.safetensors", "model/tokenizer.json", "config.json", "model/adapter_config.json"]
)
def test_a_damaged_run_is_named_by_every_command_that_asks_it(place, tmp_path, whole, name):
    shutil.copytree(place / "whole-language", tmp_path / "run")
    damage(tmp_path / "run" / name)
    for words in (
        ("generate", tmp_path / "run", "where is my parcel"),
        ("evaluate", tmp_path / "run", place / "chats/test.jsonl"),
    ):
        code, _, said = call(*words)
        assert code != 0, words
        assert "Traceback" not in said
        errors = said[said.index("error:") :]
        assert str(tmp_path / "run") in errors or name.rpartition("/")[2] in errors, errors
        assert len(errors.splitlines()) <= 4, errors
