"""Rows in memory, in every form a person has them."""

import enum
import json

import numpy as np
import pyarrow
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.data.dataset import read_dataset, read_rows_for_model
from finewright.data.inputs import find_text_rows
from finewright.data.tables import to_table

TEXTS = [f"text {n}" for n in range(40)]
LABELS = ["a" if n % 2 else "b" for n in range(40)]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


class Frame:
    """What pandas gives, as far as it is asked."""

    columns = ("text", "label")

    def to_dict(self, orient):
        assert orient == "records"
        return ROWS


def table_of(form):
    if form == "texts":
        return to_table(TEXTS, LABELS)
    if form == "arrays":
        return to_table(np.array(TEXTS), np.array(LABELS))
    if form == "dicts":
        return to_table(ROWS)
    if form == "columns":
        return to_table({"text": TEXTS, "label": LABELS})
    if form == "datasets":
        return to_table(pytest.importorskip("datasets").Dataset.from_list(ROWS))
    return to_table(Frame())


@pytest.mark.parametrize("form", ["texts", "arrays", "dicts", "columns", "datasets", "frame"])
def test_every_form_gives_the_same_rows(form):
    table = table_of(form)
    assert [record.values for record in table.splits["train"]] == ROWS
    assert table.splits["train"][16].where == "row 17"
    assert str(table) == str(table_of("dicts"))


@pytest.mark.parametrize("data", ["tickets.csv", "owner/name"])
def test_a_path_is_no_table(data, tmp_path):
    assert to_table(data) is None
    assert to_table(tmp_path / data) is None


def test_splits_stay_apart():
    table = to_table({"train": ROWS[:30], "test": ROWS[30:]})
    dataset = read_dataset(table, options=DataConfig(validation_fraction=0.2))
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (30, 10)
    assert dataset.test[0].where == "test row 1"


def test_other_rows_are_another_table():
    assert str(to_table(ROWS)) != str(to_table(ROWS[:-1]))


def test_a_missing_label_is_named_by_its_row():
    rows = [*ROWS[:3], {"text": "x", "label": float("nan")}, *ROWS[3:]]
    with pytest.raises(UserError, match="row 4: no label"):
        read_dataset(to_table(rows), options=DataConfig())


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        ((1, "1"), "the labels 1 (row 1) and '1' (row 2)"),
        (("1", 1.0), "the labels '1' (row 1) and 1.0 (row 2)"),
        ((True, "True"), "the labels True (row 1) and 'True' (row 2)"),
        (("false", False), "the labels 'false' (row 1) and False (row 2)"),
    ],
)
def test_labels_that_differ_only_in_type_are_refused(pair, named):
    with pytest.raises(UserError) as caught:
        read_dataset(to_table(TEXTS, [*pair] * 20), options=DataConfig())
    assert (
        str(caught.value)
        == f"data: {named} differ only in type\n  → give all labels in one type, or set data.merge_similar_labels"
    )
    assert (
        len(read_dataset(to_table(TEXTS, [*pair, "x"] * 13 + ["x"]), options=DataConfig(merge_similar_labels=True)).labels) == 2
    )


@pytest.mark.parametrize(("pair", "names"), [((1, 2.0), ("1", "2")), ((1, "x"), ("1", "x")), ((True, False), ("False", "True"))])
def test_other_labels_of_two_types_are_two_labels(pair, names):
    assert read_dataset(to_table(TEXTS, [*pair] * 20), options=DataConfig()).labels == names


def test_a_table_has_the_same_labels_in_memory_and_in_every_file(tmp_path):
    """Truth values and times: pandas gives them types, and its files may not."""
    pandas = pytest.importorskip("pandas")
    openpyxl = pytest.importorskip("openpyxl")
    assert openpyxl
    times = [pandas.Timestamp(2026, 1, 2), pandas.Timestamp(2026, 1, 3, 4, 5)]
    for pair, names in (([True, False], ("False", "True")), (times, ("2026-01-02", "2026-01-03 04:05:00"))):
        frame = pandas.DataFrame({"text": TEXTS, "label": pair * 20})
        dated = isinstance(pair[0], pandas.Timestamp)
        as_written = frame.assign(label=[str(one).removesuffix(" 00:00:00") for one in frame["label"]])
        (as_written if dated else frame).to_csv(tmp_path / "a.csv", index=False)
        frame.to_excel(tmp_path / "a.xlsx", index=False)
        sources = [to_table(frame), to_table(list(frame["text"]), frame["label"]), tmp_path / "a.csv", tmp_path / "a.xlsx"]
        if not dated:
            frame.to_parquet(tmp_path / "a.parquet")
            frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
            sources += [tmp_path / "a.parquet", tmp_path / "a.jsonl"]
        for source in sources:
            assert read_dataset(source, options=DataConfig()).labels == names, source


@pytest.mark.parametrize("known", [("False", "True"), ("false", "true"), ("FALSE", "TRUE")])
def test_truth_values_are_those_of_the_model_however_they_are_written(tmp_path, known):
    for word in ("true", "True", "TRUE"):
        (tmp_path / "a.csv").write_text(f"text,label\nx,{word}\n")
        found = read_rows_for_model(tmp_path / "a.csv", options=DataConfig(), trained=NO_COLUMNS, labels=known)
        assert [row.label for row in found.rows] == [known[1]]
    both = read_rows_for_model(tmp_path / "a.csv", options=DataConfig(), trained=NO_COLUMNS, labels=("TRUE", "True"))
    assert [row.label for row in both.rows] == ["TRUE"]
    train = to_table(TEXTS, [word == "True" for word in ("True", "False")] * 20)
    (tmp_path / "a.csv").write_text("text,label\nx,TRUE\ny,false\n")
    assert [row.label for row in read_dataset(train, options=DataConfig(), test=tmp_path / "a.csv").test] == ["True", "False"]


def test_numbers_that_a_file_holds_as_text_too_are_one_label(tmp_path):
    """In a file the type is how somebody wrote it."""
    rows = [{"text": text, "label": (1, "1", 2, "2")[n % 4]} for n, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_dataset(tmp_path / "a.jsonl", options=DataConfig()).labels == ("1", "2")


def arrow(columns, names):
    return pyarrow.table(columns, names=names)


def frame(columns, names):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(list(zip(*columns, strict=True)), columns=names)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [arrow, frame])
def test_a_name_of_two_columns_is_refused_where_it_is_used(make):
    other = ["c"] * 40
    data = make([TEXTS, LABELS, other], ["text", "label", "label"])
    for given in (data, {"train": data}):
        with pytest.raises(UserError, match="^data: two columns are named 'label'\n  → name it by its number, such as 2"):
            read_dataset(to_table(given), options=DataConfig())
    assert read_dataset(to_table(data), options=DataConfig(label_column="2")).labels == ("a", "b")
    data = make([TEXTS, LABELS, other], ["text", "label", "text"])
    with pytest.raises(UserError, match="two columns are named 'text'"):
        read_dataset(to_table(data), options=DataConfig())
    with pytest.raises(UserError, match="two columns are named 'text'"):
        find_text_rows(data, options=DataConfig(), trained=Columns(("text",), "label"))
    unused = make([TEXTS, LABELS, other, other], ["text", "label", "id", "id"])
    assert read_dataset(to_table(unused), options=DataConfig()).labels == ("a", "b")


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (TEXTS, LABELS[:3], "40 texts, but 3 labels"),
        ("one text", LABELS, "wanted several texts, found one string"),
        (TEXTS, "label", "wanted several labels, found one string"),
        (set(TEXTS), LABELS, "wanted several texts, found a set"),
        (TEXTS, dict(enumerate(LABELS)), "wanted several labels, found a dict"),
        (TEXTS, 7, "wanted several labels, found a int"),
        (Frame(), LABELS, "wanted several texts, found a Frame with the columns text, label"),
        (7, None, "wanted a path, a DataFrame, a Dataset or a list of dicts, found int"),
        (TEXTS, None, "a row of type str"),
        ({"text": TEXTS, "label": LABELS[:2]}, None, "columns of different length: text 40, label 2"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(data, labels, message):
    with pytest.raises(UserError, match=message):
        to_table(data, labels)


class Priority(str, enum.Enum):  # noqa: UP042  prints as Priority.HIGH, unlike a StrEnum
    HIGH = "high"
    LOW = "low"


def test_a_member_of_an_enumeration_of_texts_is_its_text():
    rows = to_table(TEXTS, [Priority.HIGH, Priority.LOW] * 20).splits["train"]
    assert [row.values["label"] for row in rows[:2]] == ["high", "low"]


def test_a_table_with_one_column_is_that_column():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS})
    assert str(to_table(frame[["text"]], frame[["label"]])) == str(to_table(TEXTS, LABELS))


def test_class_numbers_of_a_hub_data_set_become_names():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["b", "a"])})
    numbers = [n % 2 for n in range(40)]
    made = datasets.Dataset.from_dict({"text": TEXTS, "label": [*numbers[:-1], -1]}, features=features)
    found = [row.values["label"] for row in to_table(made).splits["train"]]
    assert found == [*LABELS[:-1], None]
    parts = to_table(datasets.DatasetDict({"train": made, "val": made, "unsupervised": made})).splits
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 40, "validation": 40}


def test_rows_that_nobody_can_train_on_are_refused():
    with pytest.raises(UserError, match="no rows to train on, only test rows"):
        read_dataset(to_table({"test": ROWS}), options=DataConfig())
