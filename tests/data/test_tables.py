"""Rows in memory, in every form a person has them."""

import numpy as np
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data.dataset import read_dataset
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
    ("data", "labels", "message"),
    [
        (TEXTS, LABELS[:3], "40 texts, but 3 labels"),
        ("one text", "a", "wanted several texts with a label each, found one string"),
        (7, None, "wanted a path, a DataFrame, a Dataset or a list of dicts, found int"),
        (TEXTS, None, "a row of type str"),
        ({"text": TEXTS, "label": LABELS[:2]}, None, "columns of different length: text 40, label 2"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(data, labels, message):
    with pytest.raises(UserError, match=message):
        to_table(data, labels)
