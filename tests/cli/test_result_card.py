"""The end of a run in the terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from finewright.cli import number_view, result_card
from finewright.data import checks
from finewright.data.readers.base import SPLIT_NAMES
from finewright.data.splits import Example
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import ChecksFile, RunResult
from finewright.runs.split_metrics import ClassificationMetrics, SplitMetrics


def split(*, accuracy=0.9, low=0.8, majority=0.5):
    per_class = {
        "fees": {"precision": 1.0, "recall": 0.5, "f1": 0.67, "num_rows": 4},
        "atm": {"precision": 0.8, "recall": 1.0, "f1": 0.9, "num_rows": 8},
        "rare": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "num_rows": 1},
    }
    confusion = [[2, 2, 0], [0, 8, 0], [0, 1, 0]]
    known = {"num_rows": 13, "loss": 0.2, "accuracy": accuracy, "accuracy_ci95": (low, 0.95), "macro_f1": 0.8}
    return ClassificationMetrics.model_validate(
        {**known, "majority_accuracy": majority, "per_class": per_class, "confusion": confusion}
    )


def result(**metrics):
    return RunResult.model_validate(
        {
            "method": "lora",
            "model": "mini",
            "num_train": 700,
            "num_validation": 80,
            "trainable_parameters": 50_944,
            "head_parameters": 100,
            "total_parameters": 6_969_088,
            "trainable_fraction": 50_944 / 6_969_088,
            "epochs": 2.0,
            "steps": 24,
            "best_step": 24,
            "train_seconds": 31.2,
            "saving_seconds": 1.2,
            "planned_seconds": 20.0,
            "stage_seconds": {"read": 0.1, "plan": 4.0, "load": 3.0, "train": 33.0, "save": 0.2, "evaluate": 2.0, "verify": 9.0},
            "peak_memory_bytes": 106_000_000,
            "planned_peak_memory_bytes": 106_000_000,
            "metrics": metrics,
            "artifact_bytes": 400_000,
        }
    )


def printed(one, *, width=200):
    console = Console(file=io.StringIO(), width=width)
    result_card.print_result_card(console, one, path=Path("runs/my run"))
    return console.file.getvalue()


def test_the_card_says_what_counts_first_and_ends_with_commands_that_run():
    lines = printed(result(test=split())).splitlines()
    assert [line.strip() for line in lines if line.strip()] == [
        "90.0% of 13 unseen texts right (95% interval 80.0% to 95.0%)",
        "always predicting the most frequent label: 50.0%",
        "weakest label: fees, 2 of 4 found, most often taken for atm",
        "lora trained 50,944 of 6,969,088 parameters (0.73%); 400 kB saved and verified: a new process loads it and gets "
        "equal scores",
        "51 s in all: plan 4 s, load 3 s, train 33 s, score 2 s, verify 9 s; training itself 30.0 s (50% more than the planned "
        "20.0 s)",
        "peak memory 106 MB (as planned)",
        "saved in     runs/my run",
        "label texts  finewright predict 'runs/my run' 'a text of yours'",
        "all numbers  finewright runs show 'runs/my run'",
    ]


def test_test_texts_that_are_also_in_training_are_not_called_unseen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("runs/my run"))
    folder.path.mkdir(parents=True)
    rows = {name: [Example(f"{name} {number}", "a", f"{name}.csv:{number}") for number in range(9)] for name in SPLIT_NAMES}
    again = rows["train"][0]
    for name, shown in (("test", "test texts"), ("validation", "unseen texts"), ("train", "unseen texts")):
        groups = checks.group_repeated_texts(rows | {name: [*rows[name], again]})
        found = [one.as_json() for one in checks.find_duplicates(rows | {name: [*rows[name], again]}, groups)]
        assert found, "a text stands in two splits, or twice in one"
        schema.write(folder.checks, ChecksFile.model_validate({"findings": found}))
        assert f"90.0% of 13 {shown} right" in printed(result(test=split()))


def test_a_weak_baseline_is_not_advised_flags_that_it_lacks():
    said = printed(result(test=split(low=0.4)).model_copy(update={"steps": 0, "method": "bag-of-words"}))
    assert "no better than always predicting the majority class" in said
    assert "--lr" not in said
    assert "--epochs" not in said


def test_a_command_is_printed_so_that_it_runs_for_a_folder_with_a_leading_hyphen():
    console = Console(file=io.StringIO(), width=200)
    result_card.print_result_card(console, result(test=split()), path=Path("-dash"))
    assert "finewright predict ./-dash 'a text of yours'" in console.file.getvalue()


def test_an_early_stop_is_said_with_the_time_it_saved_and_measured_by_the_plan_for_its_steps():
    stopped = {"stopped_early": True, "epochs": 4.0, "steps": 40, "planned_epochs": 13.0, "planned_steps": 130}
    said = printed(result(test=split()).model_copy(update={**stopped, "planned_seconds": 97.5}))
    assert "stopped early after epoch 4 of 13, saved about 1:08\n" in said, "90 more steps at 0.75 s each"
    assert "training itself 30.0 s (as planned)" in said


def test_without_test_rows_the_validation_rows_are_named():
    assert "90.0% of 13 validation texts right" in printed(result(validation=split()))
    assert "% interval" not in printed(result())


@pytest.mark.parametrize(("low", "is_better"), [(0.4, False), (0.9, True)])
def test_a_result_no_better_than_the_majority_is_reported_with_what_may_help(low, is_better):
    said = result_card.compare_with_majority(split(low=low))
    assert ("no better than always predicting the majority class (50.0%)" in said) != is_better
    assert ("half the learning rate (--lr)" in said) != is_better


def test_a_bag_of_words_is_one_line_and_advice_where_it_is_as_good():
    assert result_card.compare_with_bag_of_words(result(test=split()), split()) == ""
    scores = {"majority": {"accuracy": 0.5, "accuracy_ci95": (0.3, 0.7)}}
    for accuracy, said in (
        (0.7, "a bag of words, which trains in seconds: 70.0% (95% interval 60.0% to 80.0%)"),
        (0.9, "a bag of words does as well here (90.0%): `--method bag-of-words` trains one in seconds"),
        (0.95, "a bag of words does better here (95.0%): `--method bag-of-words` trains one in seconds"),
    ):
        known = {**scores, "bag-of-words": {"accuracy": accuracy, "accuracy_ci95": (0.6, 0.8)}}
        one = RunResult.model_validate({**result(test=split()).model_dump(), "baselines": known})
        assert result_card.compare_with_bag_of_words(one, split()) == said
        assert said in printed(one)


def test_a_baseline_has_no_peak_memory():
    one = result(test=split()).model_copy(update={"steps": 0, "epochs": 0.0})
    assert "peak memory" not in printed(one)


def test_no_label_is_weakest_when_all_are_found():
    one = split()
    found = {name: own.model_copy(update={"recall": 1.0}) for name, own in one.per_class.items()}
    assert result_card.describe_weakest_label(one.model_copy(update={"per_class": found})) == ""


def test_what_nothing_was_measured_on_is_said():
    few, none = (one.model_copy(update={"num_validation": 0}) for one in (result(test=split()), result()))
    assert "the test texts alone say how good they are" in printed(few)
    assert "how good it is on new ones is not known" in printed(none)
    kept = few.model_copy(update={"num_validation": 40})
    baseline = few.model_copy(update={"steps": 0})
    for one in (kept, baseline):
        assert result_card.describe_missing_rows(one) == ""


@pytest.mark.parametrize(("steps", "advice"), [(24, "more rows or epochs may help"), (0, "more rows may help")])
def test_a_baseline_of_numbers_is_not_advised_to_take_more_epochs(steps, advice):
    measured = {"num_rows": 9, "loss": 1.0, "rmse": 2.0, "rmse_ci95": (1.5, 2.5), "mean_rmse": 2.0}
    one = result().model_copy(update={"steps": steps})
    (line, *_) = number_view.compare_numbers(one, SplitMetrics.model_validate(measured))
    assert line.endswith(f"(RMSE 2); {advice}")


def test_of_very_many_labels_the_weakest_one_is_named_with_its_most_frequent_confusion():
    classes = {f"label {number}": {"f1": 1.0, "recall": 1.0, "num_rows": 8} for number in range(3)}
    classes["label 1"] |= {"recall": 0.25}
    values = {
        "num_rows": 24,
        "loss": 1.0,
        "accuracy": 0.7,
        "accuracy_ci95": (0.5, 0.9),
        "macro_f1": 0.7,
        "majority_accuracy": 0.3,
    }
    listed = [{"label": "label 1", "predicted": "label 2", "num_rows": 6}]
    one = ClassificationMetrics.model_validate(values | {"per_class": classes, "confusions": listed})
    weakest = "weakest label: label 1, 2 of 8 found"
    assert result_card.describe_weakest_label(one) == f"{weakest}, most often taken for label 2"
    assert result_card.describe_weakest_label(one.model_copy(update={"confusions": []})) == weakest
