"""A whole table in, with all it has, and out again."""

import datetime
import gzip
import io
import json
import pickle

import pyarrow
import pyarrow.parquet
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import find_texts, read_table
from finewright.data.writers import write_table

CSV = 'id;Nachricht;;Nachricht\r\n01;"Grüße; ""du""";x;y\r\n\r\n2;;z;\r\n3;"zwei\nZeilen";;\r\n\r\n'


def read(path, content, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, options=DataConfig(**options))


def test_all_rows_and_columns_are_kept_in_order(tmp_path):
    table = read(tmp_path / "a.csv", CSV)
    assert table.columns == ("id", "Nachricht", "column 3", "Nachricht (column 4)")
    assert table.header == ("id", "Nachricht", "", "Nachricht")
    assert [list(record.values.values()) for record in table.records] == [
        ["01", 'Grüße; "du"', "x", "y"],
        ["", "", "", ""],
        ["2", "", "z", ""],
        ["3", "zwei\nZeilen", "", ""],
    ]
    assert [record.where for record in table.records] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]
    assert table.notes == ["a.csv: columns are separated by ';'"]
    form = table.format
    assert (form.suffix, form.delimiter, form.newline, form.encoding, form.header) == (".csv", ";", "\r\n", "utf-8", True)


def test_texts_are_none_where_there_is_none(tmp_path):
    table = read(tmp_path / "a.csv", CSV)
    texts, _ = find_texts(table, options=DataConfig(text_column="2"))
    assert texts == ['Grüße; "du"', None, None, "zwei\nZeilen"]
    assert find_texts(read(tmp_path / "a.txt", "one\n\n two\n"))[0] == ["one", None, " two"]
    damaged = read(tmp_path / "b.jsonl", '{"text": "x"}\n{"text": "\\ud800"}\n{}\n')
    with pytest.raises(UserError, match=r"b\.jsonl:2: half of a surrogate pair"):
        find_texts(damaged)


def test_a_text_file_is_a_table_only_if_it_names_a_text_column(tmp_path):
    prose = "Hello, you\nBye, you\nWell, then\n"
    assert [record.values for record in read(tmp_path / "a.txt", prose).records][0] == {"text": "Hello, you"}
    assert read(tmp_path / "b.txt", "id\ttext\n1\tx\n2\ty\n").columns == ("id", "text")
    assert read(tmp_path / "c.txt", "id\tbody_of_it\n1\tx\n2\ty\n", text_column="body_of_it").columns == ("id", "body_of_it")
    assert read(tmp_path / "d.txt", "id,text\n1,x\n", format="txt").columns == ("text",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.replace("\r\n\r\n", "\r\n").replace('"zwei\nZeilen"', "drei")),
        ("a.csv", ("\ufeff" + CSV.replace("\r\n\r\n", "\r\n")).encode()),
        ("a.csv", "text,label\ncafé,a\n".encode("cp1252")),
        ("a.csv", "text\tlabel\r\nxé\ta\r\n".encode("utf-16")),
        ("a.tsv", 'text\tlabel\n"begins so\ta\nx\tb\n'),
        ("a.jsonl", '{"text": "é", "n": 1, "more": {"a": [true, null]}}\n{"text": ""}\n'),
        ("a.json", '[\n{"text": "x", "n": 1.5},\n{"n": null}\n]\n'),
        ("a.txt", "one\n\ntwo\n"),
    ],
)
def test_what_was_read_is_written_back_to_the_byte(tmp_path, name, content):
    table = read(tmp_path / name, content)
    out = io.BytesIO()
    notes = write_table(out, table)
    raw = content if isinstance(content, bytes) else content.encode()
    assert (out.getvalue(), notes) == (raw, [])


def labelled(table):
    count = len(table.records)
    return table.with_columns({"label": ["a"] * count, "probability": [0.5] * count, "id": range(count)})


def test_columns_are_added_at_the_end(tmp_path):
    table = labelled(read(tmp_path / "a.csv", CSV))
    assert table.columns[-3:] == ("label", "probability", "id 2")
    write_table(tmp_path / "b.csv", table)
    again = read_table(tmp_path / "b.csv")
    assert (again.header[-3:], len(again.records)) == (("label", "probability", "id 2"), 4)
    assert list(again.records[0].values.values()) == ["01", 'Grüße; "du"', "x", "y", "a", "0.5", "0"]
    with pytest.raises(ValueError, match="shorter|longer"):
        table.with_columns({"x": [1]})


def test_a_file_without_header_stays_without_one(tmp_path):
    table = read(tmp_path / "a.csv", "x,1\ny,2\n", no_header=True)
    write_table(tmp_path / "b.csv", table.with_columns({"label": ["a", "b"]}))
    assert (tmp_path / "b.csv").read_text() == "x,1,a\ny,2,b\n"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "xlsx", "csv.gz", "jsonl.gz"])
def test_every_format_can_be_written_and_read_again(tmp_path, suffix):
    if suffix == "xlsx":
        pytest.importorskip("openpyxl")
    table = read(tmp_path / "a.csv", "text,label\n=1+1,01\nzwei\té,None\n")
    path = tmp_path / f"b.{suffix}"
    path.write_text("old")
    assert write_table(path, table) == []
    again = read_table(path)
    assert [record.values for record in again.records] == [{"text": "=1+1", "label": "01"}, {"text": "zwei\té", "label": "None"}]
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["b.jsonl", "b.json", "b.ndjson", "b.jsonl.gz"])
def test_json_is_plain_utf_8_whatever_was_read(tmp_path, encoding, name):
    table = read(tmp_path / "a.csv", "text;label\r\ncafé;a\r\n".encode(encoding))
    assert write_table(tmp_path / name, table) == []
    row = {"text": "café", "label": "a"}
    raw = (tmp_path / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
    assert json.loads(text) == ([row] if name == "b.json" else row)


def test_a_csv_file_has_the_encoding_of_text_and_not_of_json(tmp_path):
    text = read(tmp_path / "a.csv", "text,label\ncafé,a\n".encode("utf-16"))
    write_table(tmp_path / "b.tsv", text)
    assert (tmp_path / "b.tsv").read_bytes().decode("utf-16") == "text\tlabel\ncafé\ta\n"
    wide = read(tmp_path / "a.jsonl", '{"text": "café"}\n'.encode("utf-16"))
    for kind, content in (("csv", "text\ncafé\n"), ("jsonl", '{"text": "café"}\n')):
        write_table(tmp_path / f"c.{kind}", wide)
        assert (tmp_path / f"c.{kind}").read_bytes().decode() == content


def test_cells_of_a_workbook_have_the_types_of_the_source(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    typed = read(tmp_path / "a.jsonl", '{"text": "12", "n": 3, "x": 0.25, "z": "007", "b": true}\n')
    typeless = read(tmp_path / "a.csv", "text,n,x,z,b\n12,3,0.25,007,true\n")
    for table, wanted in ((typed, ["12", 3, 0.25, "007", True]), (typeless, [12, 3, 0.25, "007", "true"])):
        write_table(tmp_path / "b.xlsx", table)
        assert [cell.value for cell in openpyxl.load_workbook(tmp_path / "b.xlsx").active[2]] == wanted


def test_a_workbook_is_written_with_the_cells_that_were_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    cells = [
        "12",
        datetime.datetime(2026, 1, 2, 3, 4),
        datetime.datetime(2026, 1, 2),
        datetime.time(3, 4),
        True,
        7,
        0.25,
        None,
        "=1+1",
    ]
    book = openpyxl.Workbook()
    book.active.append(["text", *(f"c{n}" for n in range(len(cells) - 1))])
    book.active.append(cells[:-1])
    book.active.cell(2, len(cells), "=1+1").data_type = "s"
    book.active["F2"].number_format, book.active["G2"].number_format = "000", "0%"
    book.save(tmp_path / "a.xlsx")
    table = read_table(tmp_path / "a.xlsx")
    assert [table.records[0].values[name] for name in ("c0", "c3", "c4", "c5")] == ["2026-01-02 03:04:00", "TRUE", "007", "25%"]
    more = {"label": ["a"], "confidence": [0.5], "needs_review": [False], "nothing": [None]}
    assert write_table(tmp_path / "b.xlsx", pickle.loads(pickle.dumps(table)).with_columns(more)) == []
    again = openpyxl.load_workbook(tmp_path / "b.xlsx").active
    assert [cell.value for cell in again[2]] == [*cells, "a", 0.5, False, None]
    assert [again["F2"].number_format, again["G2"].number_format, again["C2"].is_date] == ["000", "0%", True]
    write_table(tmp_path / "b.csv", table)
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "12,2026-01-02 03:04:00,2026-01-02,03:04:00,TRUE,007,25%,,=1+1"


def test_parquet_keeps_types_and_says_where_it_cannot(tmp_path):
    table = read(tmp_path / "a.jsonl", '{"text": "x", "n": 1, "m": 1}\n{"text": "y", "n": 2, "m": "z"}\n')
    assert write_table(tmp_path / "b.parquet", table) == ["'m' holds values of several types, and was written as text"]
    kinds = pyarrow.parquet.read_schema(tmp_path / "b.parquet").types
    assert kinds == [pyarrow.string(), pyarrow.int64(), pyarrow.string()]


def test_a_character_that_the_encoding_lacks(tmp_path):
    table = read(tmp_path / "a.csv", "text\ncafé\n".encode("cp1252")).with_columns({"label": ["да"]})
    assert write_table(tmp_path / "b.csv", table) == ["written as UTF-8: cp1252 has no 'д'"]
    assert (tmp_path / "b.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_an_unquoted_file_is_quoted_when_it_must_be(tmp_path):
    table = read(tmp_path / "a.tsv", 'text\tx\n"begins so\ta\nx\tb\n').with_columns({"label": ["a\tb", "c"]})
    assert write_table(tmp_path / "b.tsv", table) == ["fields are quoted, since one has a separator or a line end inside"]
    assert [record.values["label"] for record in read_table(tmp_path / "b.tsv").records] == ["a\tb", "c"]


def test_more_than_texts_do_not_fit_into_a_text_file(tmp_path):
    write_table(tmp_path / "b.txt", read(tmp_path / "a.txt", "one\n\ntwo\n").with_columns({"label": ["a", None, "b"]}))
    assert (tmp_path / "b.txt").read_text() == "text\tlabel\none\ta\n\t\ntwo\tb\n"


def test_what_cannot_be_written_is_one_message(tmp_path):
    table = read(tmp_path / "a.csv", "text\nx\n")
    for name, message in (("b.doc", "cannot write the format 'doc'\n.*one of csv"), ("b.csv.zip", "cannot pack as .zip")):
        with pytest.raises(UserError, match=message):
            write_table(tmp_path / name, table)
    with pytest.raises(UserError, match="cannot write: No such file") as caught:
        write_table(tmp_path / "none" / "b.csv", table)
    assert caught.value.code == ExitCode.DISK
    with pytest.raises(UserError, match="cannot write the format 'x'"):
        write_table(io.BytesIO(), table, "x")


def test_json_lines_of_a_parquet_file(tmp_path):
    pyarrow.parquet.write_table(
        pyarrow.table({"text": ["x", None], "n": [1.0, float("nan")], "raw": [b"y", b"\xff"]}), tmp_path / "a.parquet"
    )
    out = io.BytesIO()
    write_table(out, read_table(tmp_path / "a.parquet"), "jsonl")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["text"], first["n"], second["text"], second["n"]) == ("x", 1.0, None, None)


def test_bytes_of_a_parquet_file_are_texts(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"caf\xc3\xa9", None]}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert [record.values["text"] for record in table.records] == ["café", None]
    assert table.notes == ["a.parquet: 'text' holds bytes, which were read as UTF-8"]


def test_a_packed_file_is_written_plain_to_a_stream(tmp_path):
    table = read(tmp_path / "a.csv.gz", gzip.compress(b"text\nx\n"))
    out = io.BytesIO()
    write_table(out, table)
    assert out.getvalue() == b"text\nx\n"
