"""A whole run, from a file to a verified model."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import finewright
from finewright import methods
from finewright.core import events as run_events
from finewright.core.config import RunConfig, build_options
from finewright.core.errors import ExitCode, UserError
from finewright.inference import scoring
from finewright.planning import candidates
from finewright.runs import schema, verify
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.pipeline import train
from finewright.tasks import metrics
from finewright.training import memory_meter
from support import tiny

FAST = {"max_steps": 12, "tokens_per_micro_batch": 120, "precision": "float32", "num_threads": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("main")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


def settings(place, *, model="gpt2", data=None, **changes):
    return build_options(RunConfig, {"model": str(place / model), "training": {**FAST, **changes}, "data": data or {}})


def go(place, out, *, name="full", source=None, on_event=lambda event: None, options=None, **extra):
    method = methods.build_method(name, options or {})
    return train(
        source or place / "tickets.csv", settings=settings(place, **extra), candidates=[method], out=out, on_event=on_event
    )


@pytest.mark.parametrize("name", methods.method_names())
def test_every_method_ends_in_a_complete_and_verified_run(place, tmp_path, name, capfd):
    events = []
    folder = go(place, tmp_path / "run", name=name, on_event=events.append)
    assert capfd.readouterr() == ("", ""), "the library is silent"
    assert folder.complete
    files = {path.name for path in folder.path.iterdir()}
    expected = {"config.json", "checks.json", "metrics.jsonl", "timings.jsonl", "checkpoints", "model", "predictions.jsonl"}
    assert expected | {"result.json"} <= files
    result = json.loads(folder.result.read_text())
    wanted = """method model task seed num_train num_validation num_test trainable_parameters total_parameters trainable_fraction
        epochs steps train_seconds examples_per_second tokens_per_second padding_fraction peak_memory_bytes metrics artifact_bytes
        versions hardware git"""
    assert set(wanted.split()) <= set(result)
    assert result["verification_difference"] == 0
    assert result["padding_fraction"] == 0
    assert result["trainable_parameters"] > result["head_parameters"] == 32 * 2
    assert set(result["baselines"]) == {"majority", "bag-of-words"}
    assert all(set(score) == {"accuracy", "accuracy_ci95"} for score in result["baselines"].values())
    assert 0 <= result["metrics"]["test"]["accuracy_ci95"][0] <= result["metrics"]["test"]["accuracy"] <= 1
    lines = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    assert len(lines) == result["num_test"] == 8
    right = sum(line["label"] == line["predicted"] for line in lines) / len(lines)
    assert right == pytest.approx(result["metrics"]["test"]["accuracy"])
    assert "finewright" in (folder.model / "README.md").read_text()
    again = finewright.open_run(folder.path).predict([line["text"] for line in lines])
    assert [line["label"] for line in again] == [line["predicted"] for line in lines]
    assert [line["probability"] for line in again] == pytest.approx([line["probability"] for line in lines], abs=1e-6)
    started = [event.name for event in events if isinstance(event, run_events.StageStarted)]
    assert started == ["read", "plan", "load", "train", "save", "evaluate", "verify"]


def test_measuring_baselines_changes_nothing_that_is_trained(place, tmp_path):
    on, off = (go(place, tmp_path / wanted, baselines=wanted) for wanted in ("auto", "off"))
    assert on.metrics.read_bytes() == off.metrics.read_bytes()
    assert on.predictions.read_bytes() == off.predictions.read_bytes()
    results = [json.loads(folder.result.read_text()) for folder in (on, off)]
    assert results[0]["files"] == results[1]["files"]
    assert [list(result["baselines"]) for result in results] == [["majority", "bag-of-words"], ["majority"]]


def test_the_same_seed_is_the_same_run_and_another_is_not(place, tmp_path):
    runs = [go(place, tmp_path / str(index), name="full").metrics.read_text() for index in range(2)]
    assert runs[0] == runs[1]
    other = build_options(RunConfig, {**settings(place).model_dump(), "seed": 5})
    third = train(place / "tickets.csv", settings=other, candidates=[methods.build_method("full", {})], out=tmp_path / "2")
    assert third.metrics.read_text() != runs[0]


def test_it_learns(place, tmp_path):
    folder = go(place, tmp_path / "run", max_steps=100, learning_rate=2e-3)
    assert json.loads(folder.result.read_text())["metrics"]["test"]["accuracy"] == 1.0


def test_plain_transformers_loads_the_model_folder(place, tmp_path):
    from transformers import pipeline

    folder = go(place, tmp_path / "run")
    texts = [json.loads(line)["text"] for line in folder.predictions.read_text().splitlines()]
    theirs = pipeline("text-classification", model=str(folder.model), device="cpu")(texts, batch_size=4)
    ours = finewright.open_run(folder.path).predict(texts)
    assert [line["label"] for line in theirs] == [line["label"] for line in ours]
    assert [line["score"] for line in theirs] == pytest.approx([line["probability"] for line in ours], abs=1e-5)


def test_the_best_weights_on_validation_are_kept(place, tmp_path, monkeypatch):
    """The second evaluation is made the best: the weights of that step must be saved."""
    honest, scored, weights = scoring.evaluate_split, [], []

    def told(prepared_model, encoded, *, task):
        found = honest(prepared_model, encoded, task=task)
        scored.append(found.metrics() | {"accuracy": 0.9 if len(scored) == 1 else 0.1})
        weights.append(prepared_model.network.score.weight.detach().clone())
        kept = scored[-1]
        found.metrics = lambda: kept
        return found

    monkeypatch.setattr(scoring, "evaluate_split", told)
    said = []
    folder = go(place, tmp_path / "run", on_event=said.append, max_steps=16)
    evaluations = [event for event in said if isinstance(event, run_events.EvaluationCompleted)]
    result = json.loads(folder.result.read_text())
    assert result["best_step"] == evaluations[1].step < result["steps"]
    assert f"kept the weights of step {evaluations[1].step}, the best on validation" in map(str, said)
    saved = load_file(folder.model / "model.safetensors")["score.weight"]
    assert torch.equal(saved, weights[1])
    assert not torch.equal(saved, weights[len(evaluations) - 1])


def test_a_learning_rate_outside_the_range_is_warned_about(place, tmp_path):
    said = []
    go(place, tmp_path / "run", on_event=said.append, learning_rate=0.3)
    assert any("learning rate 0.3 is far outside full's usual range" in str(line) for line in said)


def test_early_stopping(place, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_DECIDING_ROWS", 1)
    events = []
    extra = {"max_steps": 0, "epochs": 40, "learning_rate": 1e-12, "early_stopping_patience": 2}
    go(place, tmp_path / "run", on_event=events.append, **extra)
    stopped = next(event for event in events if isinstance(event, run_events.TrainingStopped))
    assert stopped.early
    assert sum(isinstance(event, run_events.EvaluationCompleted) for event in events) == 3
    assert next(event for event in events if isinstance(event, run_events.RunPlanned)).may_stop_early
    result = schema.read(schema.RunResult, tmp_path / "run" / "result.json")
    assert (result.stopped_early, result.epochs, result.planned_epochs) == (True, 2.0, 40.0), "it counts from the start"
    assert result.planned_steps == stopped.step * 40 / 2
    assert result.planned_seconds_for_steps == pytest.approx(result.planned_seconds * 2 / 40)
    assert result.seconds_saved_by_stopping == pytest.approx((result.train_seconds - result.saving_seconds) * 38 / 2)


def test_by_default_three_epochs_without_improvement_end_a_run(place, tmp_path):
    events = []
    options = {"max_steps": 0, "epochs": 10, "learning_rate": 1e-12, "evals_per_epoch": 2}
    go(place, tmp_path / "run", on_event=events.append, **options)
    assert sum(isinstance(event, run_events.EvaluationCompleted) for event in events) == 1 + 3 * 2
    reason = "training.early_stopping_patience = 6: 3 epochs clearly worse on validation than the best or the same"
    assert any(str(event).startswith(reason) for event in events)
    events.clear()
    go(place, tmp_path / "whole", on_event=events.append, **options, early_stopping_patience=0)
    assert not next(event for event in events if isinstance(event, run_events.TrainingStopped)).early
    assert not schema.read(schema.RunResult, tmp_path / "whole" / "result.json").stopped_early


def test_what_is_done_once_for_the_program_is_no_time_of_training(place, tmp_path, monkeypatch):
    told = []

    def notify(owner, name, word):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **extra: (told.append(word), real(*given, **extra))[1])

    notify(metrics, "load_libraries", "libraries")
    notify(memory_meter, "garbage_collection_settled", "garbage")
    notify(CheckpointManager, "start", "clock")
    go(
        place,
        tmp_path / "run",
        on_event=lambda event: isinstance(event, run_events.StepCompleted) and told.append("step"),
        max_steps=1,
    )
    assert told == ["libraries", "garbage", "clock", "step"]


def test_without_validation_the_last_weights_are_kept(place, tmp_path, monkeypatch):
    honest, gradients = scoring.evaluate_split, []

    def tested(prepared_model, *given, **extra):
        gradients.extend(name for name, one in prepared_model.trainable_module.named_parameters() if one.grad is not None)
        return honest(prepared_model, *given, **extra)

    monkeypatch.setattr(scoring, "evaluate_split", tested)
    folder = go(place, tmp_path / "run", data={"validation_fraction": 0.0})
    assert not gradients, "those of the last update are let go before the test"
    result = json.loads(folder.result.read_text())
    assert result["num_validation"] == 0
    assert result["best_step"] == result["steps"] == 12
    assert result["metrics"]["validation"] is None


def test_an_architecture_that_cannot_be_packed_says_so_and_works(place, tmp_path):
    tiny.folder(place / "bloom", kind="bloom")
    said = []
    folder = go(place, tmp_path / "run", model="bloom", on_event=said.append)
    result = json.loads(folder.result.read_text())
    assert any("batches are padded: bloom cannot be packed" in str(line) for line in said)
    assert 0 < result["padding_fraction"] < 1
    assert result["verification_difference"] == 0


@pytest.mark.parametrize("name", ["lora", "prompt", "freeze"])
def test_an_encoder_without_a_pooler_gets_a_trained_one_and_keeps_it(place, tmp_path, name):
    """A masked language model brings no pooler: its random one belongs to the head."""
    from transformers import BertForMaskedLM

    tiny.folder(tmp_path / "bert", kind="bert")
    BertForMaskedLM(tiny.CONFIGS["bert"]()).save_pretrained(tmp_path / "bert")
    folder = go(place, tmp_path / "run", model=tmp_path / "bert", name=name)
    assert json.loads(folder.result.read_text())["verification_difference"] == 0
    saved = load_file(next(folder.model.glob("*.safetensors")))
    assert any("pooler" in key for key in saved)


def test_long_texts_are_cut_and_that_is_reported_and_recorded(place, tmp_path):
    said = []
    folder = go(place, tmp_path / "run", data={"max_length": 4}, on_event=said.append)
    assert any("texts (100.0%) are longer than 4 tokens" in str(line) for line in said)
    codes = [finding["code"] for finding in json.loads(folder.checks.read_text())["findings"]]
    assert codes.count("truncated") == 3


def test_bfloat16_runs_are_verified_too(place, tmp_path):
    folder = go(place, tmp_path / "run", name="lora", precision="bfloat16")
    assert json.loads(folder.result.read_text())["verification_difference"] == 0


@pytest.mark.parametrize(
    "options", [{"init_weights": "pissa"}, {"dora": True}, {"rslora": True, "target_modules": "all-linear"}], ids=str
)
def test_variants_are_verified_too(place, tmp_path, options):
    folder = go(place, tmp_path / "run", name="lora", options=options)
    assert json.loads(folder.result.read_text())["verification_difference"] < 1e-5


def test_errors_in_the_data_stop_before_a_model_is_loaded(place, tmp_path):
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"text {i},same\n" for i in range(20)))
    with pytest.raises(UserError, match=r"one class only \(same\)") as caught:
        go(place, tmp_path / "run", source=tmp_path / "one.csv", model="not-there")
    assert caught.value.code == ExitCode.BAD_DATA
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_refused_run_leaves_no_folder_that_nobody_asked_for(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"text {i},same\n" for i in range(20)))
    tight = build_options(RunConfig, {**settings(place).model_dump(), "memory_budget": "1kB"})
    for source, given in ((tmp_path / "one.csv", settings(place)), (place / "tickets.csv", tight)):
        with pytest.raises(UserError):
            train(source, settings=given, candidates=[methods.build_method("full", {})])
        assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(UserError):
        go(place, tmp_path / "asked", source=tmp_path / "one.csv")
    assert (tmp_path / "asked" / "checks.json").exists(), "a folder that was asked for says what was found"


def test_a_non_finite_loss_stops_with_the_rows_named(place, tmp_path, monkeypatch):
    from finewright.models import head_init

    def poisoned(base, **_):
        base.network.transformer.h[1].mlp.c_fc.weight.data[0, 0] = float("nan")
        return 1.0

    monkeypatch.setattr(head_init, "scale_head", poisoned)
    with pytest.raises(UserError, match=r"tickets\.csv:\d+.*step 1: loss nan.* the step was not applied") as caught:
        go(place, tmp_path / "run")
    assert caught.value.code == ExitCode.NON_FINITE
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_run_that_cannot_be_verified_is_not_finished(place, tmp_path, monkeypatch):
    """One flipped bit in what was saved."""
    honest = verify.verify_saved_model

    def damaged(trained, folder, texts):
        weights = load_file(folder / "model.safetensors")
        weights["score.weight"][0, 0] += 0.01
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return honest(trained, folder, texts)

    monkeypatch.setattr(verify, "verify_saved_model", damaged)
    with pytest.raises(UserError, match=r"scores of the saved model differ by .* from the trained one's") as caught:
        go(place, tmp_path / "run")
    assert caught.value.code == ExitCode.MISMATCH
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_tensor_without_gradient_is_refused(place, tmp_path, monkeypatch):
    kind = methods.get_method("full")
    honest = kind.prepare

    def with_a_stray(self, base):
        base.network.stray = torch.nn.Parameter(torch.ones(3))
        return honest(self, base)

    monkeypatch.setattr(kind, "prepare", with_a_stray)
    with pytest.raises(UserError, match=r"1 trained tensor gets no gradient, for instance stray"):
        go(place, tmp_path / "run")


def test_a_first_loss_far_from_ln_classes_is_refused(place, tmp_path, monkeypatch):
    from finewright.models import head_init

    def unsettled(base, **_):
        base.network.score.weight.data *= 500
        return 1.0

    monkeypatch.setattr(head_init, "scale_head", unsettled)
    with pytest.raises(UserError, match=r"step 1: the first loss is .*, a fresh head over 2 labels starts at 0\.6931"):
        go(place, tmp_path / "run", head_start="random")


def test_an_out_folder_in_use_is_refused_before_anything(place, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="the folder is not empty"):
        go(place, tmp_path / "run", model="not-there")


def test_caching_the_outputs_of_frozen_layers_changes_nothing_but_the_time(place, tmp_path):
    said, runs = {}, {}
    for wanted in ("auto", "off"):
        said[wanted] = []
        extra = {"options": {"num_layers": 1}, "frozen_layer_cache": wanted, "max_steps": 24, "evals_per_epoch": 2}
        runs[wanted] = go(place, tmp_path / wanted, name="freeze", on_event=said[wanted].append, **extra)
    kept, plain = (json.loads(runs[wanted].result.read_text()) for wanted in ("auto", "off"))
    assert (kept["trunk_cached"], plain["trunk_cached"]) == (True, False)
    lines = [[json.loads(line) for line in run.metrics.read_text().splitlines()] for run in runs.values()]
    for ours, theirs in zip(*lines, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), abs=1e-5)
        assert ours.get("validation", {}) == pytest.approx(theirs.get("validation", {}), abs=1e-5)
    assert kept["metrics"]["test"]["loss"] == pytest.approx(plain["metrics"]["test"]["loss"], abs=1e-5)
    assert any("training.frozen_layer_cache = on: the lower 2 of 3 layers run once" in str(line) for line in said["auto"])
    assert any("training.frozen_layer_cache = off: as asked for" in str(line) for line in said["off"])
    plans = [json.loads(run.plan.read_text()) for run in runs.values()]
    assert plans[0]["memory"]["trunk"] > 0
    assert "trunk" not in plans[1]["memory"]
    assert plans[0]["flops"] < 0.8 * plans[1]["flops"]


def test_scores_as_labels_stop_a_run_unless_it_is_forced(place, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("text,score\n" + "".join(f"some words {n},0.{n:03}\n" for n in range(1, 61)))
    chosen = settings(place, data={"label_column": "score"}, max_steps=1).model_dump() | {"task": "text-classification"}
    given = {"candidates": [methods.build_method("freeze", {})]}
    with pytest.raises(UserError, match="the labels are numbers, not classes: 60 different ones") as caught:
        train(path, settings=build_options(RunConfig, chosen), out=tmp_path / "stopped", **given)
    assert caught.value.code == ExitCode.BAD_DATA
    assert "--task regression" in caught.value.fix
    assert "--force" in caught.value.fix
    forced = build_options(RunConfig, {**chosen, "force": True})
    run = train(path, settings=forced, out=tmp_path / "forced", **given)
    assert run.complete
    (finding,) = (one for one in json.loads(run.checks.read_text())["findings"] if one["code"] == "numeric_labels")
    assert finding["severity"] == "warning"
