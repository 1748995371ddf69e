"""Runs of regression: every method, saved in the unit of the data, equal in stock programs, resumed bit for bit."""

import json

import numpy as np
import pytest
import torch

import finewright
from finewright import methods, tasks
from finewright.core.errors import UserError
from finewright.models import quantization
from finewright.runs import intervals
from finewright.tasks.regression import Regression
from support import sessions, tiny
from support.amounts import write_rows
from support.cards import blocks, run_code
from support.killed import killed_session

TEXTS = ["where is my parcel", "charged twice", "the jacket is broken please send the new tent", "ship it", "refund my pay twice"]
YEARS = 1950.0
"""The mean of numbers that are many standard deviations from 0."""
CAN_TRAIN = [name for name in methods.method_names() if not Regression.why_not(methods.get_method(name)())]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("numbers")
    for kind in ("gpt2", "bert", "llama"):
        tiny.folder(root / kind, kind=kind)
    write_rows(root / "tickets.csv")
    write_rows(root / "years.csv", mean=YEARS)
    with sessions.quickly():
        yield root


OPTIONS = {"training.max_steps": 12, "training.num_threads": 1, "training.learning_rate": 0.003, "training.precision": "float32"}


def train(place, out, *, kind="bert", method="lora", source="tickets.csv", **options):
    options = OPTIONS | {"data.label_column": "year"} | {name.replace("__", "."): value for name, value in options.items()}
    if method == "prompt":
        options["method.num_virtual_tokens"] = 4
    return finewright.train(place / source, model=place / kind, method=method, output_dir=out, options=options)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("method", ["full", "lora", "freeze"])
def test_stock_programs_give_the_numbers_themselves(place, tmp_path, kind, method):
    """GPT-2's and Llama's head has no bias: its weights alone give the mean of the numbers too."""
    run = train(place, tmp_path / "run", kind=kind, method=method)
    ours = [one["value"] for one in run.predict(TEXTS)]
    assert max(ours) > 30
    (code,) = [code for code in blocks(run.path / "model") if "model(**batch).logits" in code]
    names = run_code(code)
    assert names["values"].shape == (2,)
    batch = names["tokenizer"](TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        theirs = names["model"](**batch).logits[:, 0]
    np.testing.assert_allclose(theirs.numpy(), ours, atol=2e-3)
    folder = run.path / "model" / ("base_config" if method == "lora" else "")
    config = json.loads((folder / "config.json").read_text())
    assert (config["problem_type"], len(config["id2label"])) == ("regression", 1)
    assert json.loads((run.path / "result.json").read_text())["verification_difference"] == 0.0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_numbers_far_from_zero_get_a_head_with_a_bias(place, tmp_path, method):
    """Without one, what a decoder's states have in common would have to give the mean of 100 standard deviations."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    run = train(place, tmp_path / "run", kind="gpt2", method=method, source="years.csv")
    assert run.result.metrics.test.rmse < 60
    choices = json.loads((run.path / "config.json").read_text())["choices"]
    (reason,) = [one["reason"] for one in choices if one["option"] == "training.pooling"]
    assert "gpt2's own head has no bias" in reason
    ours = [one["value"] for one in run.predict(TEXTS)]
    theirs = sentence_transformers.SentenceTransformer(str(run.path / "model"), device="cpu").encode(TEXTS)[:, 0]
    np.testing.assert_allclose(theirs, ours, atol=5e-3)
    assert "values = model.encode(" in (run.path / "model" / "README.md").read_text()


def test_a_method_that_needs_the_own_head_is_refused_for_such_numbers(place, tmp_path):
    with pytest.raises(UserError, match="prompt cannot learn these numbers: gpt2's own head has no bias") as caught:
        train(place, tmp_path / "run", kind="gpt2", method="prompt", source="years.csv")
    assert caught.value.fix.startswith("subtract their mean")


def test_the_pipeline_gives_the_number(place, tmp_path):
    run = train(place, tmp_path / "run", method="full")
    code = next(code for code in blocks(run.path / "model") if "pipeline" in code)
    names = run_code(code)
    assert names["value"] == pytest.approx(run.predict(["a text"])[0]["value"], abs=1e-3)
    assert "label" not in (run.path / "model" / "README.md").read_text()


@pytest.mark.parametrize("method", CAN_TRAIN)
def test_every_method_trains_better_than_the_mean_or_says_how_it_does(place, tmp_path, method):
    if method == "qlora" and quantization.missing_packages():
        pytest.skip("four-bit weights need bitsandbytes")
    run = train(place, tmp_path / "run", method=method, training__max_steps=20)
    measured = run.result.metrics.test.model_dump()
    assert np.isfinite(measured["rmse"])
    if method != "scratch":
        assert measured["rmse"] < measured["mean_rmse"]
    assert measured["rmse_ci95"][0] <= measured["rmse"] <= measured["rmse_ci95"][1]
    lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
    errors = np.array([line["value"] - float(line["label"]) for line in lines])
    assert np.sqrt((errors**2).mean()) == pytest.approx(measured["rmse"])
    assert [line["error"] for line in lines] == pytest.approx(errors.tolist())


def test_methods_that_need_labels_are_refused(place, tmp_path):
    with pytest.raises(
        UserError, match="contrastive draws texts of one label together, and regression has no one label for each text"
    ):
        train(place, tmp_path / "run", method="contrastive")


@pytest.mark.parametrize("method", ["lora", "full", "prompt"])
def test_a_run_that_is_killed_ends_bit_for_bit_the_same(place, tmp_path, monkeypatch, method):
    extra = {"method_name": method, "save_steps": 2, "head_start": "random", "data": {"label_column": "year"}}
    expected = sessions.made(sessions.train(place, tmp_path / "whole", **regression(extra)))
    out = tmp_path / "cut"
    killed_session(place, out, monkeypatch, torch.Tensor, "backward", call=5, **regression(extra))
    sessions.cut_short(place, out, after=8, **regression(extra))
    assert sessions.made(sessions.train(place, out, **regression(extra))) == expected


def regression(extra):
    return {**extra, "source": "tickets.csv"}


def test_a_run_that_is_killed_after_its_head_was_scaled_scales_it_once(place, tmp_path, monkeypatch):
    expected = sessions.made(sessions.train(place, tmp_path / "whole", data={"label_column": "year"}))
    out = tmp_path / "cut"
    killed_session(place, out, monkeypatch, intervals, "keep_errors", call=1, data={"label_column": "year"})
    assert sessions.made(sessions.train(place, out, data={"label_column": "year"})) == expected


def test_intervals_are_kept_and_read_again(place, tmp_path):
    run = train(place, tmp_path / "run", data__validation_fraction=0.2, data__test_fraction=0.25)
    (one,) = run.predict(["where is my parcel"])
    file = json.loads((run.path / "model" / "intervals.json").read_text())
    measured = run.result.metrics.test.model_dump()
    assert len(file["errors"]) == run.result.num_validation
    assert one["high"] - one["value"] == pytest.approx(measured["interval_half_width"], rel=1e-3)
    assert measured["interval_level"] == 0.9
    lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
    inside = [line["low"] <= float(line["label"]) <= line["high"] for line in lines]
    assert np.mean(inside) == pytest.approx(measured["interval_coverage"])
    (half,) = run.predict(["where is my parcel"], interval=0.5)
    assert half["value"] == one["value"]
    assert half["high"] - half["low"] < one["high"] - one["low"]
    with pytest.raises(UserError, match="an interval of 99% needs the errors of 99 validation rows, and the run has"):
        run.predict(["where is my parcel"], interval=0.99)
    with pytest.raises(UserError, match="wanted a share between 0 and 1, found 90"):
        run.predict(["where is my parcel"], interval=90)
    evaluated = run.evaluate(place / "tickets.csv")
    assert evaluated["mean_rmse"] > evaluated["rmse"]
    (place / "new.csv").write_text("id,text\n1,where is my parcel\n2,\n")
    found = run.predict_file(place / "new.csv", tmp_path / "out.csv", interval=0.5)
    rows = found.output.read_text().splitlines()
    assert rows[0] == "id,text,value,low,high"
    assert rows[1].startswith("1,where is my parcel,")
    assert [float(cell) for cell in rows[1].split(",")[2:]] == pytest.approx([half["value"], half["low"], half["high"]], abs=1e-3)
    assert rows[2] == "2,,,,"


def test_without_validation_rows_there_are_no_intervals(place, tmp_path):
    said = []
    run = finewright.train(
        place / "tickets.csv",
        model=place / "bert",
        method="freeze",
        output_dir=tmp_path / "run",
        options=OPTIONS | {"data.label_column": "year", "data.validation_fraction": 0.0, "training.max_steps": 2},
        callbacks=[lambda event: said.append(str(event))],
    )
    assert any("predictions have no intervals: there are no validation rows" in one for one in said)
    assert set(run.predict(["where is my parcel"])[0]) == {"text", "value"}
    assert "interval_coverage" not in run.result.metrics.test.model_dump()


def test_training_goes_further_from_the_numbers_of_a_saved_model(place, tmp_path):
    first = train(place, tmp_path / "first", method="full", training__max_steps=30)
    again = train(
        place,
        tmp_path / "again",
        kind=tmp_path / "first" / "model",
        method="full",
        training__learning_rate=1e-9,
        training__max_steps=1,
    )
    assert again.result.probe is None
    before, after = ([one["value"] for one in run.predict(TEXTS)] for run in (first, again))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_a_merged_adapter_gives_the_same_numbers(place, tmp_path):
    from finewright.exporters import merge

    run = train(place, tmp_path / "run", kind="gpt2", method="lora")
    merged = merge.export_merged(run.folder)
    assert merged.metric_before == pytest.approx(merged.change.metric_after, rel=1e-5)


def test_it_is_planned_without_data(place):
    report = finewright.plan(model=place / "bert", method="lora", options={"task": "regression"})
    assert report.entries[0].training_plan.plan.head_parameters > 0
    assert tasks.get_task("regression").row_kind == "number"


def test_the_decimal_sign_of_training_is_recorded_and_used_for_other_files(place, tmp_path):
    rows = [line.rsplit(",", 1) for line in (place / "tickets.csv").read_text().splitlines()[1:]]
    commas = "".join(f"{text};{value.replace('.', ',')}\n" for text, value in rows)
    (place / "commas.csv").write_text(f"text;score\n{commas}")
    run = train(place, tmp_path / "run", source="commas.csv", **{"data.label_column": "score", "training.max_steps": 2})
    assert json.loads((run.path / "config.json").read_text())["columns"]["decimal"] == "comma"
    (tmp_path / "new.csv").write_text("text;score\nwhere is my parcel;45,250\nrefund my pay;61,125\n")
    assert run.evaluate(tmp_path / "new.csv")["mae"] < 1000, "45,250 is no 45250"
