"""Texts to predict, in whatever they are given."""

import numpy as np
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data.columns import NO_COLUMNS, Columns
from finewright.data.inputs import find_text_rows, looks_like_a_path, read_text_rows

TRAINED = Columns(("Message",), "Team")


def texts(data, trained=TRAINED, **options):
    return find_text_rows(data, options=DataConfig(**options), trained=trained).texts


@pytest.mark.parametrize("made", [list, tuple, np.array, lambda some: iter(some), lambda some: np.array(some, dtype=object)])
def test_sequences_of_texts(made):
    assert texts(made(["one", " two", "", "\u200b"])) == ["one", " two", None, None]


def test_pandas(recwarn):
    pandas = pytest.importorskip("pandas")
    assert texts(pandas.Series(["one", None, float("nan"), pandas.NA])) == ["one", None, None, None]
    frame = pandas.DataFrame({"id": [1, 2], "Message": ["one", None]}, index=[7, 5])
    assert texts(frame) == ["one", None]
    with pytest.raises(
        UserError, match=r"no column 'Message', which the model was trained on; the columns are id, Body"
    ) as caught:
        texts(frame.rename(columns={"Message": "Body"}))
    assert "\n" not in caught.value.what
    assert 'predict(df["NAME"])' in caught.value.fix
    assert texts(frame.rename(columns={"Message": "Body"}), text_column="Body") == ["one", None]
    assert texts(frame.iloc[:0]) == []


def test_dicts():
    assert texts([{"Message": "one"}, {"id": 3}]) == ["one", None]
    assert texts({"Message": "one", "id": 3}) == ["one"], "one row"
    assert texts({"Message": ["one", "two"], "id": [3, 4]}) == ["one", "two"], "columns"
    with pytest.raises(UserError, match="no column 'Message'"):
        texts({"Body": "one"})
    both = Columns(("Subject", "Message"), "Team")
    assert texts([{"Subject": "a", "Message": "b"}], both, text_separator=" | ") == ["a | b"]
    with pytest.raises(UserError, match="no column 'Subject', which"):
        texts([{"Message": "b"}], both)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("one", "wanted several texts, found one string"),
        ("neww.csv", "no such file"),
        (b"one", "found bytes"),
        (5, "found int"),
        (None, "found NoneType"),
        (["one", 5], "text 2: wanted text, found int"),
        (["one", {"Message": "x"}], "text 2: wanted text, found dict"),
        (["\ud800"], "text 1: bytes that are not UTF-8"),
        (np.array([["a", "b"]]), r"an array of shape \(1, 2\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(data, message):
    with pytest.raises(UserError, match=message):
        texts(data)


def test_a_file_by_its_path(tmp_path):
    (tmp_path / "a.csv").write_text("id,message \n1,one\n\n2,\n")
    assert texts(tmp_path / "a.csv") == texts(str(tmp_path / "a.csv")) == ["one", None, None]
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    rows = read_text_rows(tmp_path / "a.txt", options=DataConfig(), trained=TRAINED)
    assert (rows.texts, rows.has_lines, rows.notes) == (["one", None, "two"], True, [])
    (tmp_path / "b.txt").write_text("Message\tid\none\t1\n")
    assert texts(tmp_path / "b.txt") == ["one"]


def test_a_file_without_the_trained_column_is_guessed_and_said(tmp_path):
    (tmp_path / "a.csv").write_text("id,body\n1,where is my parcel\n")
    rows = read_text_rows(tmp_path / "a.csv", options=DataConfig(), trained=TRAINED)
    assert rows.texts == ["where is my parcel"]
    absent = "a.csv: no column 'Message', which the model was trained on"
    assert rows.notes == [f"{absent}; the texts are taken from 'body' (--text-column changes it)"]
    assert read_text_rows(tmp_path / "a.csv", options=DataConfig(), trained=NO_COLUMNS).texts == rows.texts, "an old run"
    (tmp_path / "c.csv").write_text("id,text,Body\n1,short,where is my parcel\n")
    rows = read_text_rows(tmp_path / "c.csv", options=DataConfig(), trained=TRAINED)
    assert rows.texts == ["short"]
    assert rows.notes[0].endswith("; the texts are taken from 'text' (--text-column changes it)"), "the usual name too"
    (tmp_path / "d.csv").write_text("id,x\n1,2\n")
    with pytest.raises(
        UserError, match="^d.csv: no column 'Message', which the model was trained on; no text column; the columns"
    ):
        read_text_rows(tmp_path / "d.csv", options=DataConfig(), trained=TRAINED)
    (tmp_path / "b.csv").write_text("id,body\n")
    with pytest.raises(UserError, match="no rows"):
        read_text_rows(tmp_path / "b.csv", options=DataConfig(), trained=TRAINED)


@pytest.mark.parametrize("text", ["neww.csv", "data/x.jsonl", "x.parquet", "NEW.CSV", "x.csv.gz", "./new", "~/texts", "a.txt"])
def test_these_look_like_paths(text):
    assert looks_like_a_path(text)


@pytest.mark.parametrize("text", ["where is my parcel?", "and/or", "see report.csv", "", "v1.2", "3.14", "https://x.org/a"])
def test_these_are_texts(text):
    assert not looks_like_a_path(text)
