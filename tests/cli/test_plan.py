"""The command `plan` as a user types it."""

import io
import json
import re

import pytest
from rich.console import Console

from finewright import api
from finewright.cli import plan as plan_module
from finewright.core import units
from finewright.planning import report
from support import tiny
from support.commands import call


def test_json_is_one_object_with_the_method_that_fits():
    words = ["--method", "qlora", "--budget", "1GB", "--max-length", "64"]
    code, out, _ = call("plan", "--model", "gpt2", *words, "--json")
    assert code == 0
    plan = json.loads(out)
    assert [(one["method"], one["fits"]) for one in plan["plans"]] == [("qlora", True)]
    assert plan["recommended"] == "qlora"
    assert plan["budget_bytes"] == 10**9


def test_one_method_with_a_model_folder_and_data(tmp_path):
    tiny.folder(tmp_path / "gpt2")
    tiny.tickets(tmp_path / "tickets.csv")
    code, out, _ = call("plan", tmp_path / "tickets.csv", "--model", tmp_path / "gpt2", "--method", "lora")
    assert code == 0
    assert "memory at the peak, by part" in out
    assert "take lora" in out
    for line in (
        r"training\.learning_rate = 0\.002: the method's 0\.001 is for a width of 768, this network's is \d+",
        r"training\.epochs = \d+: \d+ steps an epoch, \d+ in all",
        r"training\.tokens_per_micro_batch = \d+: 16 texts of \d+ tokens on average",
        r"evaluation\.batch_tokens = 4,096: ",
    ):
        assert re.search(line, out), line
    assert "freeze" not in out


def test_what_a_run_would_say_of_the_data_is_said_before_it(tmp_path):
    """An error in the data, which a run would refuse, is no reason not to plan."""
    tiny.folder(tmp_path / "gpt2")
    rows = [f"row {number} of {label},{label}" for number in range(12) for label in ("fees", "refund")]
    rows += ["row 0 of refund,refund", "row 1 of refund, fees"] + [f"a {label},{label}" for label in ("one", "two", "Fees")]
    (tmp_path / "d.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    words = ("plan", tmp_path / "d.csv", "--model", tmp_path / "gpt2", "--method", "lora")
    code, out, _ = call(*words)
    assert code == 0
    assert "1 label had spaces around, which were removed" in out
    assert "rows held out" in out
    assert out.count("warning: ") + out.count("error: ") == plan_module.SHOWN_FINDINGS
    assert "more finding" in out
    every = call(*words, "--verbose")[1]
    assert "labels that look the same: " in every
    codes = [finding["code"] for finding in json.loads(call(*words, "--json")[1])["findings"]]
    assert len(codes) == every.count("warning: ") + every.count("error: ") > plan_module.SHOWN_FINDINGS


@pytest.mark.parametrize(
    ("count", "words"), [(8.1e8, "1 G"), (3.2e11, "320 G"), (3.15e12, "3.1 T"), (4.26e17, "426 P"), (2.5e18, "2.5 E")]
)
def test_flops_are_formatted_short(count, words):
    assert units.format_flops(count) == words


def test_the_tables_stay_readable_in_a_narrow_terminal():
    found = api.plan(model="gpt2", method="prompt", options={"data.max_length": 16, "memory_budget": "100MB"})
    shown = {}
    for width in (120, 80, 60, 40):
        console = Console(width=width, file=io.StringIO())
        plan_module.show(found, console=console)
        lines = console.file.getvalue().splitlines()
        (headings,) = (line for line in lines if "peak memory" in line)
        (row,) = (line for line in lines if line.split()[:2] in (["prompt", "no"], ["prompt", "yes"]))
        assert max(len(headings.rstrip()), len(row.rstrip())) <= width, "neither is folded"
        shown[width] = set(headings.replace("peak memory", "peak").split())
        assert "frozen cache" not in "".join(line for line in lines if "gradients" in line), "no plan has one"
    assert shown[120] == {"method", "fits", "peak", "trained", "share", "saved", "FLOPs", "time"}
    assert shown[80] == shown[120]
    assert shown[40] < shown[60] < shown[80]
    assert {"method", "fits", "peak"} <= shown[40]


def test_reasons_shared_by_methods_are_shown_once():
    def made(lr, epochs):
        return [
            {"option": "training.learning_rate", "value": lr, "reason": "its own"},
            {"option": "training.tokens_per_micro_batch", "value": 1600, "reason": "16 texts"},
            {"option": "training.epochs", "value": epochs, "reason": f"{epochs} are enough"},
        ]

    lines = report.describe_decisions([("a", made(1e-3, 3)), ("b", made(5e-5, 4)), ("c", made(1e-3, 3)[:2])])
    assert lines == [
        "training.learning_rate = 0.001 (a, c); 5e-05 (b): its own",
        "training.tokens_per_micro_batch = 1,600: 16 texts",
        "training.epochs = 3 (a): 3 are enough",
        "training.epochs = 4 (b): 4 are enough",
    ]


def test_decisions_are_merged_in_linear_time():
    compared = []

    class Option(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared.append(other)
            return str(self) == str(other)

    made = [{"option": Option(f"training.option{number}"), "value": 1, "reason": ""} for number in range(100)]
    assert len(report.describe_decisions([("a", made), ("b", made)])) == 100
    assert len(compared) < 500, "a few for each decision, not all pairs"


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
def test_an_invalid_budget_is_one_line(budget):
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
        ('{"model_type": "gpt2", "n_layer": 99999999999}', "n_layer is 99999999999, wanted 1 to 512"),
        ('{"model_type": "gpt2", "n_embd": 1000000000, "n_head": 1}', "overflowed"),
        ('{"model_type": "no such"}', "no such"),
    ],
    ids=["cut", "list", "empty", "depth", "width", "unknown"],
)
def test_an_invalid_config_is_refused_with_a_reason(tmp_path, text, word):
    (tmp_path / "config.json").write_text(text)
    code, out, err = call("plan", "--model", tmp_path)
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err
