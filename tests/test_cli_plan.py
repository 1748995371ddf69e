"""`finewright plan` as a person types it."""

import json

import pytest

import tiny
from test_cli import call


def test_json_is_one_object_with_the_way_that_fits():
    words = ["--method", "qlora", "--budget", "1GB", "--max-length", "64"]
    code, out, _ = call("plan", "--model", "gpt2", *words, "--json")
    assert code == 0
    plan = json.loads(out)
    assert [(way["method"], way["fits"]) for way in plan["plans"]] == [("qlora", True)]
    assert plan["recommended"] == "qlora"
    assert plan["budget_bytes"] == 10**9


def test_one_way_of_a_folder_with_data(tmp_path):
    tiny.folder(tmp_path / "gpt2")
    tiny.tickets(tmp_path / "tickets.csv")
    code, out, _ = call("plan", tmp_path / "tickets.csv", "--model", tmp_path / "gpt2", "--method", "lora")
    assert code == 0
    assert "where the memory goes" in out
    assert "take lora" in out
    assert "freeze" not in out


@pytest.mark.parametrize("budget", ["8", "-1", "-8GB", "8XB", "0GB", "lots", "1e3GB"])
def test_a_budget_without_sense_is_one_line(budget):
    code, out, err = call("plan", "--model", "gpt2", "--budget", budget)
    assert (code, out) == (2, "")
    assert "budget" in err
    assert len(err.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSON"),
        ("[]", "model_type"),
        ("{}", "model_type"),
        ('{"model_type": "gpt2", "n_layer": 99999999999}', "num_hidden_layers"),
        ('{"model_type": "gpt2", "n_embd": 1000000000, "n_head": 1}', "overflowed"),
        ('{"model_type": "no such"}', "no such"),
    ],
    ids=["cut", "list", "empty", "depth", "width", "unknown"],
)
def test_a_config_without_sense_is_refused_in_words(tmp_path, text, word):
    (tmp_path / "config.json").write_text(text)
    code, out, err = call("plan", "--model", tmp_path)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err
