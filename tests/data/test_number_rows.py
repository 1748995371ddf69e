"""Rows with numbers: which column, which kind of target, which rows are refused, and how they are split."""

import decimal
import json
import random

import pytest

from finewright.core.config import DataConfig, RunConfig
from finewright.core.errors import UserError
from finewright.data import dataset
from finewright.data.dataset import DatasetCache, detect_row_kind
from finewright.data.tables import to_table
from finewright.planning import task_choice

DRAW = random.Random(0)
WORDS = ["parcel", "invoice", "refund", "jacket", "tent", "broken", "zip", "pay", "ship", "where", "arrive"]


def text(number=0):
    return f"{' '.join(DRAW.sample(WORDS, 5))} {number}"


def write(path, values, *, header="text,score"):
    path.write_text(header + "\n" + "".join(f'"{text(row)}","{value}"\n' for row, value in enumerate(values)))
    return path


def kind_of(path, **options):
    return detect_row_kind(path, options=DataConfig(**options))


@pytest.mark.parametrize(
    ("header", "values", "kind"),
    [
        ("text,score", [f"0.{row:03}" for row in range(60)], "number"),
        ("text,label", [f"{row / 7:.2f}" for row in range(60)], "number"),
        ("review,rating", [f"{row % 8 + 0.5}" for row in range(60)], "number"),
        ("text,score", [f"{row % 8},5" for row in range(60)], "number"),
        ("text,price", [str(199 + 17 * row) for row in range(60)], "number"),
        ("text,age", [f"{row / 3:.1f}" for row in range(60)], "number"),
        ("text,label", [str(row % 3) for row in range(60)], "labelled"),
        ("text,label", [str(row % 2) for row in range(60)], "labelled"),
        ("text,label", [f"{row % 2}.0" for row in range(60)], "labelled"),
        ("text,stars", [str(row % 5 + 1) for row in range(60)], "labelled"),
        ("text,label", [str(row % 77) for row in range(770)], "labelled"),
        ("text,label", ["spam" if row % 2 else "ham" for row in range(60)], "labelled"),
        ("text,label", ["true" if row % 2 else "false" for row in range(60)], "labelled"),
    ],
)
def test_the_values_tell_numbers_from_classes(tmp_path, header, values, kind):
    assert kind_of(write(tmp_path / "rows.csv", values, header=header))[0] == kind


def test_a_label_beside_a_number_is_the_target(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label,score\n" + "".join(f"{text(row)},{'ab'[row % 2]},{row / 7:.2f}\n" for row in range(60)))
    assert kind_of(path)[0] == "labelled"
    assert kind_of(path, label_column="score")[0] == "number"


def test_numbers_in_json_are_numbers_too(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text(row), "label": row / 7}) + "\n" for row in range(60)))
    assert kind_of(path)[0] == "number"


def test_whole_numbers_that_may_be_both_are_asked_about(tmp_path):
    path = write(tmp_path / "rows.csv", [str(row % 101) for row in range(1010)], header="text,result")
    with pytest.raises(UserError, match="'result' has 101 different whole numbers from 0 to 100, which may be amounts") as caught:
        kind_of(path, label_column="result")
    assert caught.value.fix == "--task regression, or --task text-classification"


def test_stars_are_classes_and_the_other_reading_is_said(tmp_path):
    path = write(tmp_path / "rows.csv", [str(row % 5 + 1) for row in range(60)], header="text,stars")
    settings, said = task_choice.choose_task(RunConfig(), path, datasets=DatasetCache())
    assert settings.task == "text-classification"
    assert said == (
        "task: text-classification, as 'stars' has the 5 whole numbers from 1 to 5; --task regression predicts a number instead"
    )
    rows = dataset.read_dataset(path, options=DataConfig(), row_kind="number")
    assert {row.value for row in rows.train} == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert rows.labels == ()


def test_rows_without_a_finite_number_are_named(tmp_path):
    path = write(tmp_path / "rows.csv", [*[f"{row / 7:.2f}" for row in range(40)], "NaN", "inf", "", "four"])
    with pytest.raises(UserError) as caught:
        dataset.read_dataset(path, options=DataConfig(), row_kind="number")
    said = str(caught.value)
    for place in ("rows.csv:42: the number is not finite: NaN", "rows.csv:43: the number is not finite: inf"):
        assert place in said
    assert "rows.csv:44: no number" in said
    assert "rows.csv:45: wanted a number, found 'four'" in said
    found = dataset.read_dataset(path, options=DataConfig(skip_invalid_rows=True), row_kind="number")
    assert sum(len(part) for part in (found.train, found.validation, found.test)) == 40
    assert any("4 rows dropped" in note for note in found.notes)


def test_decimal_commas_are_read_and_said(tmp_path):
    path = write(tmp_path / "rows.csv", ["3,5", "1.234,25", *["2,5"] * 30])
    found = dataset.read_dataset(path, options=DataConfig(test_fraction=0), row_kind="number")
    assert [row.value for row in found.train[:2]] == [3.5, 1234.25]
    assert "rows.csv: numbers have decimal commas: '3,5' is read as 3.5" in found.notes


def test_every_range_of_values_is_in_every_split(tmp_path):
    values = [f"{row / 10:.1f}" for row in range(400)]
    found = dataset.read_dataset(write(tmp_path / "rows.csv", values), options=DataConfig(), row_kind="number")
    assert (len(found.test), len(found.validation)) == (60, 30)
    for part in (found.test, found.validation):
        assert [sum(low <= row.value < low + 10 for row in part) / len(part) for low in (0, 10, 20, 30)] == pytest.approx(
            [0.25] * 4, abs=0.07
        )
    assert any("stratified by ranges of the values" in note for note in found.notes)


def test_the_number_is_part_of_the_fingerprint(tmp_path):
    paths = [write(tmp_path / "rows.csv", ["1.5", "2.5", last]) for last in ("3.5",)]
    first = dataset.read_dataset(paths[0], options=DataConfig(), row_kind="number").fingerprint
    content = paths[0].read_text()
    paths[0].write_text(content.replace("3.5", "3.6"))
    assert dataset.read_dataset(paths[0], options=DataConfig(), row_kind="number").fingerprint != first
    paths[0].write_text(content.replace("3.5", "3.50"))
    assert dataset.read_dataset(paths[0], options=DataConfig(), row_kind="number").fingerprint == first


def rows_of(header, make, count=240):
    return [dict(zip(header.split(","), make(row), strict=True)) for row in range(count)]


@pytest.mark.parametrize(
    ("header", "make"),
    [
        ("text,label", lambda row: (text(row), row % 24 * 7)),
        ("text,label", lambda row: (text(row), 100 + row % 30)),
        ("text,label", lambda row: (text(row), row % 77)),
        ("text,intent_id", lambda row: (text(row), row % 23 * 3)),
        ("text,target", lambda row: (text(row), row % 30 * 2)),
    ],
)
def test_whole_numbers_that_recur_in_a_column_of_classes_are_never_taken_for_amounts_unasked(header, make):
    with pytest.raises(UserError, match="which may be amounts or numbered classes") as caught:
        kind_of(to_table(rows_of(header, make)), label_column=header.split(",")[1])
    assert "--task text-classification" in caught.value.fix


def test_classes_that_a_sample_of_the_rows_lacks_are_no_gaps():
    rows = rows_of("text,label", lambda row: (f"text {row}", row // 5), count=12_000)
    assert kind_of(to_table(rows))[0] == "labelled"


def test_numbers_that_have_names_in_another_column_are_classes():
    named = rows_of("text,label,label_text", lambda row: (text(row), row % 60 * 2, f"class {row % 60}"))
    kind, reason = kind_of(to_table(named))
    assert kind == "labelled"
    assert "of which 'label_text' has the names" in reason
    priced = rows_of("text,label,label_text", lambda row: (text(row), 199 + row * 17, f"about {row % 7}"))
    assert kind_of(to_table(priced))[0] == "number"


@pytest.mark.parametrize(
    ("header", "make", "kind"),
    [
        ("text,doc_id", lambda row: (text(row), row * 31 % 997), "conversation"),
        ("text,nth", lambda row: (text(row), row + 100), "conversation"),
        ("text,n_tokens", lambda row: (text(row), row * 31 % 997), "conversation"),
        ("text,timestamp", lambda row: (text(row), 1_600_000_000 + 31 * row), "conversation"),
        ("text,toxicity", lambda row: (text(row), row * 31 % 997 / 997), "number"),
        ("text,score", lambda row: (text(row), row + 100), "number"),
    ],
)
def test_numbers_that_collections_of_texts_have_of_each_text_are_no_target(header, make, kind):
    assert kind_of(to_table(rows_of(header, make)))[0] == kind


def test_pairs_with_one_column_of_decimals_of_any_name_are_rated():
    rows = rows_of("sentence_A,sentence_B,pair_ID,relatedness_score", lambda row: (text(row), text(row), row, row * 31 % 97 / 9))
    assert kind_of(to_table(rows))[0] == "number"
    found = dataset.read_dataset(to_table(rows), options=DataConfig(), row_kind="number")
    assert (found.columns.texts, found.columns.label) == (("sentence_A", "sentence_B"), "relatedness_score")
    judged = [{**row, "judgment": "yes" if place % 3 else "no"} for place, row in enumerate(rows)]
    assert kind_of(to_table(judged))[0] == "labelled"
    assert kind_of(to_table([{"question": row["sentence_A"], "answer": row["sentence_B"], "votes": 0.5} for row in rows]))[0] == (
        "conversation"
    )


def test_stars_are_the_label_beside_other_columns_with_few_values():
    rows = rows_of("review,stars,product", lambda row: (text(row), row % 5 + 1, "ab"[row % 2]))
    assert kind_of(to_table(rows))[0] == "labelled"
    assert dataset.read_dataset(to_table(rows), options=DataConfig()).columns.label == "stars"


def test_exact_numbers_are_numbers():
    rows = rows_of("text,score", lambda row: (text(row), decimal.Decimal(row) / 8))
    assert kind_of(to_table(rows))[0] == "number"
    found = dataset.read_dataset(to_table(rows), options=DataConfig(test_fraction=0), row_kind="number")
    assert all(row.value * 8 == int(row.text.split()[-1]) for row in found.train)


@pytest.mark.parametrize("apart", [True, False])
def test_all_splits_write_numbers_in_one_way(tmp_path, apart):
    """`1.250` alone may be 1.25; beside `3,5` it is 1250."""
    write(tmp_path / "train.csv", ["1.234,5", "3,5", "1.250"] * 10)
    write(tmp_path / "test.csv", ["1.250", "2.300"])
    source, test = (tmp_path / "train.csv", tmp_path / "test.csv") if apart else (tmp_path, None)
    assert [row.value for row in dataset.read_dataset(source, options=DataConfig(), test=test, row_kind="number").test] == [
        1250,
        2300,
    ]
    write(tmp_path / "train.csv", ["85%", "12.5%"] * 10)
    write(tmp_path / "test.csv", ["0.85", "0.3"])
    with pytest.raises(UserError, match="some numbers are percent and others are not"):
        dataset.read_dataset(source, options=DataConfig(), test=test, row_kind="number")


def test_a_decimal_comma_is_asked_for_where_no_number_is_a_text():
    rows = rows_of("text,score", lambda row: (text(row), row / 7), count=40)
    found = dataset.read_dataset(to_table(rows), options=DataConfig(decimal="comma"), row_kind="number")
    assert len(found.train) + len(found.validation) + len(found.test) == 40


def test_few_whole_numbers_in_a_column_of_scores_are_classes_and_the_other_reading_is_said():
    rows = rows_of("text,score", lambda row: (text(row), row % 11 * 10))
    assert kind_of(to_table(rows)) == (
        "labelled",
        "'score' has 11 different whole numbers; --task regression predicts a number instead",
    )


def test_a_column_without_any_number_is_one_fault(tmp_path):
    path = write(tmp_path / "rows.csv", ["good", "bad"] * 20, header="text,label")
    with pytest.raises(UserError, match="no cell of 'label' is a number, such as 'good'") as caught:
        dataset.read_dataset(path, options=DataConfig(skip_invalid_rows=True), row_kind="number")
    assert "--task text-classification" in caught.value.fix


def test_the_only_column_of_decimals_beside_texts_is_the_target():
    rows = rows_of("query,product,relevance", lambda row: (text(row), text(row), (1, 1.33, 2.67, 3)[row % 4]))
    assert kind_of(to_table(rows))[0] == "number"
    beside = [{**row, "kind": "ab"[place % 2]} for place, row in enumerate(rows)]
    assert kind_of(to_table(beside))[0] == "labelled"
    corpus = rows_of("text,url,quality", lambda row: (text(row), f"https://example.org/{row}", row / 7))
    assert kind_of(to_table(corpus))[0] == "conversation"


@pytest.mark.parametrize("header", ["text,year", "tweet,year", "review,n_votes"])
@pytest.mark.parametrize("different", [12, 60])
def test_whole_numbers_that_may_only_be_known_of_each_text_are_asked_about(tmp_path, header, different):
    path = write(tmp_path / "rows.csv", [str(1950 + row % different) for row in range(240)], header=header)
    name = header.split(",")[1]
    if header == "tweet,year" and different == 12:
        assert kind_of(path)[0] == "labelled"  # as any column of few values beside one of texts, and said
        return
    with pytest.raises(UserError, match=f"'{name}' has {different} different whole numbers from 1950 to") as caught:
        kind_of(path)
    assert caught.value.fix.startswith(f"--task regression learns '{name}', --task text-generation the texts alone")
    assert kind_of(path, label_column=name)[0] == ("number" if different == 60 else "labelled")


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("score", [str(1950 + row) for row in range(60)], "number"),
        ("review_score", [str(1950 + 3 * row) for row in range(60)], "number"),
        ("price_eur", [str(199 + 17 * row) for row in range(60)], "number"),
        ("toxic", [str(row % 2) for row in range(60)], "labelled"),
        ("polarity", [str(row % 3 - 1) for row in range(60)], "labelled"),
        ("mood", [str(row % 5 + 1) for row in range(60)], "labelled"),
    ],
)
def test_names_of_scores_and_numbers_as_of_classes_need_no_question(tmp_path, name, values, kind):
    assert kind_of(write(tmp_path / "rows.csv", values, header=f"text,{name}"))[0] == kind


def rows_for_model(path, trained, **options):
    return dataset.read_unlabelled_rows_for_model(path, options=DataConfig(**options), row_kind="number", trained=trained).rows


def trained_on(tmp_path, values):
    path = write(tmp_path / "train.csv", values)
    return dataset.read_dataset(path, options=DataConfig(), row_kind="number").columns


@pytest.mark.parametrize(("values", "decimal", "first"), [(["3,5", "12,25"], "comma", 1.25), (["3.5", "12.25"], "point", 1250)])
def test_another_file_writes_decimals_as_the_training_rows(tmp_path, values, decimal, first):
    """`1,250` alone may be 1.25 or 1250."""
    trained = trained_on(tmp_path, values * 30)
    assert trained.decimal == decimal
    new = write(tmp_path / "new.csv", ["1,250", "2,500"])
    assert [row.value for row in rows_for_model(new, trained)] == [first, 2 * first]
    other, cell = ("point", "0.75") if decimal == "comma" else ("comma", "0,75")
    new = write(tmp_path / "new.csv", [cell, "7"])
    with pytest.raises(
        UserError, match=f"'{cell}' has a decimal {other}, and the numbers .* trained on a decimal {decimal}"
    ) as caught:
        rows_for_model(new, trained)
    assert caught.value.fix == f"--set data.decimal={other} reads this file so"
    assert [row.value for row in rows_for_model(new, trained, decimal=other)] == [0.75, 7]


def test_whole_numbers_do_not_tell_how_decimals_are_written(tmp_path):
    trained = trained_on(tmp_path, [str(row * 7) for row in range(60)])
    assert (trained.decimal, trained.percent) == ("", False)
    new = write(tmp_path / "new.csv", ["3,5", "2,5"])
    assert [row.value for row in rows_for_model(new, trained)] == [3.5, 2.5]
    assert trained_on(tmp_path, ["1"] * 30 + ["2"] * 30).decimal == ""


@pytest.mark.parametrize(("values", "new"), [(["85%", "12%"], ["0.85", "0.12"]), (["0.85", "0.12"], ["85%", "12%"])])
def test_percent_signs_are_as_in_the_training_rows(tmp_path, values, new):
    trained = trained_on(tmp_path, values * 30)
    with pytest.raises(UserError, match="the numbers are (not )?percent, and those that the model was trained on are"):
        rows_for_model(write(tmp_path / "new.csv", new), trained)
