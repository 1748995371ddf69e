"""Runs with a cache of the frozen layers end the same when they are stopped and resumed, wherever the cache comes from."""

import json

import pytest
import torch

from finewright.core import cache
from finewright.core.errors import ExitCode, UserError
from finewright.inference import scoring
from finewright.models import kernels
from finewright.planning import optimizations
from support import sessions
from support.killed import killed_session

METHODS = {"freeze": {"num_layers": 1}, "lora": {"num_layers": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("resume"))


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "store"))


def chosen(folder):
    return {choice["option"]: choice["value"] for choice in json.loads(folder.config.read_text())["choices"]}


@pytest.mark.parametrize("method_name", METHODS)
def test_states_found_recomputed_or_read_from_a_file_are_the_same(place, tmp_path, monkeypatch, method_name):
    extra = {"method_name": method_name, "options": METHODS[method_name], "max_steps": 20, "save_steps": 3}
    folder = sessions.train(place, tmp_path / "whole", **extra)
    assert json.loads(folder.result.read_text())["trunk_cached"]
    assert chosen(folder)["training.frozen_layer_cache"] == "on"
    assert len(list(cache.cache_folder().glob("trunk/*"))) == 2, "training and validation"
    expected, out = sessions.made(folder), tmp_path / "cut"
    killed_session(place, out, monkeypatch, torch.Tensor, "backward", call=5, **extra)  # states found
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "another store"))
    killed_session(place, out, monkeypatch, scoring, "score_batches", call=2, **extra)  # made anew
    monkeypatch.setattr(optimizations, "MEMORY_SHARE", 0.0)
    sessions.cut_short(place, out, after=14, **extra)  # from a file
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "a third store"))
    folder = sessions.train(place, out, **extra)
    assert json.loads(folder.result.read_text())["trunk_cached"]
    assert sessions.made(folder) == expected


@pytest.mark.skipif(not kernels.can_pack(torch.float32), reason="without packed products the last bits depend on a row's company")
def test_a_run_that_keeps_nothing_ends_the_same(place, tmp_path):
    extra = {"method_name": "freeze", "options": METHODS["freeze"], "max_steps": 20}
    kept = sessions.train(place, tmp_path / "kept", **extra)
    run_again = sessions.train(place, tmp_path / "again", frozen_layer_cache="off", **extra)
    assert not json.loads(run_again.result.read_text())["trunk_cached"]
    assert sessions.made(run_again) == sessions.made(kept)


def test_a_later_session_keeps_the_choices_of_the_first(place, tmp_path, monkeypatch):
    extra = {"method_name": "freeze", "options": METHODS["freeze"], "max_steps": 20}
    expected = sessions.made(sessions.train(place, tmp_path / "whole", **extra))
    sessions.cut_short(place, tmp_path / "cut", after=4, **extra)
    monkeypatch.setattr(optimizations, "WORTHWHILE_VISITS", 1e9)
    folder = sessions.train(place, tmp_path / "cut", **extra)
    assert json.loads(folder.result.read_text())["trunk_cached"]
    assert sessions.made(folder) == expected
    assert chosen(sessions.train(place, tmp_path / "other", **extra))["training.frozen_layer_cache"] == "off"


def test_without_memory_for_the_cache_the_run_does_not_continue_differently(place, tmp_path, monkeypatch):
    extra = {"method_name": "freeze", "options": METHODS["freeze"], "max_steps": 20}
    sessions.cut_short(place, tmp_path / "cut", after=4, **extra)
    monkeypatch.setattr(optimizations, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(cache, "free_bytes", lambda: 0)
    with pytest.raises(UserError, match=r"training\.frozen_layer_cache: 'on' → 'off'") as caught:
        sessions.train(place, tmp_path / "cut", **extra)
    assert caught.value.code == ExitCode.MISMATCH


def test_a_store_that_cannot_be_written_is_one_message(place, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "taken"))
    monkeypatch.setattr(optimizations, "MEMORY_SHARE", 0.0)
    with pytest.raises(UserError, match="cannot write") as caught:
        sessions.train(place, tmp_path / "run", method_name="freeze", options=METHODS["freeze"], max_steps=20)
    assert caught.value.code == ExitCode.DISK
    assert caught.value.where == str(tmp_path / "taken")
