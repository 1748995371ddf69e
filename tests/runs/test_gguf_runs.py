"""Whole runs on a GGUF file: trained, stopped, resumed without its converted copy, exported and used."""

import json

import pytest

pytest.importorskip("gguf")

from finewright import api  # noqa: E402
from finewright.core import events  # noqa: E402
from finewright.runs.run import open_run  # noqa: E402
from support import gguf_files, sessions, tiny  # noqa: E402


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Data, and a folder that holds a GGUF file and nothing else."""
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "gpt2").mkdir()
    gguf_files.write(tiny.folder(tmp_path / "llama", kind="llama"), tmp_path / "gpt2" / "tiny.Q8_0.gguf", kind="Q8_0")
    tiny.tickets(tmp_path / "tickets.csv")
    return tmp_path


@pytest.mark.slow
def test_a_run_ends_the_same_when_the_copy_is_lost_and_it_is_resumed(place, monkeypatch):
    extra = {"method_name": "lora", "save_steps": 3}
    with sessions.quickly():
        said = []
        folder = sessions.train(place, place / "whole", on_event=said.append, **extra)
        notes = [str(event) for event in said if isinstance(event, events.Notice)]
        assert sum("weights: Q8_0 GGUF, dequantised to float32" in note for note in notes) == 1
        expected = sessions.made(folder)
        sessions.cut_short(place, place / "cut", after=5, **extra)
        monkeypatch.setenv("FINEWRIGHT_CACHE", str(place / "another-cache"))
        assert sessions.made(sessions.train(place, place / "cut", **extra)) == expected
        merged = api.export(place / "cut")
    assert merged.change.changed == 0
    assert json.loads((merged.folder / "config.json").read_text())["model_type"] == "llama"
    texts = ["where is my parcel", "charged twice"]
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(place / "third-cache"))
    whole, cut = (open_run(place / name).predict(texts) for name in ("whole", "cut"))
    assert list(whole) == list(cut)
    result = json.loads((place / "cut" / "result.json").read_text())
    assert result["model"] == str((place / "gpt2").resolve())
