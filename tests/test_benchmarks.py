"""The benchmark for GPUs, run where there is none: every cell in a tiny shape, and what it says without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"
OWN, PEERS = {"finewright", "by length", "compiled"}, {"lora": {"trainer", "trainer bf16 base"}, "full": {"trainer"}}


def command(*words):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, GPU, *map(str, words)], env=environment, capture_output=True, text=True, check=False)


def name(one):
    return one["shape"], one["texts"], one["method_name"], one["who"]


def rows(table):
    """Cells of the table's lines by name."""
    lines = [[part.strip() for part in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
    return {tuple(parts[:4]): dict(zip(lines[0], parts, strict=True)) for parts in lines[1:]}


@pytest.mark.slow
def test_every_cell_is_measured_and_compared(tmp_path):
    out = tmp_path / "found.json"
    outcome = command("--tiny", "--rounds", 1, "--out", out)
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(out.read_text())
    cells = {name(one): one for one in told["cells"]}
    wanted = {
        (shape, kind, method_name, who)
        for shape in ("gpt2", "llama")
        for kind in ("short", "long")
        for method_name, peers in PEERS.items()
        for who in OWN | peers
    }
    assert cells.keys() == wanted
    assert not [one for one in told["cells"] if "skipped" in one]
    for one in told["cells"]:
        assert one["rate"] == pytest.approx(one["tokens"] / one["wall_seconds"])
        assert min(one["tokens"], one["first_seconds"], one["memory_bytes"], one["flops"], one["share"]) > 0
        assert (one["attention"] == "sdpa") == (one["who"] not in OWN)
        assert (one["parts_compiled"] > 0) == (one["who"] == "compiled")
    tokens = {who: cells["gpt2", "long", "full", who]["tokens"] for who in ("finewright", "compiled", "trainer")}
    assert set(tokens.values()) == {2 * 4 * 160}, "two updates of four long texts, whoever makes them"
    for one in told["compared"]:
        peers = [cells[*name(one)[:3], who] for who in PEERS[one["method_name"]]]
        assert one["times"] == pytest.approx(cells[name(one)]["rate"] / max(peer["rate"] for peer in peers))
        assert one["goal"] == {"short": 2.0, "long": 1.2}[one["texts"]]
    assert {name(one) for one in told["compared"]} == {one for one in wanted if one[3] in OWN}
    assert rows(outcome.stdout).keys() == wanted
    assert command("--table", out).stdout.splitlines() == outcome.stdout.splitlines()[1:], "after the environment the same table"


def one_cell(who, **told):
    found = {"shape": "gpt2", "texts": "short", "method_name": "lora", "who": who, "attention": "some", "share": 0.25}
    return found | {"memory_bytes": 2e9, "first_seconds": 1.0, "step_seconds": 0.010, "rate": 900.0} | told


def test_the_table_says_what_is_reached_and_from_where_compiling_pays(tmp_path):
    slower = {"first_seconds": 21.0, "step_seconds": 0.006, "memory_bytes": 3e9, "rate": 1500.0}
    first = [one_cell("finewright", rate=rate) for rate in (2100.0, 1900.0)]
    first += [one_cell("compiled", **slower), one_cell("by length", skipped="out of memory")]
    second = [one_cell("finewright", rate=2600.0), one_cell("trainer"), one_cell("trainer bf16 base", rate=1000.0)]
    for file, cells in (("one.json", first), ("two.json", second)):
        (tmp_path / file).write_text(json.dumps({"cells": cells}))
    printed = command("--table", tmp_path / "one.json", tmp_path / "two.json").stdout
    assert "left out: gpt2 short lora by length (out of memory)" in printed
    table = {key[3]: row for key, row in rows(printed).items()}
    assert list(table) == ["finewright", "compiled", "trainer", "trainer bf16 base"]
    assert table["finewright"]["tokens a second: median (least–most)"] == "2,100 (1,900–2,600)"
    against, memory = "against the Trainer (goal)", "of the Trainer's (goal: less)"
    assert [table["finewright"][key] for key in (against, memory)] == ["2.10 × (≥ 2: reached)", "100% (not reached)"]
    assert [table["compiled"][key] for key in (against, memory)] == ["1.50 × (≥ 2: not reached)", "150% (not reached)"]
    assert table["compiled"]["pays from"] == "update 5,003"  # 20 s are won back by 4 ms an update, after the first three


def test_without_a_gpu_one_line_says_so(tmp_path):
    outcome = command("--out", tmp_path / "found.json")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("gpu.py: error: no CUDA GPU that PyTorch ")
    assert outcome.stderr.endswith(" can use; --tiny needs none\n")
    assert outcome.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_more_updates_than_there_are_texts_for_are_refused():
    outcome = command("--steps", 161)
    assert (outcome.returncode, outcome.stderr.splitlines()[-1]) == (2, "gpu.py: error: argument --steps: 161, wanted 1 to 160")
