"""Runs whose head starts from a regression: what is kept, said and recorded, and that a resumed run does not fit again."""

import io
import json
import re

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from finewright import methods
from finewright.cli import result_card
from finewright.core import events as run_events
from finewright.core import interrupts
from finewright.inference import scoring
from finewright.planning import candidates
from finewright.runs import fingerprint, pipeline, schema
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.text_classification import TextClassification
from finewright.training import head_start
from support import sessions, tiny

NO_DROPOUT = dict.fromkeys(
    ["hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "seq_classif_dropout"], 0.0
)
"""The states of a random network hardly differ from text to text; in the noise of dropout nothing is left of that."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("head"))


@pytest.fixture(autouse=True)
def few_rows_decide(monkeypatch):
    """The tests have few validation rows."""
    monkeypatch.setattr(candidates, "LEAST_DECIDING_ROWS", 1)


def result_of(folder):
    return schema.read(schema.RunResult, folder.result)


def test_the_start_is_evaluated_said_and_recorded(place, tmp_path):
    events = []
    folder = sessions.train(place, tmp_path / "run", method_name="lora", on_event=events.append)
    said = [str(event) for event in events]
    (line,) = [line for line in said if line.startswith("head: starts as a regression")]
    assert re.fullmatch(r"head: starts as a regression on the frozen features of \d+ texts, C = [\d.]+, fitted in [\d.]+ s", line)
    assert any(line.startswith("training.head_start = probe: a regression on the frozen features") for line in said)
    evaluations = [event for event in events if isinstance(event, run_events.EvaluationCompleted)]
    assert (evaluations[0].step, evaluations[0].epoch) == (0, 0.0)
    result = result_of(folder)
    assert result.probe.metrics.validation.accuracy == evaluations[0].metrics["accuracy"]
    assert result.probe.metrics.test.num_rows == result.num_test
    assert result.probe.num_rows == result.num_train
    assert result.probe.seconds > 0
    saved = schema.read(schema.RunConfigFile, folder.config)
    assert next(choice.value for choice in saved.choices if choice.option == "training.head_start") == "probe"
    lines = schema.read_lines(schema.MetricsLine, folder.metrics)
    assert (lines[0].step, lines[0].validation["accuracy"]) == (0, evaluations[0].metrics["accuracy"])


def test_without_a_better_evaluation_the_start_is_kept(place, tmp_path, monkeypatch):
    """Every later evaluation has one row wrong more; the saved model is the one before the first update."""
    honest, heads, weights, sizes = scoring.evaluate_split, [], [], []

    def worse(prepared_model, encoded, *, task):
        found = honest(prepared_model, encoded, task=task)
        if sizes and len(encoded.ids) != sizes[0]:
            return found  # the test split
        sizes.append(len(encoded.ids))
        heads.append(prepared_model.network.score.weight.detach().clone())
        known = found.metrics()
        better = {"accuracy": 0.9 - 0.1 * (len(heads) > 1), "loss": 1.0}
        found.metrics = lambda: known | better
        return found

    kept = head_start.HeadLayers.set_last
    monkeypatch.setattr(head_start.HeadLayers, "set_last", lambda self, *given: (kept(self, *given), weights.append(given[0]))[0])
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate_split", worse)
        folder = sessions.train(place, tmp_path / "run", method_name="full", on_event=said.append, early_stopping_patience=0)
    assert "fine-tuning was no better on validation than the first head on the frozen features, which is kept" in map(str, said)
    result = json.loads(folder.result.read_text())
    assert (result["best_step"], result["steps"]) == (0, 12)
    assert result["metrics"]["test"]["accuracy"] == result["probe"]["metrics"]["test"]["accuracy"]
    softness, (first,) = result["probe"]["softness"], weights
    assert softness < 1, "or nothing is tested"
    saved = load_file(folder.model / "model.safetensors")["score.weight"]
    assert torch.allclose(saved, torch.from_numpy(first) / softness, rtol=1e-5), "no training follows: the regression as it was"
    assert not torch.equal(heads[-1], heads[0])
    text = io.StringIO()
    result_card.print_result_card(Console(file=text, width=200), result_of(folder), path=folder.path)
    assert "fine-tuning was no better on validation, so their head is kept" in text.getvalue()
    assert "kept: no update made it better on validation" in (folder.model / "README.md").read_text()


def test_result_card_and_model_card_compare_with_the_frozen_features(place, tmp_path):
    folder = sessions.train(place, tmp_path / "run", method_name="full")
    result = result_of(folder)
    result = result.model_copy(update={"best_step": result.steps})
    text = io.StringIO()
    result_card.print_result_card(Console(file=text, width=200), result, path=folder.path)
    before, after = result.probe.metrics.test.accuracy, result.metrics.test.accuracy
    assert f"frozen features {before:.1%}, fine-tuned {after:.1%}" in text.getvalue()
    card = (folder.model / "README.md").read_text()
    assert f"| before fine-tuning | {before:.1%}: a regression on the frozen features" in card


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_resumed_run_ends_the_same_and_fits_once(place, tmp_path, monkeypatch, after):
    extra = {"method_name": "lora", "save_steps": 100}
    expected = sessions.train(place, tmp_path / "whole", **extra)
    honest, calls = head_start.start_from_probe, []
    monkeypatch.setattr(head_start, "start_from_probe", lambda *given, **how: (calls.append(1), honest(*given, **how))[1])
    out = tmp_path / "cut"
    if after:
        sessions.cut_short(place, out, after=after, **extra)
    else:
        stop_request = interrupts.StopRequest()

        def on_event(event):
            if isinstance(event, run_events.EvaluationCompleted) and event.step == 0:
                stop_request.number = 15

        with pytest.raises(interrupts.Interrupted):
            sessions.train(place, out, on_event=on_event, stop_request=stop_request, **extra)
        assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000000"]
    folder = sessions.train(place, out, **extra)
    assert len(calls) == 1
    assert sessions.made(folder) == sessions.made(expected)
    probes = [json.loads(run.result.read_text())["probe"] for run in (folder, expected)]
    assert probes[0]["metrics"] == probes[1]["metrics"]
    assert probes[0]["strength"] == probes[1]["strength"]


def test_random_is_the_head_of_before(place, tmp_path):
    said = []
    folder = sessions.train(place, tmp_path / "run", method_name="freeze", head_start="random", on_event=said.append)
    assert result_of(folder).probe is None
    assert not any("frozen features" in str(line) for line in said)
    assert schema.read_lines(schema.MetricsLine, folder.metrics)[0].step == 1


def test_random_weights_keep_a_random_head(place, tmp_path):
    said = []
    folder = sessions.train(place, tmp_path / "run", method_name="scratch", head_start="probe", on_event=said.append)
    assert result_of(folder).probe is None
    assert any("training.head_start=probe has no effect here" in str(line) for line in said)


def test_without_validation_rows_nothing_is_compared(place, tmp_path):
    said = []
    extra = {"method_name": "freeze", "data": {"validation_fraction": 0.0}, "on_event": said.append}
    folder = sessions.train(place, tmp_path / "run", **extra)
    result = result_of(folder)
    assert not any(isinstance(event, run_events.EvaluationCompleted) for event in said)
    assert result.best_step == result.steps
    assert result.probe.metrics.validation is None
    assert result.probe.metrics.test.num_rows == result.num_test


def test_a_head_that_cannot_be_fitted_starts_at_random_with_the_reason(place, tmp_path, monkeypatch):
    def unable(self, features, targets, *, has_bias):
        raise HeadNotFitted("the regression did not converge: its loss is 3.000")

    monkeypatch.setattr(TextClassification, "fit_head", unable)
    said = []
    folder = sessions.train(place, tmp_path / "run", method_name="freeze", on_event=said.append)
    assert "head: starts at random, as the regression did not converge: its loss is 3.000" in map(str, said)
    assert result_of(folder).probe is None
    assert not any(isinstance(event, run_events.EvaluationCompleted) and event.step == 0 for event in said)


def test_a_trained_head_with_these_labels_is_not_replaced(place, tmp_path):
    first = sessions.train(place, tmp_path / "first", method_name="full")
    said = []
    settings = sessions.settings(place, head_start="probe").model_copy(update={"model": str(first.model)})
    candidates = [methods.build_method("freeze", {})]
    folder = pipeline.train(
        place / "tickets.csv", settings=settings, candidates=candidates, out=tmp_path / "run", on_event=said.append
    )
    assert any("has no effect here: the checkpoint's own head is used" in str(line) for line in said)
    assert result_of(folder).probe is None


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_encoders_start_from_it_too_and_are_verified(place, tmp_path, kind):
    tiny.folder(tmp_path / kind, kind=kind, **NO_DROPOUT)
    settings = sessions.settings(place).model_copy(update={"model": str(tmp_path / kind)})
    candidates = [methods.build_method("lora", {})]
    folder = pipeline.train(place / "tickets.csv", settings=settings, candidates=candidates, out=tmp_path / "run")
    result = result_of(folder)
    assert result.verification_difference == 0
    assert result.probe.metrics.test is not None


def test_a_run_from_before_the_option_is_the_same_run():
    then = {"options": {"seed": 0}, "method": "lora", "data": {}, "schedule": {}}
    now = {"options": {"seed": 0, "training.head_start": "probe"}, "method": "lora", "data": {}, "schedule": {}}
    assert fingerprint.differences(then, now) == []


@pytest.fixture(scope="module")
def first(place):
    return sessions.train(place, place / "first", method_name="full", learning_rate=3e-3)


@pytest.mark.parametrize("head_start", ["auto", "random"])
def test_a_run_from_a_run_keeps_the_model_that_it_began_with_where_no_update_made_it_better(place, first, tmp_path, head_start):
    assert result_of(first).metrics.validation.accuracy > 0.5
    said = []
    spoiling = {"learning_rate": 1.0, "lr_scheduler": "constant", "head_start": head_start, "early_stopping_patience": 0}
    settings = sessions.settings(place, **spoiling).model_copy(update={"model": str(first.path)})
    run = pipeline.train(
        place / "tickets.csv",
        settings=settings,
        candidates=[methods.build_method("full", {})],
        out=tmp_path / "second",
        on_event=said.append,
    )
    evaluations = [event for event in said if isinstance(event, run_events.EvaluationCompleted)]
    before, after = result_of(first), result_of(run)
    assert evaluations[0].step == 0
    assert evaluations[0].metrics["accuracy"] == before.metrics.validation.accuracy
    assert (after.best_step, after.probe) == (0, None)
    assert after.metrics.test.accuracy == before.metrics.test.accuracy == after.untuned.metrics.test.accuracy
    assert "fine-tuning was no better on validation than the model that it began with, which is kept" in map(str, said)
    text = io.StringIO()
    result_card.print_result_card(Console(file=text, width=200), after, path=run.path)
    assert "fine-tuning was no better on validation, so the model is kept as it was" in text.getvalue()
    assert "kept: no update made it better on validation" in (run.model / "README.md").read_text()


def test_new_weights_are_no_start_to_keep(place, first, tmp_path):
    events = []
    settings = sessions.settings(place, head_start="random").model_copy(update={"model": str(first.path)})
    method = methods.build_method("scratch", {})
    pipeline.train(place / "tickets.csv", settings=settings, candidates=[method], out=tmp_path / "new", on_event=events.append)
    assert min(event.step for event in events if isinstance(event, run_events.EvaluationCompleted)) > 0
