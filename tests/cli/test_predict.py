"""`predict` and `evaluate`: label a file, get a file."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from finewright.cli.predict import ScoringProgress, describe_abstention, shorten_place
from finewright.inference.abstention import Abstention
from finewright.runs import reading
from support.commands import call

NEW = "id;Subject;Message;Label\n07;parcel;where is my parcel;x\n08;;;y\n09;invoice;charged twice;z\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text(NEW)
    return tmp_path


def read(path, delimiter=";"):
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))


def test_a_text_that_names_a_file_is_the_file(message_run, place):
    code, out, err = call("predict", message_run.path, "new.csv")
    assert code == 0, err
    assert "new.csv is a file: its 3 rows are labelled" in err
    lines = (place / "new.labelled.csv").read_text().splitlines()
    assert lines[0] == "id;Subject;Message;Label;label;confidence;second_label;second_confidence;needs_review"
    assert lines[1].startswith("07;parcel;where is my parcel;x;")
    assert lines[2] == "08;;;y;;;;;"
    assert lines[3].startswith("09;invoice;charged twice;z;")
    rows = read(place / "new.labelled.csv")
    expected = message_run.predict(["parcel / where is my parcel", "invoice / charged twice"])
    assert [rows[0]["label"], rows[2]["label"]] == [one["label"] for one in expected]
    assert float(rows[0]["confidence"]) == pytest.approx(expected[0]["probability"], abs=6e-5)
    assert "3 rows of new.csv, written to new.labelled.csv" in out
    assert "1 row has no text: its answer is empty" in out
    assert "review: confidence below " in out


def test_one_row_is_one_row(message_run, place):
    (place / "one.csv").write_text("Subject,Message\nparcel,where is it\n")
    _, out, err = call("predict", message_run.path, "one.csv", "--min-confidence", "1")
    assert "its 1 row is labelled" in err
    assert "1 row of one.csv, written to one.labelled.csv" in out
    assert "1 row needs review" in out


def test_an_existing_output_is_kept_unless_forced(message_run, place):
    (place / "new.labelled.csv").write_text("mine")
    code, _, err = call("predict", message_run.path, "new.csv")
    assert (code, (place / "new.labelled.csv").read_text()) == (2, "mine")
    assert "the file exists already" in err
    assert "--force" in err
    assert call("predict", message_run.path, "new.csv", "--force")[0] == 0
    assert len(read(place / "new.labelled.csv")) == 3
    assert not [path.name for path in place.iterdir() if path.name not in ("new.csv", "new.labelled.csv")], "no draft is left"


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.xlsx", "out.csv.gz"])
def test_every_format_has_every_row_and_column(message_run, place, name):
    from finewright.data.dataset import read_table

    pytest.importorskip("openpyxl")
    code, _, err = call("predict", message_run.path, "--file", "new.csv", "-o", name, "--top-k", "2")
    assert code == 0, err
    table = read_table(place / name)
    assert table.columns[:5] == ("id", "Subject", "Message", "Label", "label")
    assert table.columns[-4:] == ("label_1", "confidence_1", "label_2", "confidence_2")
    assert len(table.records) == 3
    assert table.records[0].values["label"] in ("billing", "shipping")
    assert table.records[1].values["label"] in (None, "")
    if name.endswith(("csv", "tsv", "jsonl", "parquet", "gz")):
        assert table.records[0].values["id"] == "07"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["neww.csv"], 3, "did you mean new.csv? To label it as a text"),
        (["./missing"], 3, "check the path. To label it as a text, send it through standard input"),
        (["new.csv", "--top-k", "0"], 2, "Invalid value for '--top-k'"),
        (["new.csv", "a text"], 2, "give one file at a time"),
        (["--file", "new.csv", "a text"], 2, "'a text' are both given"),
        (["folder"], 2, "this is a folder"),
        (["new.csv", "-o", "out.docx"], 2, "cannot write the format 'docx'"),
        (["new.csv", "-o", "nowhere/out.csv"], 2, "no folder nowhere"),
        (["new.csv", "-o", "folder"], 2, "folder"),
        (["new.csv", "-o", "-", "--json"], 2, "both want standard output"),
        (["new.csv", "--min-confidence", "7"], 2, "a share from 0 to 1, found 7"),
        (["a text", "--min-confidence", "0.5"], 2, "about a file with labels"),
        (["new.csv", "--abstain", "0"], 2, "the share of rows to answer, above 0 and at most 1, found 0"),
        (["new.csv", "--abstain", "1.5"], 2, "the share of rows to answer, above 0 and at most 1, found 1.5"),
        (["a text", "--abstain", "nan"], 2, "the share of rows to answer, above 0 and at most 1, found nan"),
        (["new.csv", "--abstain", "abc"], 2, "Invalid value for '--abstain'"),
        (["new.csv", "--abstain", "0.9", "--min-confidence", "0.5"], 2, "both say which rows are not certain enough"),
        (["new.csv", "--text-column", "Body"], 3, "no column 'Body'"),
        ([" "], 3, "an empty text has no label"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_model_is_loaded(message_run, place, words, code, message):
    (place / "folder").mkdir()
    got, out, err = call("predict", message_run.path, *words)
    assert (got, out) == (code, ""), err
    assert message in " ".join(err.split())
    assert sorted(path.name for path in place.iterdir()) == ["folder", "new.csv"]


def test_review_is_by_the_given_confidence_or_the_measured_one(message_run, place):
    out = call("predict", message_run.path, "new.csv", "--min-confidence", "1", "--else", "unsure")[1]
    rows = read(place / "new.labelled.csv")
    assert [row["needs_review"] for row in rows] == ["true", "", "true"]
    assert [row["label"] for row in rows] == ["unsure", "", "unsure"]
    assert {row["second_label"] for row in rows} <= {"billing", "shipping", ""}
    assert "2 rows need review: confidence below 1 (as given; " in out
    assert "least certain first:" in out
    found = message_run.result.review
    assert found.reason == "assumed: 6 validation rows are too few to measure it"
    out = call("predict", message_run.path, "new.csv", "--force")[1]
    assert f"confidence below {found.threshold:g} ({found.reason}" in " ".join(out.split())
    assert all(len(line) <= 80 for line in out.splitlines() if line.startswith("    "))


def confidences(message_run):
    """How certain the run is of the rows of new.csv, as it is written, and the thresholds that its validation rows give."""
    sure = [one["probability"] for one in message_run.predict(["parcel / where is my parcel", "invoice / charged twice"])]
    kept = json.loads((message_run.path / "model" / "calibration.json").read_text())
    return [round(one, 4) for one in sure], kept["coverage"]


def test_the_least_certain_rows_have_no_label(message_run, place):
    sure, points = confidences(message_run)
    point = next(one for one in points if one["num_rows"] >= 0.5 * points[-1]["num_rows"])
    code, out, err = call("predict", message_run.path, "new.csv", "--abstain", "0.5")
    assert code == 0, err
    rows = [row for row in read(place / "new.labelled.csv") if row["id"] != "08"]
    answered = [one >= point["threshold"] for one in sure]
    assert [bool(row["label"]) for row in rows] == answered
    assert [float(row["confidence"]) for row in rows] == sure
    assert [row["needs_review"] == "false" for row in rows] == answered
    counted = f"answered {sum(answered)} of 2 rows ({sum(answered) / 2:.1%})"
    assert point["num_rows"] < 20
    expected = f"{point['num_rows']} validation rows are too few to expect an accuracy from"
    assert f"{counted}; {expected}" in " ".join(out.split())
    told = describe_abstention(Abstention(0.5, 0.8, 10, 4, 0.925, num_validation=40))
    assert told == "answered 4 of 10 rows (40.0%); expected accuracy on answered rows 92.5% (40 validation rows)"
    if not all(answered):
        assert "(50% of the validation rows are at or above it; --abstain changes it)" in " ".join(out.split())


def test_a_text_is_answered_alike_alone_and_among_others(message_run):
    texts = [
        f"{subject} / {text}" for subject in ("parcel", "invoice") for text in ("where is it", "charged twice", "x", "refund")
    ]
    for share in (0.2, 0.5, 0.9):
        together = [one["label"] for one in message_run.predict(texts, abstain=share)]
        assert together == [message_run.predict([text], abstain=share)[0]["label"] for text in texts]
    _, out, err = call("predict", message_run.path, *texts, "--abstain", "0.5", "--json")
    lines = json.loads(out)
    assert [one["label"] for one in lines["predictions"]] == [one["label"] for one in message_run.predict(texts, abstain=0.5)]
    assert all(one["probability"] > 0 for one in lines["predictions"])
    assert lines["abstain"]["num_answered"] == sum(one["label"] is not None for one in lines["predictions"])
    assert f"answered {lines['abstain']['num_answered']} of 8 rows" in " ".join(err.split())


def test_json_of_a_file_has_the_labels_that_the_file_gets(message_run, place):
    code, out, err = call("predict", message_run.path, "new.csv", "--abstain", "0.5", "--json", "-o", "out.csv")
    assert code == 0, err
    written = [row["label"] or None for row in read(place / "out.csv")]
    assert [one["label"] for one in json.loads(out)["predictions"]] == written
    assert call("predict", message_run.path, "new.csv", "--abstain", "0.5", "--json")[1] == out


def test_rows_without_an_answer_may_have_a_label_of_their_own(message_run, place):
    call("predict", message_run.path, "new.csv", "--abstain", "0.01", "--else", "unsure")
    sure, points = confidences(message_run)
    labels = [row["label"] for row in read(place / "new.labelled.csv")]
    assert labels[1] == ""
    assert [labels[0] == "unsure", labels[2] == "unsure"] == [one < points[0]["threshold"] for one in sure]


def test_evaluate_measures_the_answered_rows(message_run, place):
    data = message_run.path.parent / "messages.csv"
    code, out, err = call("evaluate", message_run.path, data, "--abstain", "0.5", "--json")
    assert code == 0, err
    found = json.loads(out)["abstain"]
    call("evaluate", message_run.path, data, "-o", "rows.csv")
    answered = [row for row in read(place / "rows.csv") if float(row["confidence"]) >= found["threshold"]]
    assert (found["num_rows"], found["num_answered"], found["coverage"]) == (60, len(answered), len(answered) / 60)
    assert found["share_right"] == sum(row["right"] == "true" for row in answered) / len(answered)
    out = call("evaluate", message_run.path, data, "--abstain", "0.5")[1]
    shown = f"answered {len(answered)} of 60 rows ({len(answered) / 60:.1%}), accuracy on these {found['share_right']:.1%}"
    assert f"{shown}, threshold {found['threshold']:g}\n" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, err = call("evaluate", message_run.path, data, "--abstain", "2")
    assert (code, out) == (2, "")
    assert "above 0 and at most 1, found 2" in err


def test_texts_that_are_cut_are_said(message_run, place):
    (place / "long.txt").write_text("parcel " * 60 + "\n\nparcel\n")
    code, out, _ = call("predict", message_run.path, "long.txt")
    assert code == 0
    assert "1 text is longer than 24 tokens and was cut: each lost its end" in out
    rows = read(place / "long.labelled.tsv", "\t")
    assert [bool(row["label"]) for row in rows] == [True, False, True]
    assert "1 text is longer than 24 tokens" in call("predict", message_run.path, "parcel " * 60)[2]


def test_standard_input_has_lines_or_a_table(message_run, place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("where is my parcel\n\ncharged twice\n"))
    code, out, err = call("predict", message_run.path, "--json")
    lines = json.loads(out)["predictions"]
    assert code == 0
    assert [line["text"] for line in lines] == ["where is my parcel", "", "charged twice"]
    assert lines[1] == {"text": "", "label": None, "probability": None, "probabilities": {}}
    assert "1 row has no text" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO(NEW))
    code, out, err = call("predict", message_run.path, "-", "--format", "csv")
    assert code == 0, err
    assert out.splitlines()[2] == "08;;;y;;;;;"
    assert "3 rows of standard input" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("parcel\ninvoice\n"))
    out = call("predict", message_run.path, "-", "-o", "-")[1]
    assert out.splitlines()[0].startswith("text\tlabel\tconfidence")


def test_json_of_a_file_writes_no_file(message_run, place):
    code, out, _ = call("predict", message_run.path, "new.csv", "--json")
    assert code == 0
    assert [line["label"] is None for line in json.loads(out)["predictions"]] == [False, True, False]
    assert not (place / "new.labelled.csv").exists()


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_a_console_that_lacks_a_letter_does_not_fail(message_run, place, encoding):
    (place / "new.csv").write_text("Subject,Message\nпривет,שלום 😀\n", encoding="utf-8")
    code = (
        "import sys\nfrom finewright.cli import main\n"
        "for words in (['привет'], ['--json', 'привет'], ['new.csv', '--force', '--min-confidence', '1'], ['нет.csv']):\n"
        f"    sys.argv = ['finewright', 'predict', {str(message_run.path)!r}, *words]\n"
        "    try:\n        main.main()\n"
        "    except SystemExit as stop:\n        print('code', stop.code)\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-X", "utf8=0", "-c", code], env=environment, capture_output=True, check=False)
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 0, err
    assert "this should not happen" not in err
    assert out.splitlines().count("code 0") == 3 - out.splitlines().count("code None"), (out, err)
    assert "code 3" in out
    assert r"\u043f\u0440\u0438" in out
    start = out.index("{\n")
    assert json.JSONDecoder().raw_decode(out[start:])[0]["predictions"][0]["text"] == "привет"


LABELLED = "id;Subject;Message;Team\n1;a;where is my parcel;shipping\n2;b;charged twice;billing\n3;c;pay;SHIPPING \n4;d;x;other\n"


def test_evaluate_leaves_out_or_merges_labels_as_the_options_say(message_run, place):
    (place / "ev.csv").write_text(LABELLED)
    code, _, err = call("evaluate", message_run.path, "ev.csv")
    assert code == 3
    what = "ev.csv:4: 2 of 4 rows, from here on, have labels that the model does not know: 'SHIPPING' (1), 'other' (1)"
    assert what in " ".join(err.split())
    left_out = ("--set", "data.drop_unseen_labels=true")
    code, out, err = call("evaluate", message_run.path, "ev.csv", *left_out, "--json")
    assert (code, json.loads(out)["num_rows"]) == (0, 2), err
    assert "2 of 4 rows left out: labels unseen in training (SHIPPING, other)" in err
    code, out, err = call("evaluate", message_run.path, "ev.csv", *left_out, "--set", "data.merge_similar_labels=true", "--json")
    assert (code, json.loads(out)["num_rows"]) == (0, 3), err
    assert "labels merged: 'SHIPPING' (1 row) is now 'shipping'" in err
    assert "1 of 4 rows left out" in err


def test_evaluate_writes_all_rows_with_the_worst_first(message_run, place):
    data = message_run.path.parent / "messages.csv"
    code, out, err = call("evaluate", message_run.path, data, "-o", "errors.csv")
    assert code == 0, err
    rows = read(place / "errors.csv")
    assert list(rows[0]) == ["id", "Subject", "Message", "Team", "label", "predicted", "confidence", "right"]
    assert sorted(int(row["id"]) for row in rows) == list(range(60))
    right = [row["right"] == "true" for row in rows]
    assert right == sorted(right), "the wrong ones come first"
    assert all((row["Team"] == row["predicted"]) == one for row, one in zip(rows, right, strict=True))
    wrong = [float(row["confidence"]) for row, one in zip(rows, right, strict=True) if not one]
    assert wrong == sorted(wrong, reverse=True), "the surest mistakes come first"
    assert "confusion matrix" in out
    assert f"accuracy {sum(right) / 60:.1%}" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert call("evaluate", message_run.path, data, "-o", "errors.csv")[0] == 2, "it is kept"


def test_evaluate_says_how_many_rows_the_run_was_trained_on(message_run, place):
    import finewright

    whole = message_run.path.parent / "messages.csv"
    trained = message_run.result.num_train
    code, out, err = call("evaluate", message_run.path, whole, "--json")
    assert code == 0
    assert f"warning: {trained} of 60 ({trained / 60:.0%}) rows have texts that the run was trained on" in " ".join(err.split())
    assert json.loads(out)["num_rows"] == 60
    assert json.loads(out)["num_rows_trained_on"] == trained
    (place / "ev.csv").write_text(LABELLED.replace("SHIPPING ", "shipping").replace("other", "billing"))
    assert "trained on" not in call("evaluate", message_run.path, "ev.csv")[2]
    (place / "train.csv").write_text(whole.read_text())
    options = {"data.text_column": "Message", "data.label_column": "Team"}
    run = finewright.train("train.csv", method="bag-of-words", output_dir=place / "run", options=options)
    seen = "rows have texts that the run was trained on"
    assert seen in " ".join(call("evaluate", run.path, whole)[2].split())
    with (place / "train.csv").open("a") as handle:
        handle.write("99;x;another one;billing\n")
    assert seen not in call("evaluate", run.path, whole)[2], "these are not the rows of training"
    (place / "train.csv").unlink()
    code, out, err = call("evaluate", run.path, whole, "--json")
    assert (code, "trained on" in err, json.loads(out)["num_rows_trained_on"]) == (0, False, None)


def test_large_training_files_are_not_read_again_for_a_warning(message_run, place, monkeypatch):
    data = message_run.path.parent / "messages.csv"
    size = data.stat().st_size
    for limit, trained in ((size, message_run.result.num_train), (size - 1, None)):
        monkeypatch.setattr(reading, "MOST_BYTES_READ_AGAIN", limit)
        _, out, err = call("evaluate", message_run.path, data, "--json")
        assert json.loads(out)["num_rows_trained_on"] == trained
        assert ("rows have texts that" in " ".join(err.split())) == (trained is not None)


def test_of_a_folder_the_tables_and_texts_count(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.csv").write_bytes(bytes(60))
    (tmp_path / "train" / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr(reading, "MOST_BYTES_READ_AGAIN", 100)
    assert reading._are_small([tmp_path])
    (tmp_path / "test.txt").write_bytes(bytes(60))
    assert not reading._are_small([tmp_path])


def test_the_mistakes_that_are_shown_are_in_the_order_of_their_confidence(capsys):
    from finewright.cli.console import OutputConsole
    from finewright.cli.evaluate import show_metrics
    from finewright.tasks.metrics import classification_metrics

    measured = classification_metrics(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1]), labels=("a", "b"))
    sure = [0.5, 0.9, 0.6, 0.7, 0.4, 0.8]
    worst = [{"label": "a", "predicted": "b", "probability": one, "text": "x"} for one in sure]
    show_metrics(OutputConsole(), measured | {"worst_mistakes": worst}, measures="labels")
    shown = capsys.readouterr().out.partition("worst mistakes, the surest first: ")[2].splitlines()[1:]
    assert shown == [f"  a, b {one:.2f}  x" for one in (0.9, 0.8, 0.7, 0.6, 0.5)]


def test_many_labels_have_their_confusions_listed(capsys):
    from finewright.cli.console import OutputConsole
    from finewright.cli.evaluate import show_confusions

    labels = [f"label {number}" for number in range(20)]
    confusion = [[3 if row == column else (row == 4) * (column == 7) * 5 for column in range(20)] for row in range(20)]
    show_confusions(OutputConsole(), labels, {"confusion": confusion})
    assert capsys.readouterr().out.splitlines()[1:] == ["  label 4, label 7  5"]
    listed = [{"label": "label 9", "predicted": "label 2", "num_rows": 6}]
    show_confusions(OutputConsole(), labels, {"confusion": [], "confusions": listed})
    assert capsys.readouterr().out.splitlines()[1:] == ["  label 9, label 2  6"]


@pytest.mark.parametrize("count", [3, 30])
def test_confused_types_of_entities_are_a_matrix_of_at_most_80_columns(count, capsys):
    from finewright.cli.console import OutputConsole
    from finewright.cli.evaluate import show_metrics

    types = {f"type number {one:02}": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 9} for one in range(count)}
    confused = {name: {name: 9, "none": 1} for name in types} | {"none": {"type number 00": 1234}}
    measured = {"entity_f1": 0.5, "entity_f1_ci95": [0.4, 0.6], "num_entities": 9, "entity_precision": 0.5, "entity_recall": 0.5}
    measured |= {"token_accuracy": 0.9, "token_accuracy_ci95": [0.8, 1.0], "num_tokens": 99, "worst_mistakes": []}
    show_metrics(OutputConsole(), measured | {"per_type": types, "type_confusion": confused}, measures="tags")
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("labelled (rows) and predicted types (columns)"))
    assert max(map(len, lines[start:])) <= 80
    rows = [line.split() for line in lines[start + 2 :]]
    assert len(rows) == min(count, 10) + (count > 10) + 1
    assert rows[0][:6] == ["type", "number", "00", "1", "9", "0"]
    assert (rows[-1][0], rows[-1][2]) == ("none", "1234")
    assert rows[-2][0] == ("20" if count > 10 else "type")


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("new.csv:12", "new.csv:12"),
        ("a_long_name_of_a_file.csv:12", "…me_of_a_file.csv:12"),
        ("new.xlsx: Tickets row 12", "Tickets row 12"),
        ("new.xlsx: Tickets of the last year row 12", "Tickets of t… row 12"),
        ("a_long_name.parquet: row 123456", "row 123456"),
        ("b.xlsx: A row 7", "b.xlsx: A row 7"),
    ],
)
def test_the_place_of_a_row_is_shortened_where_it_tells_least(where, shown):
    assert shorten_place(where, 20) == shown
    assert len(shown) <= 20


def test_the_time_left_comes_from_what_is_done(monkeypatch):
    progress = ScoringProgress(100)
    monkeypatch.setattr("finewright.cli.predict.time.monotonic", lambda: progress.began + 30)
    assert progress.describe(40, 100, 0.25) == "40/100 rows, 1:30 left"
    assert progress.describe(0, 100, 0.0) == "0/100 rows"
