"""Excel workbooks, as they are shown."""

import datetime
import re
import sys
import zipfile

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import readers
from finewright.data.dataset import find_texts, read_rows, read_table
from finewright.data.readers import xlsx


def book_of(rows, path, *, title="Tickets", more=()):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    for name, some, state in more:
        other = book.create_sheet(name)
        other.sheet_state = state
        for row in some:
            other.append(row)
    book.save(path)
    return book, sheet


def test_a_sheet_is_read_with_its_places(tmp_path):
    rows = [["id", "Message", "Team", None], [1, "where is it?", "shipping"], [], [2, "too dear", "billing", None, None]]
    book_of([[], *rows], tmp_path / "a.xlsx")
    found, notes = read_rows(tmp_path / "a.xlsx", options=DataConfig())
    assert [(row.text, row.label, row.where) for row in found] == [
        ("where is it?", "shipping", "a.xlsx: Tickets row 3"),
        ("too dear", "billing", "a.xlsx: Tickets row 5"),
    ]
    assert "text column: 'Message' (guessed; --text-column changes it)" in notes


def test_labels_and_numbers_are_as_shown(tmp_path):
    values = [1, 1.0, 2.5, True, "01", "None", datetime.datetime(2024, 5, 6), datetime.datetime(2024, 5, 6, 7, 8)]
    book, sheet = book_of(
        [["text", "label"], *([f"x {n}", value] for n, value in enumerate(values)), ["y", 7]], tmp_path / "a.xlsx"
    )
    sheet.cell(row=len(values) + 2, column=2).number_format = "000"
    sheet.append(["z", 0.25])
    sheet.cell(row=len(values) + 3, column=2).number_format = "0%"
    book.save(tmp_path / "a.xlsx")
    rows, _ = read_rows(tmp_path / "a.xlsx", options=DataConfig())
    shown = ["1", "1", "2.5", "True", "01", "None", "2024-05-06", "2024-05-06 07:08:00", "007", "25%"]
    assert [row.label for row in rows] == shown


def test_faults_name_the_row_and_errors_of_excel_are_missing(tmp_path):
    book_of([["text", "label"], ["x", "#N/A"], [None, "a"]], tmp_path / "a.xlsx")
    with pytest.raises(UserError, match=r"a\.xlsx: Tickets row 2: no label\na\.xlsx: Tickets row 3: no text"):
        read_rows(tmp_path / "a.xlsx", options=DataConfig())


def test_one_sheet_is_read_and_the_others_named(tmp_path):
    more = [("Old", [["text", "label"], ["y", "b"]], "visible"), ("Secret", [["z"]], "hidden"), ("Empty", [], "visible")]
    book_of([["text", "label"], ["x", "a"]], tmp_path / "a.xlsx", more=more)
    rows, notes = read_rows(tmp_path / "a.xlsx", options=DataConfig())
    assert [row.text for row in rows] == ["x"]
    assert notes == ["a.xlsx: only the sheet 'Tickets' is read, not 'Old'"]


def test_a_sheet_without_a_header_and_a_workbook_by_another_name(tmp_path):
    book_of([["x one", "a"], ["y two", "b"]], tmp_path / "a.bin")
    options = DataConfig(no_header=True, text_column="1", label_column="2")
    assert [row.label for row in read_rows(tmp_path / "a.bin", options=options)[0]] == ["a", "b"]


def test_a_workbook_that_is_none(tmp_path):
    pytest.importorskip("openpyxl")
    for content in (b"text,label\n", b"PK\x03\x04" + bytes(100)):
        (tmp_path / "a.xlsx").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.xlsx: not readable as an Excel workbook"):
            readers.read_records(tmp_path / "a.xlsx")
    book_of([], tmp_path / "b.xlsx")
    with pytest.raises(UserError, match="no sheet with rows"):
        readers.read_records(tmp_path / "b.xlsx")


def test_formulas_that_were_never_calculated_are_named(tmp_path):
    rows = [["text", "label", "n"], ["x", "a", "=1+1"], ["y", '=B2&""', "=2"], *(["z", "b", "=3"] for _ in range(12))]
    book_of(rows, tmp_path / "a.xlsx")
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path / "a.xlsx", options=DataConfig())
    assert str(caught.value).startswith("a.xlsx: formulas without a value: B3; they were never calculated\n")
    assert "open it in Excel or LibreOffice, and save it" in caught.value.fix
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path / "a.xlsx", options=DataConfig(label_column="n"))
    cells = "C2, C3, C4, C5, C6, C7, C8, C9, C10, C11 and 4 more"
    assert str(caught.value).startswith(f"a.xlsx: formulas without a value: {cells}; they were never calculated\n")
    calculate(tmp_path / "a.xlsx", {"C2": "2", "B3": ""} | {f"C{row}": "3" for row in range(3, 16)})
    records, _ = readers.read_records(tmp_path / "a.xlsx")
    assert [record.values for record in records[:2]] == [
        {"text": "x", "label": "a", "n": "2"},
        {"text": "y", "label": None, "n": "3"},
    ], "an empty text is a value"


def test_a_formula_without_a_value_in_a_column_that_nobody_uses_is_a_note(tmp_path):
    book_of([["text", "label", "n"], ["x", "a", "=1+1"], ["y", "b", 3]], tmp_path / "a.xlsx")
    rows, notes = read_rows(tmp_path / "a.xlsx", options=DataConfig())
    assert [(row.text, row.label) for row in rows] == [("x", "a"), ("y", "b")]
    assert notes == ["a.xlsx: formulas without a value: C2; no column that is used has one"]
    texts, _ = find_texts(read_table(tmp_path / "a.xlsx"))
    assert texts == ["x", "y"], "the label is not read to predict it"
    book_of([["text", "label"], ["x", "=1+1"]], tmp_path / "b.xlsx", more=[("Old", [["text"], ["y"]], "visible")])
    with pytest.raises(UserError, match="formulas without a value: Tickets!B2; they were never calculated"):
        read_rows(tmp_path / "b.xlsx", options=DataConfig())


def test_formulas_in_a_namespace_with_a_name_are_found_wherever_a_piece_ends(tmp_path, monkeypatch):
    book_of([["text", "label"], ["x", "=A2"]], tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    parts[name] = re.sub(rb"(</?)(?=\w)", rb"\1x:", parts[name]).replace(b" xmlns=", b" xmlns:x=")
    assert b"<x:f>" in parts[name]
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for part in parts:
            archive.writestr(part, parts[part])
    for size in (3, 1 << 20):
        monkeypatch.setattr(xlsx, "_PIECE_BYTES", size)
        with pytest.raises(UserError, match="formulas without a value: B2; they were never calculated"):
            read_rows(tmp_path / "a.xlsx", options=DataConfig())


def calculate(path, values):
    """Store the values of formulas, as Excel does."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    for cell, value in values.items():
        kind = "" if value else ' t="str"'
        sheet = re.sub(rf'<c r="{cell}"(.*?</f>)<v ?/>', rf'<c r="{cell}"{kind}\1<v>{value}</v>', sheet)
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, sheet if name == "xl/worksheets/sheet1.xml" else part)


def test_without_the_extra_there_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"needs `openpyxl`\n  → pip install 'finewright\[excel\]', or save the sheet as CSV"):
        readers.read_records(tmp_path / "a.xlsx")
