"""The stages of a run: which method is selected, what is reported, what stops it."""

import json
from types import SimpleNamespace

import pytest

from finewright import methods
from finewright.core.config import RunConfig, build_options
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import StopRequest
from finewright.data import dataset as dataset_module
from finewright.data.checks import Finding
from finewright.models import hub, quantization
from finewright.planning import defaults, estimator, method_plan
from finewright.planning import plan as plan_module
from finewright.runs import folder as run_folder
from finewright.runs import request, stages
from finewright.runs.session import Session
from finewright.tasks.text_classification import TextClassification
from support import tiny

BUDGET = plan_module.MemoryBudget(1000, "as asked for")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    tiny.tickets(root / "tickets.csv", count=40)
    return root


@pytest.fixture
def build(place, tmp_path):
    """Build the stages of a run in a new folder, its candidates, and the list of its events."""
    folders = []

    def make(*names, **options):
        heard, candidates = [], [methods.build_method(name, {}) for name in names or ("lora",)]
        run_request = request.make_request(
            place / "tickets.csv", test=None, settings=build_options(RunConfig, options), candidates=candidates
        )
        folder = run_folder.create_run(out=tmp_path / f"run{len(folders)}", name="x")
        folders.append(folder)
        session = Session(folder, changes=(), stop=StopRequest(), notify=heard.append)
        return stages.RunStages(folder, run_request=run_request, session=session, on_event=heard.append), candidates, heard

    yield make
    for folder in folders:
        folder.release()


def planned(monkeypatch, peaks):
    """Plans with these peaks in the place of traced ones."""
    looked = []

    def look(source, method, **given):
        name = method.name()
        looked.append(name)
        plan = estimator.CostEstimate(name, 10, 2, 100, {"weights": peaks[name]}, 1, 1.0, 1, "float32", 1)
        setup = plan_module.MemorySetup(100, 1, gradient_checkpointing=False)
        made = plan_module.TrainingPlan(None, setup, plan, BUDGET, defaults.Decisions(), [], None)
        return SimpleNamespace(method=method, training_plan=made, choices=made.choices, splits={}, source=source)

    monkeypatch.setattr(method_plan, "plan_method", look)
    return looked


def choose(made, candidates):
    return made.select_method(hub.ModelSource(None, "x", ""), candidates, dataset=None, task=None, known={})


def test_the_first_method_that_fits_is_selected_and_the_others_are_not_planned(build, monkeypatch):
    looked = planned(monkeypatch, {"lora": 2000, "qlora": 900, "full": 800})
    made, candidates, heard = build("lora", "qlora", "full")
    choose(made, candidates)
    assert looked == ["lora", "qlora"]
    assert made.method.name() == "qlora"
    assert any(sentence.startswith("method = qlora: ") for sentence in heard)
    assert json.loads(made.folder.plan.read_text())["method"] == "qlora"


def test_when_nothing_fits_the_run_stops_with_what_each_method_needs(build, monkeypatch):
    planned(monkeypatch, {"lora": 2000, "full": 3000})
    made, candidates, _ = build("lora", "full")
    with pytest.raises(UserError, match="needs lora 2 kB, full 3 kB at the tightest; 1 kB as asked for") as caught:
        choose(made, candidates)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY


def test_forced_the_preferred_method_continues_with_a_warning_when_none_fits(build, monkeypatch):
    looked = planned(monkeypatch, {"lora": 2000, "full": 3000})
    made, candidates, heard = build("lora", "full", force=True)
    choose(made, candidates)
    assert (looked, made.method.name()) == (["lora", "full"], "lora")
    assert "method = lora: the preferred one; none fits" in heard
    assert any(sentence.startswith("warning: does not fit: needs lora 2 kB, full 3 kB") for sentence in heard)
    assert json.loads(made.folder.plan.read_text())["method"] == "lora"


def test_forced_a_later_method_that_fits_is_selected_all_the_same(build, monkeypatch):
    planned(monkeypatch, {"lora": 2000, "full": 800})
    made, candidates, heard = build("lora", "full", force=True)
    choose(made, candidates)
    assert made.method.name() == "full"
    assert not [sentence for sentence in heard if sentence.startswith("warning")]


def test_a_method_whose_packages_are_missing_is_named_where_it_would_have_been_preferred(build, monkeypatch):
    monkeypatch.setattr(quantization, "missing_packages", lambda: ["bitsandbytes"])
    told = "qlora was not planned, though it might fit: it wants bitsandbytes, not installed here"
    for peaks, taken, said in (({"lora": 2000, "full": 800}, "full", 1), ({"lora": 800, "full": 800}, "lora", 0)):
        planned(monkeypatch, peaks)
        made, candidates, heard = build("lora", "full")
        choose(made, candidates)
        assert made.method.name() == taken
        assert sum(sentence.startswith(told) for sentence in heard) == said


def test_options_that_a_later_session_must_not_choose_again_are_recorded(build, monkeypatch):
    planned(monkeypatch, {"lora": 1})
    made, candidates, _ = build()
    choose(made, candidates)
    settled = {choice["option"]: choice["value"] for choice in made.choices.made}
    assert settled == {"training.gradient_checkpointing": "off", "training.save_steps": "auto"}
    made, candidates, _ = build(training={"gradient_checkpointing": "off", "save_steps": 5})
    choose(made, candidates)
    assert made.choices.made == []


def test_a_finding_is_reported_once_and_saved_and_an_error_stops(build):
    made, _, heard = build()
    cut = Finding("truncated", "warning", "3 texts are cut", (), "more tokens")
    made.report([cut])
    made.report([cut])
    assert heard == ["warning: 3 texts are cut → more tokens"]
    with pytest.raises(UserError, match="nothing is left"):
        made.report([Finding("none", "error", "nothing is left", (), "other rows")])
    kept = json.loads(made.folder.checks.read_text())["findings"]
    assert [finding["code"] for finding in kept] == ["truncated", "none"]


def test_a_malformed_budget_is_refused_before_anything_is_looked_for(build):
    made, _, _ = build(memory_budget="8")
    with pytest.raises(UserError, match="wanted a size above zero with its unit, found '8'"):
        made.choose_machine()


@pytest.mark.parametrize("kind", ["bloom", "gpt2"])
def test_a_fresh_head_is_scaled_in_the_precision_of_packed_products(place, build, kind):
    """BLOOM's packed products give bfloat16 and its sums insist on one dtype: in float32 the probe would not even run."""
    pytest.importorskip("bitsandbytes")
    folder = tiny.folder(place / kind, kind=kind)
    options = {"model": str(folder), "training": {"precision": "bfloat16", "max_steps": 2, "num_threads": 1}}
    made, candidates, heard = build("qlora", **options)
    made.choose_machine()
    dataset = dataset_module.read_dataset(place / "tickets.csv", options=made.settings.data)
    task = TextClassification(dataset.labels)
    made.select_method(hub.resolve_model(str(folder)), candidates, dataset=dataset, task=task, known={})
    made.fetch()
    base = made.load(task=task)
    head = base.network.get_submodule(base.architecture.head[-1])
    head.weight.data *= 1000
    made.prepare(base, rows=dataset.train)
    assert any("random start scaled by" in str(sentence) for sentence in heard)
    assert made.prepared_model.runtime.bfloat16
    assert any("score" in name for name in made.prepared_model.trainable()), "the head is trained"
