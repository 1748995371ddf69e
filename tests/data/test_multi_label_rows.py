"""Rows with any number of labels, from every form in which people keep them."""

import json
import random

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import dataset
from finewright.data.columns import Columns
from finewright.data.multi_label_rows import labels_of
from finewright.data.tables import to_table

NAMES = ("billing", "login", "shipping", "urgent")
DRAW = random.Random(3)
SETS = [[name for name in NAMES if DRAW.random() < 0.4] for _ in range(120)]
TEXTS = [f"message number {number} about a thing" for number in range(120)]


def write(path, form, *, column="label"):
    pairs = list(zip(TEXTS, SETS, strict=True))
    if form == "flags":
        rows = [",".join(["comment", *NAMES]), *(",".join([text, *(str(int(n in own)) for n in NAMES)]) for text, own in pairs)]
        path.write_text("\n".join(rows) + "\n")
    elif form == "lists":
        path.write_text("".join(json.dumps({"text": text, column: own}) + "\n" for text, own in pairs))
    else:
        path.write_text("\n".join([f"text,{column}", *(f'{text},"{form.join(own)}"' for text, own in pairs)]) + "\n")
    return path


def read(source, **options):
    return dataset.read_dataset(source, options=DataConfig(**options), row_kind="multi-label")


@pytest.mark.parametrize(
    ("form", "name"), [("flags", "a.csv"), ("lists", "a.jsonl"), ("|", "a.csv"), (",", "a.csv"), ("; ", "a.csv"), ("/", "a.csv")]
)
def test_every_form_gives_the_same_rows(tmp_path, form, name):
    path = write(tmp_path / name, form)
    options = DataConfig(label_separator="/") if form == "/" else DataConfig()
    kind, reason = dataset.detect_row_kind(path, options=options)
    assert kind == "multi-label"
    assert reason
    found = dataset.read_dataset(path, options=options, row_kind=kind)
    rows = {row.text: labels_of(row) for part in (found.train, found.validation, found.test) for row in part}
    assert rows == {text: tuple(own) for text, own in zip(TEXTS, SETS, strict=True)}
    assert found.labels == NAMES
    assert any("rows have no label: they count as texts that none of the labels is right for" in note for note in found.notes)


def test_a_data_frame_and_parquet_with_lists(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "labels": SETS})
    frame.to_parquet(tmp_path / "a.parquet")
    read_again, sets = pandas.read_parquet(tmp_path / "a.parquet"), frame.assign(labels=[{*own} for own in SETS])
    for source in (to_table(frame), tmp_path / "a.parquet", to_table(read_again), to_table(sets), to_table(TEXTS, SETS)):
        assert dataset.detect_row_kind(source, options=DataConfig())[0] == "multi-label"
        assert read(source).labels == NAMES


def test_columns_of_labels_are_named_with_commas(tmp_path):
    path = write(tmp_path / "a.csv", "flags")
    assert dataset.detect_row_kind(path, options=DataConfig(label_column="billing,login"))[0] == "multi-label"
    assert read(path, label_column="billing,login").labels == ("billing", "login")
    assert dataset.detect_row_kind(path, options=DataConfig(label_column="billing"))[0] == "labelled"
    with pytest.raises(UserError, match="no column 'other'"):
        read(path, label_column="billing,other")


def test_a_value_that_is_neither_yes_nor_no_names_its_row(tmp_path):
    (tmp_path / "a.csv").write_text("text,toxic,insult\none two three,1,0\nfour five six,-1,0\n")
    with pytest.raises(UserError, match=r"a.csv:3: wanted 0 or 1 in 'toxic', found '-1'"):
        read(tmp_path / "a.csv", label_column="toxic,insult")


def test_flags_beside_a_column_of_classes_are_asked_about(tmp_path):
    kinds = ["red", "green", "blue"] * 40
    rows = [{"text": t, "kind": k, "new": n % 2, "old": n // 2 % 2} for n, (t, k) in enumerate(zip(TEXTS, kinds, strict=True))]
    with pytest.raises(UserError, match="the label may be 'kind', or the columns of yes or no"):
        dataset.detect_row_kind(to_table(rows), options=DataConfig())


def test_chats_with_tags_stay_chats():
    rows = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], "tags": ["a", "b"]}] * 9
    assert dataset.detect_row_kind(to_table(rows), options=DataConfig())[0] == "conversation"


def test_an_unclear_column_stops_with_the_two_ways_out(tmp_path):
    rows = [{"text": text, "label": "a" if n % 2 else "b"} for n, text in enumerate(TEXTS)]
    rows[0]["label"] = "a,b"
    with pytest.raises(UserError, match="one label per text, or several") as caught:
        dataset.detect_row_kind(to_table(rows), options=DataConfig())
    assert "--task multi-label-classification" in caught.value.fix
    assert "--task text-classification" in caught.value.fix
    assert read(to_table(rows), label_separator=",").labels == ("a", "b")


def test_other_rows_are_read_with_the_separator_of_training_and_the_labels_of_the_model(tmp_path):
    (tmp_path / "new.csv").write_text('text,label\none two,"a,b"\nthree four,"b, c"\nfive six,a\n')
    trained = Columns(("text",), "label", label_separator=",")
    how = {"options": DataConfig(), "trained": trained}
    found = dataset.read_multi_label_rows_for_model(tmp_path / "new.csv", labels=("a", "b", "b, c"), **how)
    assert [labels_of(row) for row in found.rows] == [("a", "b"), ("b, c",), ("a",)], "a cell that is a label is that label"
    with pytest.raises(UserError, match=r"new.csv:3: this row has a label that the model does not know: 'c' \(1\)"):
        dataset.read_multi_label_rows_for_model(tmp_path / "new.csv", labels=("a", "b"), **how)
    how["options"] = DataConfig(drop_unseen_labels=True)
    found = dataset.read_multi_label_rows_for_model(tmp_path / "new.csv", labels=("a", "b"), **how)
    assert [labels_of(row) for row in found.rows] == [("a", "b"), ("b",), ("a",)]


def test_flags_of_a_model_are_found_in_another_file(tmp_path):
    path = write(tmp_path / "a.csv", "flags")
    trained = Columns(("comment",), ",".join(NAMES))
    found = dataset.read_multi_label_rows_for_model(path, options=DataConfig(), trained=trained, labels=NAMES)
    assert [labels_of(row) for row in found.rows] == [tuple(own) for own in SETS]


def test_labels_that_look_the_same_are_merged_where_that_is_wanted():
    rows = [{"text": text, "label": ["Urgent" if n % 3 else "urgent", "b"]} for n, text in enumerate(TEXTS)]
    assert read(to_table(rows)).labels == ("Urgent", "b", "urgent")
    found = read(to_table(rows), merge_similar_labels=True)
    assert found.labels == ("Urgent", "b")
    assert any(note.startswith("labels merged: 'urgent' (") for note in found.notes)


def test_the_fingerprint_knows_labels_from_a_label_with_a_line():
    one, other = ([{"text": text, "label": own} for text in TEXTS] for own in (["a", "b"], ["a|b"]))
    assert read(to_table(one)).fingerprint != read(to_table(other)).fingerprint


def test_rows_of_a_matrix_are_no_lists_of_names():
    numpy = pytest.importorskip("numpy")
    matrix = numpy.array([[int(name in own) for name in NAMES] for own in SETS])
    for labels in (matrix, matrix.tolist()):
        with pytest.raises(UserError, match="rows of a matrix of 0 and 1") as caught:
            read(to_table(TEXTS, labels))
        assert "a column of 0 and 1 for each label" in caught.value.fix
    assert read(to_table(TEXTS, [[number % 2, 2 + number % 3] for number in range(120)])).labels == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("apart", [True, False])
def test_few_held_out_rows_are_read_as_those_of_training(tmp_path, apart):
    """One cell `a|b` does not tell what stands between labels, nor a column of zeros that it is one of yes or no."""
    write(tmp_path / "train.csv", "|")
    (tmp_path / "test.csv").write_text("text,label\none thing,billing|login\nand another,urgent\n")
    source, test = (tmp_path / "train.csv", tmp_path / "test.csv") if apart else (tmp_path, None)
    found = dataset.read_dataset(source, options=DataConfig(), test=test, row_kind="multi-label")
    assert [labels_of(row) for row in found.test] == [("billing", "login"), ("urgent",)]
    write(tmp_path / "train.csv", "flags")
    (tmp_path / "test.csv").write_text("comment,billing,login,shipping,urgent\none thing,0,0,0,0\nand another,0,1,0,0\n")
    found = dataset.read_dataset(source, options=DataConfig(), test=test, row_kind="multi-label")
    assert [labels_of(row) for row in found.test] == [(), ("login",)]
