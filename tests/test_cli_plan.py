"""`finewright plan` as a person types it."""

import json
import re

import pytest

import tiny
from finewright import cli_plan
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
    for line in (
        r"train\.lr = 0\.002: the way's 0\.001 is for a width of 768, this network's is \d+",
        r"train\.epochs = \d+: \d+ steps an epoch, \d+ in all",
        r"train\.batch_tokens = \d+: 16 texts of \d+ tokens on average",
        r"evaluation\.batch_tokens = 4,096: ",
    ):
        assert re.search(line, out), line
    assert "freeze" not in out


def test_reasons_that_ways_share_are_told_once():
    def made(lr, epochs):
        return [
            {"knob": "train.lr", "value": lr, "reason": "its own"},
            {"knob": "train.batch_tokens", "value": 1600, "reason": "16 texts"},
            {"knob": "train.epochs", "value": epochs, "reason": f"{epochs} are enough"},
        ]

    lines = cli_plan.chosen([("a", made(1e-3, 3)), ("b", made(5e-5, 4)), ("c", made(1e-3, 3)[:2])])
    assert lines == [
        "train.lr = 0.001 (a, c); 5e-05 (b): its own",
        "train.batch_tokens = 1,600: 16 texts",
        "train.epochs = 3 (a): 3 are enough",
        "train.epochs = 4 (b): 4 are enough",
    ]


def test_no_knob_is_looked_for_among_all_others():
    compared = []

    class Knob(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared.append(other)
            return str(self) == str(other)

    made = [{"knob": Knob(f"train.knob{number}"), "value": 1, "reason": ""} for number in range(100)]
    assert len(cli_plan.chosen([("a", made), ("b", made)])) == 100
    assert len(compared) < 500, "a few for each of the choices, not each with each"


@pytest.mark.parametrize("command", ["train", "compare"])
def test_an_empty_budget_is_refused_by_the_other_commands_too(tmp_path, command):
    tiny.folder(tmp_path / "gpt2")
    tiny.tickets(tmp_path / "tickets.csv")
    words = ["--model", tmp_path / "gpt2", "--out", tmp_path / "out", "--budget", ""]
    code, out, err = call(command, tmp_path / "tickets.csv", *words)
    assert (code, out) == (2, "")
    assert "budget: wanted a size above zero with its unit, found ''" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budget", ["", " ", "8", "-1", "-8GB", "8XB", "0GB", "lots", "1e3GB"])
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
