"""`auto` on small data: methods are tried on held-out rows, the best one is trained, and the reason is kept."""

import json
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from finewright import api, methods, tasks
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.models import hub, pooling
from finewright.planning.candidates import SMALL_MODEL, DataSize, is_worth_trying, order_by_data, tried_methods
from finewright.planning.data_size import measure_size
from finewright.planning.defaults import PAIR_STEPS, Decisions
from finewright.runs import method_trials, stages
from finewright.runs.method_trials import Trial
from finewright.tasks.measures import Metric
from support import tiny

ACCURACY = Metric("accuracy", is_share=True)
SIZE = DataSize(num_rows=400, num_deciding=40, embeds_texts=True, are_pairs=False, total_parameters=10_000_000)


def dataset(labels):
    rows = [Example(f"text {number}", label, f"rows:{number}") for number, label in enumerate(labels)]
    return Dataset(rows, [], [], tuple(sorted(set(labels))), "text", [], "")


def trial(name, value, loss=0.5, num_rows=0):
    """`num_rows`: of which the first ones are right; none if a row is not right or wrong."""
    right = np.arange(num_rows) < round(value * num_rows) if num_rows else None
    return Trial(methods.build_method(name, {}), value, loss, 1.0, right)


def task_of(data):
    return tasks.get_task(tasks.DEFAULT)(data.labels)


def test_halves_are_stratified_and_every_row_is_scored_once():
    data = dataset(["a"] * 9 + ["b"] * 4 + ["c"] * 2)
    parts = method_trials.split_rows(data, task_of(data))
    assert sorted(row for _, left_out in parts for row in left_out) == list(range(15))
    for chosen, left_out in parts:
        assert {data.train[row].label for row in chosen} == {"a", "b", "c"}
        assert not {*chosen} & {*left_out}


def test_one_half_is_enough_where_it_has_many_rows():
    few, many = dataset(["a", "b"] * 99), dataset(["a", "b"] * 100)
    assert [len(left_out) for _, left_out in method_trials.split_rows(few, task_of(few))] == [99, 99]
    assert [len(left_out) for _, left_out in method_trials.split_rows(many, task_of(many))] == [100]


@pytest.mark.parametrize(("num_rows", "expected"), [(15, False), (16, True), (500, True), (501, False)])
def test_only_small_data_is_tried(num_rows, expected):
    data = dataset(["a", "b"] * (num_rows // 2) + ["a"] * (num_rows % 2))
    candidates = [methods.build_method(name, {}) for name in ("lora", "full")]
    assert is_worth_trying(candidates, task_of(data), num_rows=num_rows) == expected
    assert not is_worth_trying(candidates[:1], task_of(data), num_rows=num_rows), "there is no choice"


def test_the_best_metric_wins_then_the_loss_then_the_order():
    def best(*trials):
        return method_trials.choose_best(trials, metric=ACCURACY).method.name()

    assert best(trial("lora", 0.7), trial("full", 0.8)) == "full"
    assert best(trial("lora", 0.7, 0.6), trial("full", 0.7, 0.4)) == "full"
    assert best(trial("lora", 0.7), trial("full", 0.7)) == "lora"


@pytest.mark.parametrize(
    ("num_labels", "num_rows", "expected"), [(40, 640, True), (40, 641, False), (200, 2000, True), (200, 2001, False)]
)
def test_few_rows_of_many_labels_are_tried_too(num_labels, num_rows, expected):
    data = dataset([f"label {row % num_labels}" for row in range(num_rows)])
    candidates = [methods.build_method(name, {}) for name in ("lora", "full")]
    assert is_worth_trying(candidates, task_of(data), num_rows=num_rows) == expected


def test_what_suits_few_rows_wins_where_trials_cannot_tell_it_from_the_best():
    def best(*trials):
        return method_trials.choose_best(trials, metric=ACCURACY).method.name()

    assert best(trial("lora", 0.72, num_rows=100), trial("contrastive", 0.71, num_rows=100)) == "contrastive"
    assert best(trial("lora", 0.80, num_rows=100), trial("contrastive", 0.70, num_rows=100)) == "lora"
    assert best(trial("lora", 0.72, num_rows=100), trial("full", 0.71, num_rows=100)) == "lora", "neither suits few rows more"
    assert best(trial("lora", 0.72), trial("contrastive", 0.71)) == "lora", "without right rows there is no standard error"
    trials = [trial("lora", 0.72, num_rows=100), trial("contrastive", 0.71, num_rows=100)]
    said = method_trials.describe(trials, trials[1], metric=ACCURACY, num_rows=100)
    assert said.startswith(
        "contrastive was as good as the best within one standard error, and suits few rows on 100 rows held out of the"
    )


@pytest.mark.parametrize(("start", "expected"), [("auto", 4), ("random", 0)])
def test_trials_start_the_head_as_the_run_does(tmp_path, monkeypatch, start, expected):
    tiny.folder(tmp_path / "base", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    started, honest = [], method_trials.head_start.start_from_probe

    def counted(*given, **how):
        started.append(how["new"])
        return honest(*given, **how)

    monkeypatch.setattr(method_trials.head_start, "start_from_probe", counted)
    options = {"training.max_steps": 2, "training.num_threads": 1, "training.head_start": start}
    monkeypatch.setattr(stages, "tried_methods", lambda *_: [methods.build_method(name, {}) for name in ("lora", "full")])
    api.train(tmp_path / "tickets.csv", model=tmp_path / "base", output_dir=tmp_path / "run", options=options)
    assert len(started) - (start == "auto") == expected, "two trials of two methods, and the run itself"


def test_the_reason_names_everything_that_was_tried():
    trials = [trial("lora", 0.58), trial("full", 0.75)]
    said = method_trials.describe(trials, trials[1], metric=ACCURACY, num_rows=48)
    assert said == "full was best on rows held out of the 48 training rows: full 75.0%, lora 58.0% (2 s)"


def test_every_tried_method_can_be_built():
    candidates = [methods.build_method(name, {}) for name in methods.method_names()]
    tried = tried_methods(candidates, SIZE)
    assert {method.name() for method in tried} == {"full", "freeze", "contrastive"}
    assert tried[0].name() == "contrastive", "what suits few rows comes first"
    assert next(method for method in tried if method.name() == "freeze").num_layers == 0
    others = tried_methods(candidates, replace(SIZE, are_pairs=True))
    assert {method.name() for method in others} == {"full", "freeze"}, "pairs with one label are not alike"
    large = tried_methods(candidates, replace(SIZE, total_parameters=SMALL_MODEL + 1))
    assert {method.name() for method in large} == {"lora", "freeze", "contrastive"}, "adapters for a large model"
    without = tried_methods([one for one in candidates if one.name() != "full"], SIZE)
    assert {method.name() for method in without} == {"lora", "freeze", "contrastive"}


@pytest.mark.parametrize(
    ("is_causal", "own", "modules", "expected"),
    [
        (False, {}, "", True),
        (True, {}, "", False),
        (True, {"finewright": {"embeds_texts": True}}, "", True),
        (True, {"finewright": "anything"}, "", False),
        (True, {}, "lasttoken", True),
    ],
)
def test_a_model_embeds_texts_if_it_reads_both_ways_or_was_trained_for_it(tmp_path, is_causal, own, modules, expected):
    if modules:
        place = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
        (tmp_path / "modules.json").write_text(json.dumps(place))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": modules}))
    assert pooling.embeds_texts(tmp_path, SimpleNamespace(**own), is_causal=is_causal) == expected


def test_a_run_trains_the_best_and_says_why(tmp_path):
    tiny.folder(tmp_path / "base", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    notices = []
    options = {"training.max_steps": 4, "training.num_threads": 1}
    run = api.train(
        tmp_path / "tickets.csv",
        model=tmp_path / "base",
        output_dir=tmp_path / "run",
        options=options,
        callbacks=[notices.append],
    )
    config = json.loads(run.folder.config.read_text())
    choice = next(choice for choice in config["choices"] if choice["option"] == "method")
    assert choice["value"] == config["method"]
    assert "held out" in choice["reason"]
    assert re.match(r"contrastive was no worse than the frozen features on \d+ rows held out of the", choice["reason"])
    assert [one.code for one in notices if getattr(one, "code", "") == "trial"] == ["trial"] * 2, "one trial, and its outcome"


def test_a_trial_that_takes_too_long_is_not_made_and_the_user_is_told(tmp_path, monkeypatch):
    tiny.folder(tmp_path / "base", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    monkeypatch.setattr(method_trials, "MOST_SECONDS", 0.0)
    notices = []
    options = {"training.max_steps": 2, "training.num_threads": 1}
    data, base = tmp_path / "tickets.csv", tmp_path / "base"
    run = api.train(data, model=base, output_dir=tmp_path / "run", options=options, callbacks=[notices.append])
    told = [one.message for one in notices if getattr(one, "code", "") == "trial" and one.level == "warning"]
    assert len(told) == 3, "every method that suits small data"
    assert all("cannot be tried: its trial would take about" in message for message in told)
    assert run.result.method == "lora", "the usual order"


def test_one_trial_that_compares_with_nothing_is_not_called_better_than_frozen_features():
    said = method_trials.describe([trial("full", 0.58)], trial("full", 0.58), metric=ACCURACY, num_rows=48)
    assert said.startswith("full was the only method tried on rows held out")


@pytest.mark.parametrize(("is_tight", "expected"), [(False, "full: suits the rows"), (True, "lora: near full")])
def test_the_reason_for_a_method_names_it_and_is_that_of_the_one_that_fits(monkeypatch, is_tight, expected):
    full, lora = (methods.build_method(name, {}) for name in ("full", "lora"))
    said = []
    schedule = SimpleNamespace(fits=True, warnings=[], as_json=dict, sentence=str)
    planned = SimpleNamespace(method=lora if is_tight else full, training_plan=schedule, choices=Decisions())
    monkeypatch.setattr(stages.method_plan, "select_method", lambda *args, **kwargs: (planned, {}))
    monkeypatch.setattr(stages, "_record_open_options", lambda *args, **kwargs: None)
    context = SimpleNamespace(
        request=None,
        settings=None,
        folder=SimpleNamespace(earlier=True),
        decisions=Decisions(),
        notify=lambda text, **kwargs: said.append((kwargs["code"], text)),
        notify_all=lambda *args, **kwargs: None,
    )
    stages.choose_plan(context, plan_one=lambda method: planned, candidates=(full, lora), tried="suits the rows")  # pyrefly: ignore
    assert [text.startswith(expected) for code, text in said if code == "trial"] == [True]


def test_others_are_tried_where_the_first_is_worse_than_the_frozen_features(tmp_path, monkeypatch):
    tiny.folder(tmp_path / "base", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    monkeypatch.setattr(method_trials.Trial, "is_enough", property(lambda one: False))
    options = {"training.max_steps": 4, "training.num_threads": 1}
    run = api.train(tmp_path / "tickets.csv", model=tmp_path / "base", output_dir=tmp_path / "run", options=options)
    config = json.loads(run.folder.config.read_text())
    reason = next(choice["reason"] for choice in config["choices"] if choice["option"] == "method")
    for name in ("contrastive", "frozen features", "full", "freeze (num_layers=0)"):
        assert name in reason


@pytest.mark.parametrize(("right", "expected"), [(50, True), (70, True), (40, False)])
def test_a_trial_is_enough_where_it_keeps_up_with_the_frozen_features(right, expected):
    frozen = trial("contrastive", 0.5, num_rows=100)
    one = replace(trial("contrastive", right / 100, num_rows=100), frozen=frozen)
    assert one.is_enough == expected
    assert not replace(one, method=methods.build_method("lora", {})).is_enough, "it does not suit few rows"
    assert not replace(one, frozen=None).is_enough, "nothing to compare it with"


def test_a_trial_on_half_the_rows_makes_as_many_epochs_as_the_run():
    settings, contrastive = RunConfig(), methods.build_method("contrastive", {})
    assert method_trials.shorten(settings, contrastive).training.max_steps == PAIR_STEPS // 2
    assert method_trials.shorten(settings, methods.build_method("lora", {})) is settings
    for given in ({"epochs": 2.0}, {"max_steps": 9}):
        asked = settings.model_copy(update={"training": settings.training.model_copy(update=given)})
        assert method_trials.shorten(asked, contrastive) is asked


@pytest.mark.parametrize(("is_right", "expected"), [(True, 1), (False, 2)])
def test_the_second_half_is_tried_only_where_the_first_is_behind_the_frozen_features(monkeypatch, is_right, expected):
    data, parts = dataset(["a", "b"] * 20), []
    task = task_of(data)
    cheap = SimpleNamespace(fits=True, plan=SimpleNamespace(seconds=1.0))

    def plan_one(method, part):
        parts.append(part)
        return SimpleNamespace(training_plan=cheap, splits={"test": part.test})

    def always_a(model, rows):
        return np.array([[1.0, 0.0]] * len(rows), dtype=np.float32)

    def train_and_score(model, task, planned):
        own = np.array([[row.label == "a", row.label == "b"] for row in planned.splits["test"]], dtype=np.float32)
        return own if is_right else 1 - own

    monkeypatch.setattr(method_trials.scoring, "score_split", always_a)
    monkeypatch.setattr(method_trials, "_train_and_score", train_and_score)
    monkeypatch.setattr(method_trials, "_start_head", lambda *args, **kwargs: True)
    method = methods.build_method("contrastive", {})
    found = method_trials.try_method(method, data, task, plan_one=plan_one, load=lambda planned, part: (None, None))
    assert len(parts) == expected
    assert found.value == float(is_right)
    assert found.frozen.value == 0.5
    assert len(found.right) == 20 * expected, "every scored row once"


def test_trials_change_nothing_of_the_run_that_follows(tmp_path):
    tiny.folder(tmp_path / "base", kind="bert")
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    options = {"training.max_steps": 4, "training.num_threads": 1}
    auto = api.train(tmp_path / "tickets.csv", model=tmp_path / "base", output_dir=tmp_path / "auto", options=options)
    config = json.loads(auto.folder.config.read_text())
    alone = api.train(
        tmp_path / "tickets.csv",
        model=tmp_path / "base",
        method=config["method"],
        output_dir=tmp_path / "alone",
        options=options | {f"method.{name}": value for name, value in config["method_options"].items()},
    )
    scores = [
        np.array([line["probability"] for line in map(json.loads, run.folder.predictions.read_text().splitlines())])
        for run in (auto, alone)
    ]
    assert np.array_equal(*scores)


def test_the_only_row_of_a_label_is_always_trained_on():
    data = dataset(["a"] * 6 + ["b"] * 6 + ["c"])
    parts = method_trials.split_rows(data, task_of(data))
    assert all(12 in chosen and 12 not in left_out for chosen, left_out in parts)
    assert sorted(row for _, left_out in parts for row in left_out) == list(range(12))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "contrastive"),
        ({"num_deciding": 19}, ""),  # too few to decide: it is tried first
        ({"embeds_texts": False}, "full"),
        ({"embeds_texts": False, "num_deciding": 0}, "full"),
        ({"are_pairs": True}, "full"),
        ({"are_pairs": True, "num_deciding": 19}, ""),
        ({"embeds_texts": False, "total_parameters": SMALL_MODEL + 1}, "lora"),
        ({"num_rows": 15}, ""),
        ({"num_rows": 501}, "full"),
        ({"num_rows": 501, "embeds_texts": False, "num_deciding": 0}, "full"),
        ({"num_rows": 501, "total_parameters": SMALL_MODEL + 1}, ""),
    ],
)
def test_data_and_model_decide_without_trials_where_they_can(change, expected):
    candidates = [methods.build_method(name, {}) for name in ("lora", "full", "freeze", "contrastive")]
    ordered, reason = order_by_data(candidates, tasks.get_task(tasks.DEFAULT)(("a", "b")), replace(SIZE, **change))
    assert ordered[0].name() == (expected or "lora")
    assert bool(reason) == bool(expected)
    assert {method.name() for method in ordered} == {method.name() for method in candidates}


def test_a_head_that_starts_at_random_is_compared_with_nothing(tmp_path):
    tiny.folder(tmp_path, kind="bert")
    source, rows = hub.ModelSource(tmp_path, "base", ""), dataset(["a", "b"]).train
    known = {"num_validation": 40, "total_parameters": 1}
    assert [measure_size(source, rows, head_start=start, **known).num_deciding for start in ("auto", "random")] == [40, 0]


def test_plan_and_train_say_the_same_where_the_method_that_suits_does_not_fit(tmp_path):
    tiny.folder(tmp_path / "base", kind="gpt2")
    tiny.tickets(tmp_path / "tickets.csv", count=300)
    data, base, options = tmp_path / "tickets.csv", tmp_path / "base", {"training.max_steps": 2, "training.num_threads": 1}
    entries = api.plan(data, model=base, options=options).entries
    peaks = {one.method.name(): one.training_plan.plan.peak_memory_bytes for one in entries}
    assert peaks["lora"] < peaks["full"], "a budget between them"
    options["memory_budget"] = f"{(peaks['lora'] + peaks['full']) // 2 / 1000} kB"
    report = api.plan(data, model=base, options=options)
    run = api.train(data, model=base, output_dir=tmp_path / "run", options=options)
    choices = json.loads(run.folder.config.read_text())["choices"]
    reason = next(choice["reason"] for choice in choices if choice["option"] == "method")
    assert (report.recommended, report.reason) == ("lora", reason)
    assert reason.endswith("; full suits the data better and does not fit")


def test_many_rows_of_each_of_many_labels_still_suit_contrastive():
    candidates = [methods.build_method(name, {}) for name in ("lora", "full", "contrastive")]
    task = tasks.get_task(tasks.DEFAULT)(tuple(f"label {number}" for number in range(77)))
    assert order_by_data(candidates, task, replace(SIZE, num_rows=1000))[0][0].name() == "contrastive"
    assert order_by_data(candidates, task, replace(SIZE, num_rows=1233))[0][0].name() == "full"


@pytest.mark.parametrize(
    ("task", "num_rows", "expected"),
    [
        ("multi-label-classification", 400, "full"),  # contrastive cannot learn it
        ("multi-label-classification", 501, "full"),
        ("regression", 501, "full"),
        ("text-generation", 501, "lora"),
    ],
)
def test_other_tasks_take_what_they_can_learn(task, num_rows, expected):
    kind = tasks.get_task(task)
    known = map(partial(methods.build_method, options={}), ("lora", "full", "contrastive"))
    candidates = [method for method in known if not kind.why_not(method)]
    ordered, _ = order_by_data(candidates, kind.assumed(num_labels=3), replace(SIZE, num_rows=num_rows))
    assert ordered[0].name() == expected


def test_one_candidate_or_options_of_a_method_are_left_as_they_are():
    task = tasks.get_task(tasks.DEFAULT)(("a", "b"))
    for candidates in ([methods.build_method("lora", {})], [methods.build_method(name, {}) for name in ("lora", "freeze")]):
        assert order_by_data(candidates, task, replace(SIZE, num_rows=900))[1] == ""
    given = [methods.build_method("lora", {"rank": 4}), methods.build_method("full", {})]
    assert order_by_data(given, task, replace(SIZE, num_rows=900)) == (tuple(given), "")
