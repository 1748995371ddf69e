"""A run with calibrated confidences: what is saved, what uses it, and what stays as it was."""

import io
import json
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rich.console import Console

import finewright
from finewright import events
from finewright.cli import result_card
from finewright.core.errors import UserError
from finewright.runs import calibration
from finewright.runs.schema import CalibrationFile
from finewright.tasks import calibration as temperature_scaling
from finewright.tasks.calibration import compute_probabilities
from finewright.tasks.text_classification import TextClassification
from support import tiny
from support.commands import call

STEPS = {"training.max_steps": 12, "training.num_threads": 1, "training.learning_rate": 0.01, "training.precision": "float32"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("calibration")
    tiny.folder(root / "gpt2")
    lines = tiny.tickets(root / "t.csv", count=240).read_text().splitlines()
    rng = np.random.default_rng(0)  # labels that nothing can predict: a trained model is too certain
    noisy = [
        f"{line.rpartition(',')[0]},{rng.choice(['shipping', 'billing'])}" if rng.random() < 0.5 else line for line in lines[1:]
    ]
    (root / "t.csv").write_text("\n".join([lines[0], *noisy]) + "\n")
    return root


def go(place, name, *, callbacks=(), **options):
    return finewright.train(
        place / "t.csv",
        model=str(place / "gpt2"),
        method="lora",
        output_dir=place / name,
        callbacks=callbacks,
        options=STEPS | {"data.validation_fraction": 0.3} | {key.replace("__", "."): value for key, value in options.items()},
    )


@pytest.fixture(scope="module")
def run(place):
    return go(place, "run")


@pytest.fixture(scope="module")
def uncalibrated(place):
    return go(place, "off", training__calibrate="off")


def texts_of(run):
    return [line["text"] for line in run.folder.read_lines(run.folder.predictions)]


def test_the_temperature_lies_beside_the_weights_and_is_reported(run):
    kept = json.loads((run.path / "model" / "calibration.json").read_text())
    found = run.result.calibration
    assert found.rows == kept["num_rows"] == run.result.num_validation >= temperature_scaling.LEAST_ROWS
    assert (found.temperature, found.on) == (kept["temperature"], "test")
    assert found.temperature != 1
    assert found.ece_after == run.result.metrics.test.calibration_error
    assert found.ece_before != found.ece_after
    last = kept["coverage"][-1]
    assert (last["num_rows"], last["num_right"] / last["num_rows"]) == (found.rows, run.result.metrics.validation.accuracy)
    assert run.result.files.keys() >= {"calibration.json"}, "a changed file is noticed"


def test_scores_and_labels_are_those_of_an_uncalibrated_run(run, uncalibrated):
    texts = texts_of(run)
    scores = run.predictor.score(texts)
    assert (scores == uncalibrated.predictor.score(texts)).all()
    assert uncalibrated.result.calibration is None
    assert_allclose(run.predict_proba(texts), compute_probabilities(scores, temperature=run.result.calibration.temperature))
    assert_allclose(uncalibrated.predict_proba(texts), compute_probabilities(scores))
    assert [one["label"] for one in run.predict(texts)] == [one["label"] for one in uncalibrated.predict(texts)]
    ours, others = run.result.metrics.test, uncalibrated.result.metrics.test
    assert (ours.accuracy, run.result.calibration.ece_before) == (others.accuracy, others.calibration_error)
    assert ours.loss != others.loss


def test_other_libraries_load_it_with_equal_scores(run):
    import torch

    model, tokenizer = run.load(device="cpu").to_transformers()
    texts = texts_of(run)[:5]
    with torch.no_grad():
        theirs = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    assert_allclose(run.predictor.score(texts), np.stack(theirs), atol=1e-5)
    card = (run.path / "model" / "README.md").read_text()
    temperature = f"{run.result.calibration.temperature:g}"
    assert f"(scores / {temperature}).softmax(dim=-1)" in card
    assert f"| calibration error | {run.result.calibration.describe()} |" in card


def test_every_way_to_predict_uses_the_temperature(run, place):
    texts = texts_of(run)
    probability = {one["text"]: one["probability"] for one in run.predict(texts)}
    lines = run.folder.read_lines(run.folder.predictions)
    assert_allclose([line["probability"] for line in lines], [probability[line["text"]] for line in lines], atol=1e-6)
    assert_allclose([one["probability"] for one in run.load(device="cpu").predict(texts)], [probability[text] for text in texts])
    (place / "new.txt").write_text("\n".join(texts) + "\n")
    labelled = run.predict_file(place / "new.txt", place / "new.csv", force=True)
    assert [one.values["confidence"] for one in labelled.table.records] == [round(probability[text], 4) for text in texts]
    assert run.result.review.threshold == labelled.options.threshold
    measured = run.evaluate([{"text": line["text"], "label": line["label"]} for line in lines])
    assert measured["loss"] == pytest.approx(run.result.metrics.test.loss, rel=1e-5)


def test_the_result_card_and_the_list_say_what_it_changed(run):
    shown = " ".join(call("runs", "show", run.path)[1].split())
    assert f"calibration error {run.result.calibration.describe()}" in shown
    card = io.StringIO()
    result_card.print_result_card(Console(file=card, width=200), run.result, path=run.path)
    assert f"calibration error {run.result.calibration.describe()}\n" in card.getvalue()
    first, after = run.result.calibration.describe().split(" on the test rows ")
    assert first == f"{run.result.calibration.ece_before:.1%} → {run.result.calibration.ece_after:.1%}"
    assert f"from {run.result.num_validation} validation rows" in after


def test_a_merged_model_takes_the_temperature_along(run, place):
    merged = finewright.export(run.path, output_dir=place / "merged")
    assert (merged.folder / "calibration.json").read_bytes() == (run.path / "model" / "calibration.json").read_bytes()
    assert f"(scores / {run.result.calibration.temperature:g}).softmax" in (merged.folder / "README.md").read_text()


def test_a_damaged_or_missing_temperature_is_not_passed_over(run, place):
    shutil.copytree(run.path, place / "copy")
    path = place / "copy" / "model" / "calibration.json"
    path.write_text(path.read_text().replace('"temperature": ', '"temperature": 1'))
    with pytest.raises(UserError, match=r"calibration\.json: missing, or not what was saved"):
        finewright.open_run(place / "copy").predict(["x"])
    path.unlink()
    with pytest.raises(UserError, match=r"calibration\.json: missing, or not what was saved"):
        finewright.open_run(place / "copy").predict(["x"])


def notices(heard):
    return [(one.level, one.message) for one in heard if isinstance(one, events.Notice) and one.code == "calibration"]


def test_few_rows_are_left_uncalibrated_unless_it_is_wanted(place):
    heard = []
    few = go(place, "few", callbacks=[heard.append], data__validation_fraction=0.1)
    rows = few.result.num_validation
    assert few.result.calibration is None
    assert json.loads((few.path / "model" / "calibration.json").read_text())["temperature"] == 1
    ((level, message),) = notices(heard)
    assert level == "detail"
    assert f"{rows} validation rows are too few, 50 are needed (--set training.calibrate=on " in message
    heard.clear()
    wanted = go(place, "few-on", callbacks=[heard.append], data__validation_fraction=0.1, training__calibrate="on")
    assert wanted.result.calibration.rows == rows
    (message,) = [one for _, one in notices(heard)]
    assert message.startswith("confidences calibrated: temperature ")


def test_without_validation_rows_nothing_is_kept_and_a_wish_is_refused_aloud(place):
    heard = []
    run = go(place, "none", callbacks=[heard.append], data__validation_fraction=0.0, training__calibrate="on")
    assert notices(heard) == [("warning", "confidences are not calibrated: there are no validation rows")]
    assert not (run.path / "model" / "calibration.json").exists()
    assert run.result.calibration is None
    texts = texts_of(run)[:10]
    answered = [one["label"] for one in run.predict(texts, abstain=0.5)]
    assert 5 <= sum(label is not None for label in answered) < 10, "these rows set the threshold"


def test_without_test_rows_the_temperature_is_kept_all_the_same(place):
    run = go(place, "no-test", data__test_fraction=0.0)
    found = run.result.calibration
    assert (found.ece_before, found.ece_after, found.on) == (None, None, None)
    assert found.describe() == f"temperature {found.temperature:.3g} from {found.rows} validation rows"


def test_a_split_that_is_all_right_gives_no_absurd_confidence():
    outputs = np.array([[6.0, 0.0], [0.0, 6.0]] * 100, dtype=np.float32)
    found = calibration.calibrate(TextClassification(("a", "b")), outputs, [0, 1] * 100, wanted="auto")
    sure = found.task.label_probabilities(outputs).max()
    assert compute_probabilities(outputs).max() <= sure < 0.9999
    assert isinstance(found.file, CalibrationFile)
    assert found.metrics["accuracy"] == 1
