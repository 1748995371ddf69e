"""The command `compare` as a user types it; the comparison itself is tested elsewhere."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from finewright.comparison import compare as comparing
from finewright.comparison.spec import build_spec
from finewright.core.errors import UserError
from finewright.core.events import Notice
from finewright.runs import schema
from support import made
from support.commands import call


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command hands on; the answer is a comparison that was never run."""
    table = made.standing(made.usual())
    file, seen = made.results_file(table, tmp_path), {}

    def compare(source, **extra):
        seen.update(extra, source=source)
        extra["callbacks"][0](Notice("jobs = 2: 2 cores"))
        return SimpleNamespace(file=file, results=schema.dump(file), page=tmp_path / "report.html", path=tmp_path)

    monkeypatch.setattr(comparing, "compare", compare)
    return seen


def test_every_flag_arrives(asked, tmp_path):
    words = ["--model", "gpt2", "--methods", "lora, freeze", "--seeds", "2", "--train-sizes", "50,all", "--search", "8"]
    words += ["--budget", "8GB", "--test", "x.csv", "--out", tmp_path / "c", "--jobs", "3", "--text-column", "body"]
    code, out, err = call("compare", "t.csv", *words, "--set", "lora.rank=4", "--set", "training.epochs=2")
    assert code == 0
    assert asked["source"] == "t.csv"
    assert (asked["model"], asked["methods"], asked["seeds"]) == ("gpt2", ["lora", "freeze"], 2)
    assert (asked["train_sizes"], asked["search_trials"], asked["memory_budget"]) == (["50", "all"], 8, "8GB")
    assert (asked["test"], asked["output_dir"], asked["jobs"]) == ("x.csv", tmp_path / "c", 3)
    assert asked["options"] == {"lora": {"rank": 4}, "training": {"epochs": 2}, "data": {"text_column": "body"}}
    assert "jobs = 2" in err
    for said in ("accuracy", "├", "Pre-training was worth", "page"):
        assert said in out, said


@pytest.mark.parametrize(
    "column", ["2024", "true", "1.5", "[a]", '"quoted"', " two words ", "7 o'clock = \n", "label", "1979-05-27", "é\t"]
)
def test_the_command_of_a_page_is_read_as_the_same_settings(asked, tmp_path, column):
    """What was given to `compare` by name comes back from the command that the page shows."""
    options = {
        "data.text_column": column,
        "data.label_column": None,
        "training": {"epochs": 2, "learning_rate": 1e-5},
        "seed": 3,
        "force": True,
    }
    options |= {"lora.rank": 4, "lora.target_modules": ["query", "value"], "freeze.training.learning_rate": 1e-4}
    given = {
        "test": tmp_path / "x.csv",
        "model": "mini",
        "wanted": ["lora", "freeze"],
        "num_seeds": 2,
        "search_trials": 8,
        "options": options,
    }
    spec = replace(build_spec("t 1.csv", **given), train_sizes=("50", "all"))
    assert call(*shlex.split(spec.command(budget="8GB", out=tmp_path / "c", jobs=2))[1:])[0] == 0
    names = {
        "test": "test",
        "model": "model",
        "wanted": "methods",
        "num_seeds": "seeds",
        "search_trials": "search_trials",
        "options": "options",
    }
    again = build_spec(asked["source"], **{name: asked[flag] for name, flag in names.items()})
    spec.options["data"].pop("label_column")  # left open, which says nothing
    assert replace(again, train_sizes=tuple(asked["train_sizes"])) == spec
    assert (asked["memory_budget"], asked["output_dir"], asked["jobs"]) == ("8GB", tmp_path / "c", 2)


def test_epochs_and_learning_rate_reach_the_settings(asked):
    words = ["--epochs", "2", "--lr", "1e-4", "--batch-tokens", "512", "--threads", "1"]
    assert call("compare", "t.csv", *words, "--set", "lora.training.epochs=3")[0] == 0
    training = {"epochs": 2.0, "learning_rate": 1e-4, "tokens_per_micro_batch": 512, "num_threads": 1}
    assert asked["options"] == {"training": training, "lora": {"training": {"epochs": 3}}}
    spec = build_spec("t.csv", test=None, model="mini", wanted=["lora"], num_seeds=1, search_trials=0, options=asked["options"])
    assert spec.options["training"] == training


def test_defaults_are_all_methods_and_three_seeds(asked):
    assert call("compare", "t.csv")[0] == 0
    assert (asked["methods"], asked["seeds"], asked["train_sizes"], asked["jobs"]) == (None, 3, ["all"], None)
    assert asked["model"] == "auto"


def test_json_is_results_json(asked):
    code, out, err = call("compare", "t.csv", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"methods", "verdict"} <= set(found)
    assert {"method", "accuracy", "accuracy_ci95", "macro_f1"} <= set(found["methods"][0])
    assert "jobs = 2" in err


def test_a_toml_file_gives_model_and_options(asked, tmp_path):
    (tmp_path / "c.toml").write_text('model = "mini"\n[training]\nmax_steps = 3\n[lora]\nrank = 2\n')
    assert call("compare", "t.csv", "--config", tmp_path / "c.toml", "--set", "lora.rank=4")[0] == 0
    assert asked["model"] == "mini"
    assert asked["options"] == {"training": {"max_steps": 3}, "lora": {"rank": 4}}


def test_an_error_is_one_message_and_its_exit_code(monkeypatch):
    def compare(source, **extra):
        raise UserError("begun with other settings or data:\n  seeds: [0] → [0, 1]", where="runs/c", code=4)

    monkeypatch.setattr(comparing, "compare", compare)
    code, out, err = call("compare", "t.csv")
    assert (code, out) == (4, "")
    assert "seeds: [0] → [0, 1]" in err
    assert call("compare", "t.csv", "--jobs", "0")[0] == 2
    assert call("compare", "t.csv", "--seeds", "many")[0] == 2


def test_help_needs_no_torch_and_shows_an_example():
    code = "import sys; sys.argv = ['finewright', 'compare', '--help']; from finewright.cli import main as cli\n"
    code += "try: cli.main()\nexcept SystemExit: print({'torch', 'optuna', 'numpy'} & set(sys.modules))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip().endswith("set()")
    assert "Example: finewright compare tickets.csv" in outcome.stdout
