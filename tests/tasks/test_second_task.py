"""The proof that only tasks know what a task is: a second one, one file that nothing else knows of, runs through everything."""

import json
import random
import sys
import textwrap

import pytest

import finewright
from finewright import tasks
from finewright.core.errors import UserError
from finewright.exporters import merge
from finewright.models import head_spec
from finewright.runs import verify
from support import tiny

NAME = "made-up-amount"
TASK = '''
"""A number for each text: one output without a name, no classes, no accuracy, lower is better."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from finewright.tasks.base import Task
from finewright.tasks.measures import Metric
from finewright.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class Amount(Task):
    name: ClassVar[str] = "made-up-amount"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    problem_type: ClassVar[str] = "regression"
    reads: ClassVar[str] = "pooled"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    metric: ClassVar[Metric] = Metric("mean_error", higher_is_better=False)
    logged_metrics: ClassVar[tuple[str, ...]] = ("mean_error", "loss")
    default_max_length: ClassVar[int] = 24

    @classmethod
    def for_dataset(cls, dataset, *, config):
        return cls(())

    @classmethod
    def for_saved_model(cls, config):
        assert config.num_labels == 1
        return cls(())

    @classmethod
    def assumed(cls, *, num_labels):
        return cls(())

    def targets(self, examples):
        return [int(example.label) for example in examples]

    def loss(self, output, targets):
        return ((output[:, 0].float() - targets) ** 2).sum()

    def weight(self, targets):
        return float(len(targets))

    @property
    def expected_first_loss(self):
        return None

    def start_evaluation(self, targets):
        return AmountEvaluation(targets)

    def predictions(self, texts, outputs):
        return [{"text": text, "amount": float(value)} for text, value in zip(texts, outputs[:, 0], strict=True)]


class AmountEvaluation(Evaluation):
    def __init__(self, targets):
        self.targets, self.values = np.array(targets, dtype=float), np.zeros(len(targets))

    def update(self, rows, outputs):
        self.values[list(rows)] = outputs[:, 0]

    def metrics(self):
        errors = abs(self.values - self.targets)
        return {"num_rows": len(errors), "mean_error": float(errors.mean()), "loss": float((errors**2).mean())}

    def worst_mistakes(self, examples):
        worst = abs(self.values - self.targets).argsort()[::-1][:3]
        return [self.prediction_lines(examples)[row] for row in worst]

    def prediction_lines(self, examples):
        return [
            {"text": example.text, "label": example.label, "amount": float(value), "where": example.where}
            for example, value in zip(examples, self.values, strict=True)
        ]
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, texts with the number of their words, and a folder with the task that is found like the package's own."""
    root = tmp_path_factory.mktemp("second")
    tiny.folder(root / "gpt2")
    words = tiny.WORDS.split()
    draw = random.Random(0)
    rows = [" ".join(draw.sample(words, 2 + number % 4)) for number in range(100)]
    (root / "amounts.csv").write_text("text,label\n" + "".join(f"{row},{len(row.split())}\n" for row in rows))
    (root / "more").mkdir()
    (root / "more" / "made_up_amount.py").write_text(textwrap.dedent(TASK))
    (root / "site").mkdir()
    start = f"import finewright.tasks\nfinewright.tasks.__path__.append({str(root / 'more')!r})\n"
    (root / "site" / "sitecustomize.py").write_text(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "__path__", [*tasks.__path__, str(root / "more")])
        patch.setenv("PYTHONPATH", str(root / "site"))  # of the new process that verifies
        with verify.verifying_with(verify.answer_in_new_interpreter):
            yield root
    sys.modules.pop("finewright.tasks.made_up_amount", None)


OPTIONS = {"task": NAME, "training.max_steps": 30, "training.num_threads": 1, "training.learning_rate": 0.01}


@pytest.fixture(scope="module")
def run(place):
    return finewright.train(place / "amounts.csv", model=place / "gpt2", method="lora", output_dir=place / "run", options=OPTIONS)


def test_it_is_trained_verified_and_measured_by_its_own_metric(run):
    result = json.loads((run.path / "result.json").read_text())
    assert (result["task"], result["verification_difference"]) == (NAME, 0.0)
    measured = result["metrics"]["test"]
    assert measured["mean_error"] < 1.0, "always guessing the mean is wrong by 1.0"
    assert "accuracy" not in measured
    assert len(measured["worst_mistakes"]) == 3
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line["validation"] for line in lines if line.get("validation")]
    assert set(evaluations[0]) == {"mean_error", "loss"}
    assert run.result.metrics.validation.model_extra["mean_error"] == min(one["mean_error"] for one in evaluations)


def test_its_config_says_what_it_is_and_how_long_a_text_may_be(run):
    config = json.loads((run.path / "config.json").read_text())
    assert (config["task"], config["labels"], config["max_length"]) == (NAME, [], 24)
    saved = json.loads((run.path / "model" / "base_config" / "config.json").read_text())
    assert (saved["problem_type"], len(saved["id2label"])) == ("regression", 1)


def test_labels_are_not_checked_as_classes(run):
    codes = {finding["code"] for finding in json.loads((run.path / "checks.json").read_text())["findings"]}
    assert codes <= {"duplicates", "leak"}, "a number may occur once, or in one split alone"


def test_it_predicts_and_evaluates_again(run, place):
    prediction = run.predict(["where is my parcel"])[0]
    assert prediction["amount"] == pytest.approx(4, abs=2)
    assert set(run.evaluate(place / "amounts.csv")) == {"num_rows", "mean_error", "loss", "worst_mistakes"}
    with pytest.raises(UserError, match=f"{NAME} has no labels"):
        run.load(device="cpu").predict_proba(["where is my parcel"])


def test_a_file_gets_what_it_predicts(run, tmp_path):
    (tmp_path / "new.csv").write_text("id,text\n1,where is my parcel\n2,\n")
    found = run.predict_file(tmp_path / "new.csv")
    assert found.output.read_text().splitlines()[0] == "id,text,amount"
    assert found.output.read_text().splitlines()[2] == "2,,"
    assert (found.num_rows, found.num_empty, found.options) == (2, 1, None)
    with pytest.raises(UserError, match=f"{NAME} has no labels, so there is no confidence"):
        run.predict_file(tmp_path / "new.csv", force=True, min_confidence=0.5)
    with pytest.raises(UserError, match=f"{NAME} has no confidences") as caught:
        run.predict(["where is my parcel"], abstain=0.9)
    assert caught.value.where == "abstain"
    with pytest.raises(UserError, match=f"{NAME} has no confidences"):
        run.predict_file(tmp_path / "new.csv", force=True, abstain=0.9)
    assert run.result.calibration is None
    assert not (run.folder.model / "calibration.json").exists()


def test_its_adapter_is_merged_and_compared_by_its_metric(run):
    merged = merge.export_merged(run.folder)
    assert merged.as_json()["metric"] == "mean_error"
    assert merged.change.changed is None
    assert merged.metric_before == pytest.approx(merged.change.metric_after, abs=1e-4)
    assert "| mean_error before, after |" in (merged.folder / "README.md").read_text()


def test_its_run_is_not_continued_as_another_task(run, place):
    with pytest.raises(UserError, match=f"task: '{NAME}' → 'text-classification'"):
        finewright.train(
            place / "amounts.csv",
            model=place / "gpt2",
            method="lora",
            output_dir=run.path,
            options=OPTIONS | {"task": tasks.DEFAULT},
        )


def test_it_is_planned_without_data(place):
    report = finewright.plan(model=place / "gpt2", method="lora", options={"task": NAME})
    assert report.entries[0].training_plan.plan.head_parameters == 32


def test_a_head_without_names_has_one_output():
    assert head_spec.HeadSpec("AutoModelForSequenceClassification", "SEQ_CLS").num_outputs == 1
