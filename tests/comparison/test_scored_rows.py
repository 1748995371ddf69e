"""Comparisons whose predictions are no labels: the same rows for all, one metric, no word of classes."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from finewright.cli import compare_view
from finewright.comparison import results, scored_rows, summary
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.report import document, figures, tables
from finewright.comparison.report import page as page_module
from finewright.comparison.schema import BaselineFile, ComparisonResultsFile, MethodRow
from finewright.comparison.score_table import ComparisonSummary
from finewright.core.errors import UserError
from finewright.runs import schema
from support import made_language as made
from support.markup import read as read_markup

CLASS_WORDS = ("accuracy", "confus", "macro F1", "label", "calibration", "majority")


@pytest.fixture
def folder(tmp_path):
    place = ComparisonFolder(tmp_path)
    made.write_split(place)
    for seed in (0, 1):
        made.finish(place, f"lora-all-seed{seed}", {0: 1.0, 1: 0.5, 2: 0.75, 4: None, 5: None})
        made.finish(place, f"scratch-all-seed{seed}", {0: 0.25, 1: 0.5, 2: 0.0, 3: 1.0, 4: None})
    made.write_baseline(place, "untuned", {0: 0.0, 1: 0.0, 2: 0.5, 3: 0.5})
    made.write_baseline(place, "nearest-answer", {0: 0.5, 1: 1.0, 2: 1.0, 3: 1.0})
    return place


def read(place):
    return results.read_results(made.SPEC, place, labels=(), reasons={}, failures={"few-shot": "no room"})


def test_all_are_compared_on_the_rows_that_all_have_a_score_of(folder):
    table = read(folder)
    assert list(table.rows) == [0, 1, 2], "row 3 is too long for lora"
    scores = {entry.name: entry.predictions.scores.mean for entry in table.measured}
    assert scores == pytest.approx({"nearest-answer": 2.5 / 3, "lora": 0.75, "scratch": 0.25, "untuned": 0.5 / 3})
    assert [entry.name for entry in table.measured] == ["nearest-answer", "lora", "scratch", "untuned"]
    assert (table.metric.name, table.metric.title) == ("json_fields", "right JSON fields")
    assert {entry.name: entry.reasons for entry in table.entries if entry.reasons} == {"few-shot": ["no room"]}
    notes = results.build_notes(table, made.SPEC, jobs=1, threads=1, num_test=6)
    assert notes[0].startswith("Scores are of the 3 of 6 test rows that all of them have a score of")


def test_of_equal_scores_the_lower_loss_is_first():
    entries = [
        made.entry("lora", 0.8, number=1),
        replace(made.entry("full", 0.8, number=1), results=made.entry("x", 0.5).results),
    ]
    assert [entry.name for entry in made.standing(entries).entries] == ["full", "lora"]


def test_other_baselines_are_not_listed(folder):
    assert {entry.name for entry in read(folder).entries if entry.kind == "baseline"} == {"untuned", "few-shot", "nearest-answer"}


def test_keys_without_a_meaning_are_null_and_the_score_has_its_own(folder):
    rows = {row.method: schema.dump(row) for row in results.build_method_rows(read(folder), folder)}
    json.dumps(rows, allow_nan=False)
    lora = rows["lora"]
    for key in ("accuracy", "accuracy_ci95", "accuracies", "macro_f1", "macro_f1_ci95", "confusion", "calibration_error"):
        assert lora[key] is None, key
    assert (lora["score"], lora["scores"]) == (pytest.approx(0.75), [0.75, 0.75])
    assert lora["score_ci95"][0] <= 0.75 <= lora["score_ci95"][1]
    assert lora["test_metrics"] == {"loss": 1.5, "perplexity": pytest.approx(4.4817, abs=1e-4), "token_accuracy": 0.6}
    assert rows["nearest-answer"]["test_metrics"] == {}, "it has no loss"
    assert rows["few-shot"]["score"] is None
    for row in results.build_curve_rows(read(folder)):
        assert (row.accuracy, row.macro_f1) == (None, None)
        assert row.score_ci95[0] <= row.score <= row.score_ci95[1]


def test_a_run_with_another_metric_is_left_out_with_the_reason(folder):
    made.finish(folder, "scratch-all-seed1", {0: 1.0, 1: 1.0}, metric="rouge_l")
    table = read(folder)
    reasons = {entry.name: entry.reasons for entry in table.entries if entry.reasons}
    assert reasons["scratch"] == ["its answers are measured by ROUGE-L, those of the others by right JSON fields"]
    assert "scratch" not in table.summaries
    assert list(table.rows) == [0, 1, 2]


def test_without_answers_the_share_of_right_tokens_of_each_row_counts(tmp_path):
    place = ComparisonFolder(tmp_path)
    made.write_split(place)
    for name in made.SPEC.candidates:
        for seed in (0, 1):
            made.finish(place, f"{name}-all-seed{seed}", dict.fromkeys(range(6)))
    table = read(place)
    assert (table.metric.name, table.metric.title) == ("token_accuracy", "token accuracy")
    assert table.summaries["lora"].score == 0.5
    assert table.more_metrics == ("loss", "perplexity")


def test_several_parts_of_a_row_count_as_one(tmp_path):
    place = ComparisonFolder(tmp_path)
    made.write_split(place, rows=1)
    made.finish(place, "lora-all-seed0", {0: None})
    run = read(place).entries[0].runs[0]
    line = json.loads(run.predictions.read_text())
    made.write_lines(run.predictions, [line, line | {"token_accuracy": 1.0}])
    assert read(place).summaries["lora"].score == 0.75


@pytest.mark.parametrize("change", [{"where": "test.jsonl:9"}, {"where": "elsewhere"}, {"label": "another answer"}])
def test_a_run_on_other_rows_is_refused(folder, change):
    path = folder.run("lora-all-seed0") / "predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    made.write_lines(path, [lines[0] | change, *lines[1:]])
    with pytest.raises(UserError, match="measured on other test rows"):
        read(folder)


def test_no_common_row_is_said_and_not_hidden(folder):
    made.write_baseline(folder, "nearest-answer", {4: 1.0})
    table = read(folder)
    assert table.measured == []
    assert ["no test row has a score of every method"] in [entry.reasons for entry in table.entries]
    assert scored_rows.common_rows([]) == []


def test_rows_with_different_scores_come_with_their_answers(folder):
    found = results.build_disagreement_rows(read(folder), folder, made.SPEC)
    assert [line.text for line in found] == ["question 0", "question 2"]
    assert found[0].scores == {"lora": 1.0, "scratch": 0.25}
    assert found[0].predicted == {"lora": "lora-all-seed0 0", "scratch": "scratch-all-seed0 0"}
    assert tables._describe_predictions(found[1]) == "lora 75%: lora-all-seed0 2; scratch 0%: scratch-all-seed0 2"


def results_file(table, place, **changes):
    sentences = summary.summarise(table)
    test = {"train": 100, "validation": 20, "test": 90}
    return ComparisonResultsFile(
        task=made.TASK, metric=table.metric.name, metric_words=table.metric.title, num_scored=80,
        verdict=" ".join(sentences), verdict_sentences=sentences,
        methods=results.build_method_rows(table, ComparisonFolder(place)),
        pairs=[vars(pair) | {"told_apart": pair.is_significant} for pair in table.pairs],
        curve=results.build_curve_rows(table), ways=["lora", "full", "scratch"], seeds=[0, 1], train_sizes=["all"],
        search={}, data={"source": "chats.jsonl", "name": "chats", "rows": test, "labels": []}, model={"name": "mini"},
        budget_bytes=0, jobs=1, threads=1, notes=[], findings=[], disagreements=[], num_disagreements=0, command="finewright",
        versions={}, hardware={},
    ).model_copy(update=changes)  # fmt: skip


def test_the_report_speaks_of_the_metric_and_of_no_classes(tmp_path):
    table = made.standing(made.usual(tmp_path))
    html = document.html(page_module.build_document(table, file=results_file(table, tmp_path)))
    text = document.markdown(page_module.build_document(table, file=results_file(table, tmp_path)))
    for found in (
        "right JSON fields",
        "loss",
        "perplexity",
        "token accuracy",
        "few-shot",
        "nearest-answer",
        "randomisation test",
    ):
        assert found in text, found
    body = text.replace("token accuracy", "")
    assert [word for word in CLASS_WORDS if word in body] == []
    assert read_markup(html).tags.count("svg") > 3
    assert "right JSON fields, 95% interval" in str(figures.by_share(table))
    assert "Score (right JSON fields) against training time" in str(figures.by_seconds(table))


def test_the_verdict_says_what_training_was_worth():
    first, second = summary.summarise(made.standing(made.usual()))
    assert first.startswith("By right JSON fields, ")
    assert "do not differ significantly here; all others are worse" in first
    assert "ine-tuning was worth " in second
    assert "the best baseline, nearest-answer" in second
    assert [word for word in CLASS_WORDS if word in f"{first} {second}"] == []


def test_the_terminal_and_python_show_the_score(tmp_path):
    file = results_file(made.standing(made.usual()), tmp_path)
    console = Console(file=io.StringIO(), width=80)
    compare_view.show(file, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "loss" in text
    assert [word for word in CLASS_WORDS if word in text] == []
    head, first, *_ = str(ComparisonSummary.from_file(file)).splitlines()
    assert head.split()[:4] == ["method", "right", "JSON", "fields"]
    assert first.split()[0] == file.methods[0].method


def test_files_of_earlier_versions_have_the_accuracy_as_their_score(tmp_path):
    row = schema.dump(results.build_method_rows(made.standing(made.usual()), ComparisonFolder(tmp_path))[0])
    old = {name: value for name, value in row.items() if name not in ("score", "score_ci95", "scores", "test_metrics")}
    old |= {"accuracy": 0.9, "accuracy_ci95": [0.8, 1.0], "accuracies": [0.9]}
    read_back = MethodRow.model_validate(old)
    assert (read_back.score, read_back.score_ci95, read_back.scores) == (0.9, (0.8, 1.0), [0.9])
    assert ComparisonResultsFile.model_fields["metric"].default == "accuracy"


def test_a_baseline_file_is_read_as_it_was_written(folder):
    found = schema.read(BaselineFile, folder.baseline("untuned")).sizes["all"]
    assert (found.rows, found.scores, found.probability, found.train_seconds) == ([0, 1, 2, 3], [0.0, 0.0, 0.5, 0.5], [], None)
    assert found.metrics.model_dump()["answers"]["metric"] == "json_fields"
