"""Runs with several labels per text: every method, saved so that transformers and PEFT load it, with thresholds that are used."""

import json
import random

import numpy as np
import pytest
import torch

import finewright
from finewright.core.errors import UserError
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.exporters import merge
from finewright.runs import verify
from support import tiny

NAMES = ("billing", "shipping", "urgent")
WORDS = {"billing": "charged twice", "shipping": "where is my parcel", "urgent": "send it please"}
OPTIONS = {"training.num_threads": 1, "training.learning_rate": 3e-3, "training.tokens_per_micro_batch": 200}
OPTIONS |= {"training.precision": "float32"}


def write_rows(path, count=120):
    draw = random.Random(0)
    rows = []
    for number in range(count):
        own = [name for name in NAMES if draw.random() < 0.4]
        words = [WORDS[name] for name in own] or ["hello"]
        draw.shuffle(words)
        rows.append(f"{' '.join(words)} {number},{';'.join(own)}")
    path.write_text("text,labels\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("multi")
    tiny.folder(root / "gpt2")
    write_rows(root / "rows.csv")
    with verify.verifying_with(verify.answer_in_new_interpreter):
        yield root


def train(place, method, *, kind="gpt2", name="", max_steps=40, **extra):
    out = place / (name or f"{method}-{kind}")
    options = OPTIONS | {"training.max_steps": max_steps} | extra
    return finewright.train(place / "rows.csv", model=place / kind, method=method, output_dir=out, options=options)


@pytest.fixture(scope="module")
def full(place):
    return train(place, "full", max_steps=60)


@pytest.fixture(scope="module")
def lora(place):
    return train(place, "lora")


def test_the_task_is_found_and_everything_is_measured(full):
    result = full.result
    assert (result.task, result.verification_difference) == ("multi-label-classification", 0.0)
    measured = result.metrics.test.model_dump()
    assert measured["micro_f1"] > 0.8
    assert {"macro_f1", "samples_f1", "subset_accuracy", "hamming_loss", "average_precision", "micro_f1_ci95"} <= measured.keys()
    assert [*measured["per_label"]] == [*NAMES]
    assert {*result.baseline_metrics} == {"majority", "bag-of-words"}
    config = json.loads((full.path / "config.json").read_text())
    known = {"texts": ["text"], "label": "labels", "form": "joined", "label_separator": ";", "decimal": "", "percent": None}
    assert config["columns"] == known
    assert config["labels"] == [*NAMES]
    lines = [json.loads(line) for line in (full.path / "metrics.jsonl").read_text().splitlines()]
    assert {"micro_f1", "macro_f1", "average_precision", "loss"} == {*next(x["validation"] for x in lines if x.get("validation"))}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["freeze", "prompt", "scratch"])
def test_the_other_methods_train_it_too(place, method):
    run = train(place, method, max_steps=4)
    assert run.result.method == method
    assert run.result.verification_difference == 0.0
    assert (run.folder.model / "thresholds.json").exists()


def test_thresholds_lie_beside_the_weights_and_every_prediction_uses_them(full):
    path = full.folder.model / "thresholds.json"
    saved = json.loads(path.read_text())["thresholds"]
    assert {*saved} == {*NAMES}
    assert full.predictor.task.thresholds == tuple(saved.values())
    assert [one["threshold"] for one in full.result.metrics.test.model_dump()["per_label"].values()] == [*saved.values()]
    for one in full.predict(["charged twice send it please", "hello"]):
        assert {*one["labels"]} == {label for label, share in one["probabilities"].items() if share >= saved[label]}
    assert "thresholds.json" in full.result.files, "a changed file is found"
    assert "drawn towards 0.5" in (full.folder.model / "README.md").read_text()


def test_transformers_and_its_pipeline_load_the_folder_and_give_equal_scores(full):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    texts = ["charged twice where is my parcel", "hello", "send it please"]
    network = AutoModelForSequenceClassification.from_pretrained(full.folder.model).eval()
    assert network.config.problem_type == "multi_label_classification"
    assert network.config.id2label == dict(enumerate(NAMES))
    tokenizer = AutoTokenizer.from_pretrained(full.folder.model)
    with torch.no_grad():
        scores = network(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(scores, full.predictor.score(texts), atol=1e-4)
    found = pipeline("text-classification", model=str(full.folder.model), top_k=None)(texts)
    ours = full.load(device="cpu").predict(texts)
    for theirs, mine in zip(found, ours, strict=True):
        for one in theirs:
            assert one["score"] == pytest.approx(mine["probabilities"][one["label"]], abs=1e-4)


def test_peft_loads_the_adapter_and_gives_equal_scores(lora):
    network, tokenizer = lora.load(device="cpu").to_transformers()
    texts = ["charged twice where is my parcel"]
    with torch.no_grad():
        scores = network(**tokenizer(texts, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(scores, lora.predictor.score(texts), atol=1e-4)
    assert network.config.problem_type == "multi_label_classification"


def test_the_merged_adapter_predicts_the_same(lora):
    merged = merge.export_merged(lora.folder)
    assert merged.change.changed == 0
    assert merged.as_json()["metric"] == "micro_f1"
    assert merged.metric_before == merged.change.metric_after == lora.result.metrics.test.model_dump()["micro_f1"]
    assert (merged.folder / "thresholds.json").read_text() == (lora.folder.model / "thresholds.json").read_text()


def test_a_file_gets_its_labels_with_the_separator_of_the_data(full, tmp_path):
    (tmp_path / "new.csv").write_text("id,text\n1,charged twice where is my parcel\n2,\n3,hello\n")
    found = full.predict_file(tmp_path / "new.csv")
    lines = found.output.read_text().splitlines()
    assert lines == ["id,text,labels", "1,charged twice where is my parcel,billing;shipping", "2,,", "3,hello,"]
    assert (found.counts, found.num_empty) == ({"billing": 1, "shipping": 1}, 1)
    assert "1 row gets no label" in found.notes
    found = full.predict_file(tmp_path / "new.csv", force=True, probabilities=True)
    header = found.output.read_text().splitlines()[0]
    assert header == "id,text,labels,probability_billing,probability_shipping,probability_urgent"
    for how in ({"min_confidence": 0.5}, {"otherwise": "x"}, {"top_k": 2}):
        with pytest.raises(UserError, match="has a threshold for each label, and no one confidence of a row"):
            full.predict_file(tmp_path / "new.csv", force=True, **how)
    with pytest.raises(UserError, match="has no confidences"):
        full.predict_file(tmp_path / "new.csv", force=True, abstain=0.9)


def test_labels_are_lists_in_json_lines_if_the_training_rows_had_lists(place, tmp_path):
    rows = [{"text": f"{WORDS[n]} {k}", "labels": [n]} for k in range(15) for n in NAMES]
    rows += [{"text": f"{WORDS['billing']} {WORDS['urgent']} {k}", "labels": ["billing", "urgent"]} for k in range(15)]
    run = finewright.train(rows, method="bag-of-words", output_dir=tmp_path / "run")
    (tmp_path / "new.jsonl").write_text('{"text": "charged twice send it please"}\n')
    found = run.predict_file(tmp_path / "new.jsonl")
    assert json.loads(found.output.read_text())["labels"] == ["billing", "urgent"]


def test_it_is_evaluated_on_other_rows_in_any_form(full, place, tmp_path):
    again = full.evaluate(place / "rows.csv")
    assert again["num_rows"] == 120
    flags = ["text,billing,shipping,urgent", "charged twice,1,0,0", "where is my parcel send it please,0,1,1", "hello,0,0,0"]
    (tmp_path / "flags.csv").write_text("\n".join(flags) + "\n")
    assert full.evaluate(tmp_path / "flags.csv")["labels_per_row"] == 1.0
    assert full.evaluate([{"text": "charged twice", "labels": ["billing"]}, {"text": "hello", "labels": []}])["num_rows"] == 2
    (tmp_path / "other.csv").write_text("text,labels\ncharged twice,billing;refund\n")
    with pytest.raises(UserError, match="a label that the model does not know: 'refund'"):
        full.evaluate(tmp_path / "other.csv")


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_result(place):
    whole = train(place, "full", name="whole", max_steps=8)
    stop = StopRequest()
    seen = []

    def stop_after_three(event):
        seen.append(type(event).__name__)
        if seen.count("StepCompleted") == 3:
            stop.request(2)

    out = place / "stopped"
    how = {"model": place / "gpt2", "method": "full", "options": OPTIONS | {"training.max_steps": 8}, "output_dir": out}
    with pytest.raises(Interrupted):
        finewright.train(place / "rows.csv", callbacks=[stop_after_three], stop=stop, **how)
    resumed = finewright.resume(out)
    assert resumed.result.sessions == 2
    assert resumed.result.metrics.test == whole.result.metrics.test


@pytest.mark.slow
def test_balanced_weights_and_a_random_head_start_at_ln_2(place):
    run = train(
        place, "full", name="balanced", max_steps=2, **{"training.class_weights": "balanced", "training.head_start": "random"}
    )
    first = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(np.log(2), abs=0.1)


def test_it_is_planned_with_and_without_data(place):
    assert finewright.plan(place / "rows.csv", model=place / "gpt2", method="lora").entries[0].training_plan.fits
    options = {"task": "multi-label-classification"}
    report = finewright.plan(model=place / "gpt2", method="lora", num_labels=7, options=options)
    assert report.entries[0].training_plan.plan.head_parameters == 7 * 32


@pytest.mark.parametrize("method", ["bag-of-words", "frozen-features"])
def test_a_baseline_is_a_run_of_it_too(place, method):
    run = finewright.train(place / "rows.csv", model=place / "gpt2", method=method, output_dir=place / method)
    assert run.result.metrics.test.model_dump()["micro_f1"] > 0.8
    assert run.result.verification_difference == 0.0
    (one,) = run.predict(["charged twice where is my parcel"])
    assert {*one["labels"]} == {"billing", "shipping"}
    assert run.evaluate(place / "rows.csv")["per_label"]["urgent"]["f1"] > 0.8
