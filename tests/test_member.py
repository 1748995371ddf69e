"""Pieces of a comparison's work, called here as their processes call them."""

import json
import shutil

import pytest

import tiny
from finewright import hardware, member, memory
from finewright.config import DataKnobs, Settings, build
from finewright.errors import ExitCode, UserError
from finewright.run import RunFolder
from finewright.shared import Shared


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("member")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv", count=60)
    return root


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(member, "_shared", Shared())


def heard():
    events = []
    return events, events.append


def test_rows_and_token_ids_are_read_once(place, monkeypatch):
    knobs = DataKnobs().model_dump()
    request = {"model": str(place / "gpt2"), "data": [(str(place / "tickets.csv"), knobs)] * 2}
    member.prepare(request)
    dataset = member._shared.read(str(place / "tickets.csv"), knobs=DataKnobs())
    known = member._shared.ids(str((place / "gpt2").resolve()))
    assert set(known) == {row.text for rows in (dataset.train, dataset.validation, dataset.test) for row in rows}
    monkeypatch.setattr("finewright.data.read", None)
    settings = build(Settings, {"model": str(place / "gpt2"), "train": {"max_steps": 3, "threads": 1}})
    before = dict(known)
    found = member.forecast(str(place / "tickets.csv"), settings=settings, name="lora", knobs={"rank": 2})
    assert member._shared.ids(str((place / "gpt2").resolve())) == before
    assert found["plan"]["trainable_parameters"] == 3 * 2 * (2 * 32 + 32 * 2) + 32 * 2
    assert found["plan"]["steps"] == 3


def test_planning_wants_no_weights(place, tmp_path):
    shutil.copytree(place / "gpt2", tmp_path / "shape", ignore=shutil.ignore_patterns("*.safetensors"))
    request = {"model": str(tmp_path / "shape"), "data": [(str(place / "tickets.csv"), DataKnobs().model_dump())]}
    member.prepare(request)
    out = tmp_path / "plan.json"
    request = {"kind": "plan", "model": str(tmp_path / "shape"), "data": str(place / "tickets.csv"), "out": str(out)}
    member.perform(request | {"way": "lora", "knobs": QUICK}, lambda event: None)
    assert json.loads(out.read_text())["ways"]["lora"]["plan"]["steps"] == 2


QUICK = {"train": {"max_steps": 2, "threads": 1}}


def planned(place, out, way, knobs):
    request = {"kind": "plan", "model": str(place / "gpt2"), "data": str(place / "tickets.csv")}
    member.perform(request | {"way": way, "knobs": knobs, "out": str(out)}, lambda event: None)
    return json.loads(out.read_text())["ways"][way]


def test_a_way_that_cannot_be_planned_is_answered_with_its_reason(place, tmp_path):
    found = planned(place, tmp_path / "a.json", "freeze", {"method": {"blocks": 99}, "train": {"threads": 1}})
    assert "wanted the top 99 blocks trained, the model has 3" in found["error"]
    assert planned(place, tmp_path / "b.json", "lora", QUICK)["plan"]["peak_memory_bytes"] > 0


def test_setups_are_fitted_to_the_budget(place, tmp_path):
    roomy = planned(place, tmp_path / "a.json", "lora", QUICK)["plan"]
    given = int(0.9 * roomy["peak_memory_bytes"])
    tight = planned(place, tmp_path / "b.json", "lora", QUICK | {"budget": memory.exactly(given)})["plan"]
    assert tight["peak_memory_bytes"] < roomy["peak_memory_bytes"]
    assert tight["budget_bytes"] == given


def test_a_way_whose_packages_are_missing_is_answered_with_what_brings_them(place, tmp_path, monkeypatch):
    monkeypatch.setattr("finewright.quantization.missing", lambda: ["bitsandbytes"])
    answer = planned(place, tmp_path / "a.json", "qlora", {})["error"]
    assert "qlora wants bitsandbytes, not installed here" in answer
    assert "pip install" in answer


def test_the_machine_says_what_it_has(tmp_path):
    member.perform({"kind": "machine", "out": str(tmp_path / "machine.json")}, lambda event: None)
    found = json.loads((tmp_path / "machine.json").read_text())
    assert found["device"] == hardware.detect().device
    assert found["cpu_count"] >= 1
    assert found["memory_bytes"] > 10**8


def test_only_what_a_run_left_is_taken_away(tmp_path):
    run = RunFolder(tmp_path / "r")
    member._clear_unfinished(run)
    run.path.mkdir()
    member._clear_unfinished(run)
    run.path.mkdir(exist_ok=True)
    run.config.write_text("{}")
    (run.checkpoints / "step-1").mkdir(parents=True)
    (run.path / ".draft-result.json").write_text("{")
    member._clear_unfinished(run)
    assert not run.path.exists()
    run.path.mkdir()
    (run.path / "thesis.doc").write_text("x")
    with pytest.raises(UserError, match=r"the folder has something else: thesis\.doc"):
        member._clear_unfinished(run)
    (run.path / "thesis.doc").unlink()
    run.result.write_text("{}")
    member._clear_unfinished(run)
    assert run.complete, "a finished run stays"


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path):
    run = RunFolder(tmp_path / "r")
    run.path.mkdir()
    run.lock()
    run.config.write_text("{}")
    with pytest.raises(UserError, match="locked by pid") as caught:
        member._clear_unfinished(RunFolder(run.path))
    assert caught.value.code == ExitCode.MISMATCH
    run.release()
