"""The stages of a run: which method is selected, what is reported, what stops it."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from finewright import methods
from finewright.core.config import RunConfig, build_options
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import StopRequest
from finewright.data import dataset as dataset_module
from finewright.data.checks import Finding
from finewright.models import hub, loading, quantization
from finewright.planning import defaults, estimator, method_plan
from finewright.planning import plan as plan_module
from finewright.runs import folder as run_folder
from finewright.runs import request, stages
from finewright.tasks.text_classification import TextClassification
from support import tiny

SCHEDULE = SimpleNamespace(may_stop_early=False)
BUDGET = plan_module.MemoryBudget(1000, "as asked for")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    tiny.tickets(root / "tickets.csv", count=40)
    return root


@pytest.fixture
def build(place, tmp_path):
    """Begin a run in a new folder. Return its context and the list of its events."""
    folders = []

    def make(*names, **options):
        heard, candidates = [], [methods.build_method(name, {}) for name in names or ("lora",)]
        run_request = request.make_request(
            place / "tickets.csv",
            test=None,
            settings=build_options(RunConfig, {"model": "mini", **options}),
            candidates=candidates,
        )
        folder = run_folder.create_run(out=tmp_path / f"run{len(folders)}", name="x")
        folders.append(folder)
        stop, on_event = StopRequest(), lambda event: heard.append(str(event))
        context = stages.begin(run_request, folder=folder, changes=(), stop=stop, on_event=on_event)
        return replace(context, decisions=defaults.Decisions()), heard

    yield make
    for folder in folders:
        folder.release()


def planned(monkeypatch, peaks):
    """Plans with these peaks in the place of traced ones."""
    planned_methods = []

    def plan_one(source, method, **given):
        name = method.name()
        planned_methods.append(name)
        plan = estimator.CostEstimate(name, 10, 2, 100, {"weights": peaks[name]}, 1, 1.0, 1, "float32", 1)
        setup = plan_module.MemorySetup(100, 1, gradient_checkpointing=False)
        made = plan_module.TrainingPlan(SCHEDULE, setup, plan, BUDGET, defaults.Decisions(), [], None)
        return SimpleNamespace(method=method, training_plan=made, choices=made.choices, splits={}, source=source)

    monkeypatch.setattr(method_plan, "plan_method", plan_one)
    return planned_methods


def choose(context):
    plan_one = partial(method_plan.plan_method, hub.ModelSource(None, "x", ""))
    planned_method, decisions = stages.choose_plan(context, plan_one=plan_one)
    return planned_method.method.name(), decisions


def test_the_first_method_that_fits_is_selected_and_the_others_are_not_planned(build, monkeypatch):
    planned_methods = planned(monkeypatch, {"lora": 2000, "qlora": 900, "full": 800})
    context, heard = build("lora", "qlora", "full")
    name, _ = choose(context)
    assert planned_methods == ["lora", "qlora"]
    assert name == "qlora"
    assert any(sentence.startswith("method = qlora: ") for sentence in heard)
    assert json.loads(context.folder.plan.read_text())["method"] == "qlora"


def test_when_nothing_fits_the_run_stops_with_what_each_method_needs(build, monkeypatch):
    planned(monkeypatch, {"lora": 2000, "full": 3000})
    context, _ = build("lora", "full")
    with pytest.raises(UserError, match="needs at least lora 2 kB, full 3 kB; 1 kB as asked for") as caught:
        choose(context)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY


def test_forced_the_preferred_method_continues_with_a_warning_when_none_fits(build, monkeypatch):
    planned_methods = planned(monkeypatch, {"lora": 2000, "full": 3000})
    context, heard = build("lora", "full", force=True)
    name, _ = choose(context)
    assert (planned_methods, name) == (["lora", "full"], "lora")
    assert "method = lora: the preferred one; none fits" in heard
    assert any(sentence.startswith("warning: does not fit: needs at least lora 2 kB, full 3 kB") for sentence in heard)
    assert json.loads(context.folder.plan.read_text())["method"] == "lora"


def test_forced_a_later_method_that_fits_is_selected_all_the_same(build, monkeypatch):
    planned(monkeypatch, {"lora": 2000, "full": 800})
    context, heard = build("lora", "full", force=True)
    name, _ = choose(context)
    assert name == "full"
    assert not [sentence for sentence in heard if sentence.startswith("warning")]


def test_a_method_whose_packages_are_missing_is_named_where_it_would_have_been_preferred(build, monkeypatch):
    monkeypatch.setattr(quantization, "missing_packages", lambda: ["bitsandbytes"])
    told = "qlora was not planned, though it might fit: it needs bitsandbytes, not installed here"
    for peaks, taken, said in (({"lora": 2000, "full": 800}, "full", 1), ({"lora": 800, "full": 800}, "lora", 0)):
        planned(monkeypatch, peaks)
        context, heard = build("lora", "full")
        name, _ = choose(context)
        assert name == taken
        assert sum(sentence.startswith(told) for sentence in heard) == said


def test_options_that_a_later_session_must_not_choose_again_are_recorded(build, monkeypatch):
    planned(monkeypatch, {"lora": 1})
    context, _ = build()
    _, decisions = choose(context)
    settled = {choice["option"]: choice["value"] for choice in decisions.made}
    assert settled == {"training.gradient_checkpointing": "off", "training.save_steps": "auto"}
    context, _ = build(training={"gradient_checkpointing": "off", "save_steps": 5})
    _, decisions = choose(context)
    assert decisions.made == []


def test_a_finding_is_reported_once_and_saved_and_an_error_stops(build):
    context, heard = build()
    cut = Finding("truncated", "warning", "3 texts are cut", (), "more tokens")
    context.report([cut])
    context.report([cut])
    assert heard == ["warning: 3 texts are cut → more tokens"]
    with pytest.raises(UserError, match="nothing is left"):
        context.report([Finding("none", "error", "nothing is left", (), "other rows")])
    kept = json.loads(context.folder.checks.read_text())["findings"]
    assert [finding["code"] for finding in kept] == ["truncated", "none"]


def test_a_malformed_budget_is_refused_before_anything_is_looked_for(build):
    with pytest.raises(UserError, match="wanted a size above zero with its unit, found '8'"):
        build(memory_budget="8")


@pytest.mark.parametrize("kind", ["bloom", "gpt2"])
def test_a_fresh_head_is_scaled_in_the_precision_of_packed_products(place, build, kind, monkeypatch):
    """BLOOM's packed products give bfloat16 and its sums insist on one dtype: in float32 the probe would not even run."""
    pytest.importorskip("bitsandbytes")
    folder, honest = tiny.folder(place / kind, kind=kind), loading.load_model
    options = {"model": str(folder), "training": {"precision": "bfloat16", "max_steps": 2, "num_threads": 1}}
    options["training"]["head_start"] = "random"
    context, heard = build("qlora", **options)
    dataset = dataset_module.read_dataset(place / "tickets.csv", options=context.settings.data)
    selected = stages.select_method(context, dataset, TextClassification(dataset.labels), cache=dataset_module.DatasetCache())

    def load(*given, **how):
        base = honest(*given, **how)
        base.network.get_submodule(base.architecture.head[-1]).weight.data *= 1000
        return base

    monkeypatch.setattr(loading, "load_model", load)
    ready = stages.prepare_model(context, selected)
    assert any("random start scaled by" in sentence for sentence in heard)
    assert ready.model.runtime.bfloat16
    assert any("score" in name for name in ready.model.trainable()), "the head is trained"
