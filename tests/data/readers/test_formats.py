"""Files in, and what is wrong with them, by line."""

import gzip
import json
import re
import sys

import pyarrow
import pyarrow.parquet
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import readers
from finewright.data.dataset import read_rows, read_table
from finewright.data.readers import text as text_files

ROWS = [{"text": "Grüße, “world”\nsecond line", "label": "a"}, {"text": "x,y;z", "label": "b"}]


OLD_EXCEL = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path):
    with pytest.raises(UserError) as caught:
        readers.read_records(path)
    assert caught.value.code == ExitCode.BAD_DATA
    return str(caught.value)


def as_csv(delimiter):
    return f'text{delimiter}label\n"Grüße, “world”\nsecond line"{delimiter}a\n"x,y;z"{delimiter}b\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", as_csv(",")),
        ("a.csv", as_csv(";")),
        ("a.csv", as_csv(",").replace("\n", "\r\n").replace("world”\r\n", "world”\n")),
        ("a.csv", "\ufeff" + as_csv(",")),
        ("a.csv", as_csv(",").encode("utf-16")),
        ("a.tsv", as_csv("\t")),
        ("a.jsonl", "\n\n".join(map(json.dumps, ROWS))),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps({"data": ROWS})),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("a.tsv.gz", gzip.compress(as_csv("\t").encode(), mtime=0)),
        ("A.CSV", as_csv("|")),
        ("a.csv", "\n\n" + as_csv("\t")),
        ("a.jsonl", "\r\n".join(map(json.dumps, ROWS))),
        ("a.csv.gz", gzip.compress(as_csv(",").encode(), mtime=0)),
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode(), mtime=0)),
    ],
)
def test_every_format_brings_the_same_rows(tmp_path, name, content):
    records, _ = readers.read_records(write(tmp_path / name, content))
    assert [record.values for record in records] == ROWS


def test_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    records, _ = readers.read_records(tmp_path / "a.parquet")
    assert [record.values for record in records] == ROWS
    assert records[1].where == "a.parquet: row 2"


def test_places_are_physical_lines(tmp_path):
    records, _ = readers.read_records(write(tmp_path / "a.csv", as_csv(",")))
    assert [record.where for record in records] == ["a.csv:2", "a.csv:4"]
    records, _ = readers.read_records(write(tmp_path / "a.json", json.dumps(ROWS, indent=2)))
    assert [record.where for record in records] == ["a.json:2", "a.json:6"]
    records, _ = readers.read_records(write(tmp_path / "a.jsonl", '\n{"a": 1}\n\n{"a": 2}\n'))
    assert [record.where for record in records] == ["a.jsonl:2", "a.jsonl:4"]


def test_old_line_ends_count_as_lines(tmp_path):
    records, _ = readers.read_records(write(tmp_path / "a.csv", "text;label\rx;a\ry;b\r"))
    assert [(record.where, record.values["label"]) for record in records] == [("a.csv:2", "a"), ("a.csv:3", "b")]


def test_another_delimiter_is_said_aloud(tmp_path):
    assert readers.read_records(write(tmp_path / "a.csv", as_csv(";")))[1] == ["a.csv: columns are separated by ';'"]
    assert readers.read_records(write(tmp_path / "a.csv", as_csv(",")))[1] == []
    assert readers.read_records(write(tmp_path / "a.tsv", as_csv("\t")))[1] == []


def test_a_comma_inside_a_quoted_column_name_parts_nothing(tmp_path):
    records, _ = readers.read_records(write(tmp_path / "a.csv", '"text, long";label\nx;a\n'))
    assert records[0].values == {"text, long": "x", "label": "a"}


def test_words_that_mean_nothing_elsewhere_stay_words(tmp_path):
    records, _ = readers.read_records(write(tmp_path / "a.csv", "text,label\nNA,null\nNone,nan\n"))
    assert [list(record.values.values()) for record in records] == [["NA", "null"], ["None", "nan"]]


def test_a_long_text_of_many_lines_is_no_fault(tmp_path):
    text = "\n".join(f"Dear all, this is line {index}{', really' * (index % 2)}" for index in range(300))
    records, _ = readers.read_records(write(tmp_path / "a.csv", f'text,label\n"{text}",a\n'))
    assert records[0].values["text"] == text


def test_rows_that_a_stray_quote_swallowed_are_found(tmp_path):
    rows = "".join(f"row {index},a\n" for index in range(50))
    said = refused(write(tmp_path / "a.csv", f'text,label\nx,"oops\n{rows}y,"\nz,b\n'))
    assert said.startswith("a.csv:2: a quote that opens here closes in line 53; the lines inside look like rows")


def test_a_column_of_nanoseconds_does_not_stop_the_others(tmp_path):
    times = pyarrow.array([1, 2], pyarrow.timestamp("ns"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": ["a", "b"], "at": times}), tmp_path / "a.parquet")
    records, _ = readers.read_records(tmp_path / "a.parquet")
    assert [record.values["label"] for record in records] == ["a", "b"]
    assert records[0].values["at"].endswith(".000000001")


def test_the_name_of_a_folder_is_no_column(tmp_path):
    (tmp_path / "label=z").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": "x"}]), tmp_path / "label=z" / "a.parquet")
    records, _ = readers.read_records(tmp_path / "label=z" / "a.parquet")
    assert records[0].values == {"text": "x"}


def test_parquet_with_two_columns_of_one_name_or_broken_text(tmp_path):
    column = pyarrow.array(["x"])
    twice = pyarrow.table([column, column], names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"two columns are named 'text'.*\n.*number, such as 1"):
        read_rows(tmp_path / "a.parquet", options=DataConfig(label_column="2"))
    rows, _ = read_rows(tmp_path / "a.parquet", options=DataConfig(text_column="1", label_column="2"))
    assert (rows[0].text, rows[0].label) == ("x", "x")
    ends = pyarrow.py_buffer((0).to_bytes(4, "little") + (1).to_bytes(4, "little"))
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, ends, pyarrow.py_buffer(b"\xff")])
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "b.parquet")
    assert "not readable as Parquet" in refused(tmp_path / "b.parquet")


def test_a_gzip_with_a_flipped_byte(tmp_path):
    packed = gzip.compress("".join(f"text {index * 7919},a\n" for index in range(999)).encode(), mtime=0)
    for place in range(20, len(packed), 97):
        flipped = bytearray(packed)
        flipped[place] ^= 0xFF
        assert "cannot be read" in refused(write(tmp_path / "a.csv.gz", bytes(flipped)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nx,a\ny,b,c\nz\n", "a.csv:3: 3 fields, the header has 2\na.csv:4: 1 fields"),
        ("a.csv", 'text,label\nx,a\n"never closed,b\nz,a\n', "a.csv:3: a quote that opens here is never closed"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", b"text,label\ncaf\x81,a\n", "a.csv:2: byte 0x81 at column 4 is not UTF-8; Windows-1252 is not sure either"),
        ("a.csv", b"text,label\nx\x00,a\n", "a.csv:2: a NUL character"),
        ("a.csv", b"PK\x03\x04zzz", "this is a zip archive"),
        ("a.csv", b"\x89PNG\r\n", "this is a PNG picture"),
        ("a.csv", gzip.compress(b"text,label\n", mtime=0), "this is gzip, not text"),
        ("a.csv.gz", gzip.compress(as_csv(",").encode(), mtime=0)[:-9], "cannot be read"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": \n', "a.jsonl:2: Expecting value"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y", "lab', "a.jsonl:2: .*the file looks cut off"),
        ("a.csv", 'text,label\nx,a\ny,"a"b\n', "a.csv:3: text follows a closing quote"),
        ("a.csv", 'text,label\n"never closed,b\nz,"a"\nw,c\n', "a.csv:2: .* closes in line 3, and text follows it"),
        ("a.csv", 'text,label\n"long\nlong","open\nx,a\n', "a.csv:3: a quote that opens here is never closed"),
        ("a.csv", 'text,label\nx,a,b\n"open\n', "a.csv:2: 3 fields.*\na.csv:3: a quote that opens here is never closed"),
        ("a.csv", 'text,label\n"two\nlines",a,b\n', "a.csv:2: a quote .* closes in line 3; 3 fields, the header has 2"),
        ("a.csv", '"text', "a.csv:1: a quote that opens here is never closed"),
        ("a.csv", b"\xef\xbb\xbftext,label\ncaf\x81,a\n", "a.csv:2: byte 0x81 at column 4 is not UTF-8"),
        ("a.csv", "text,label\ncafé".encode()[:-1], "a.csv:2: the text ends inside a character, at byte 4 .* cut off"),
        ("a.csv", as_csv(",").encode("utf-16")[:-1], "the file looks cut off"),
        ("a.csv", b"t\0\0e\0\0x\0\0" * 20, "a.csv:1: NUL characters\n.*--encoding"),
        ("a.csv", b"PAR1zzz", "this is Parquet, not text"),
        ("a.txt", "one\ntwo\n", "a .txt file has texts, no labels"),
        ("a.jsonl", '"text"\n', "a.jsonl:1: wanted an object .* found str"),
        ("a.jsonl", '{"text": Infinity}\n', "a.jsonl:1: Infinity is not JSON"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "a.jsonl:1: NaN is not JSON"),
        ("a.jsonl", '{"text": "x", "text": "y"}\n', "a.jsonl:1: the key 'text' occurs twice"),
        ("a.jsonl", '{"label": ' + "[" * 100_000 + "\n", "a.jsonl:1: nested too deeply"),
        ("a.jsonl", '{"label": ' + "9" * 5000 + "}\n", "a.jsonl:1: Exceeds the limit"),
        ("a.json", '{"rows": 1}', "wanted an array of objects, found dict"),
        ("a.json", "[{},\n1, {}]", "a.json: row 2: wanted an object, found int"),
        ("a.json", '[{"text": "x"},\n{"text": ', "a.json:2: Expecting value at line 2, column 10; the file looks cut off"),
        ("a.json", '[{"text": "x"}\n{"text": "y"}]', "a.json:1: wanted a comma or the end of the array"),
        ("a.json", '[{"text": "x"},\n]', "a.json:2: Expecting value"),
        ("a.json", '[{"text": "x"},\n{"a": 1, "a": 2}]', "a.json:2: the key 'a' occurs twice"),
        ("a.json", '"x"', "wanted an array of objects, found str"),
        ("a.parquet", b"PAR1 no", "not readable as Parquet"),
        ("a.doc", b"PK", "cannot tell the format of a.doc"),
        (
            "a.csv",
            "<!DOCTYPE html>\n<html><body>x</body></html>",
            "this is an HTML page, not a table\n.*download the file itself",
        ),
        ("a.csv", "\ufeff\n <HTML lang='de'>\n<head>", "this is an HTML page"),
        ("a.tsv", "<!-- saved --><!doctype html>".encode("utf-16"), "this is an HTML page"),
        ("a.jsonl", "<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC>", "this is an HTML page"),
        ("a.json.gz", gzip.compress(b"<html></html>", mtime=0), "this is an HTML page"),
        ("a.parquet", "<html></html>", "this is an HTML page"),
        ("a.xls", "<html><table><tr><td>text</td></tr></table>", "this is an HTML page, .*\n.*save it as .xlsx or as CSV"),
        ("a.xls", "<?xml version='1.0'?><Workbook>", "this is XML, not a table\n.*save it as .xlsx"),
        ("a.csv", "<?xml version='1.0'?><rows>", "this is XML, not a table\n.*CSV or JSON lines"),
        ("a.xls", OLD_EXCEL, r"this is the old Excel format \(\.xls\)\n.*Excel or LibreOffice, and save it as \.xlsx"),
        ("a.xlsx", OLD_EXCEL, r"the old Excel format \(\.xls\), or a file with a password\n.*save it as \.xlsx"),
        ("a.csv", OLD_EXCEL, r"the old Excel format \(\.xls\), or a file with a password"),
    ],
)
def test_a_fault_names_its_place(tmp_path, name, content, message):
    said = refused(write(tmp_path / name, content))
    assert re.search(message, said), said


@pytest.mark.parametrize(("last", "what"), [("<rows/>", "XML"), ("<html/>", "an HTML page")])
def test_a_page_behind_many_comments_is_told_from_other_xml(tmp_path, last, what):
    comments = "".join(f"<!-- line {number} -->\n" for number in range(1000))
    with pytest.raises(UserError, match=f"this is {what}, not a table"):
        readers.read_records(write(tmp_path / "a.csv", f'<?xml version="1.0"?>\n{comments}{last}'))


def test_texts_may_be_pages_and_old_names_may_hold_tables(tmp_path):
    page = "<html><body>x</body></html>"
    (tmp_path / "a.txt").write_text(f"{page}\n{page}\n")
    assert [record.values for record in read_table(tmp_path / "a.txt").records] == [{"text": page}] * 2
    (tmp_path / "b.csv").write_text(f"text,label\n{page},a\n")
    assert read_rows(tmp_path / "b.csv", options=DataConfig())[0][0].text == page
    (tmp_path / "c.csv").write_text(f"{page},a\n{page},b\n")
    options = DataConfig(no_header=True, text_column="1", label_column="2")
    assert read_rows(tmp_path / "c.csv", options=options)[0][0].text == page
    (tmp_path / "d.xls").write_text("text\tlabel\nx\ta\ny\tb\n")
    assert len(read_rows(tmp_path / "d.xls", options=DataConfig())[0]) == 2, "programs export tables of tabs by this name"


def test_at_most_twenty_faults_are_shown_and_the_rest_counted(tmp_path):
    text = refused(write(tmp_path / "a.jsonl", "{\n" * 30))
    assert text.count("a.jsonl:") == 20
    assert "and 10 more, 30 in all" in text


def test_the_quote_to_blame_is_looked_for_in_the_first_faults_only(tmp_path, monkeypatch):
    reads, honest = [], text_files.read_lines
    monkeypatch.setattr(text_files, "read_lines", lambda path, *how: reads.append(path) or honest(path, *how))
    text = refused(write(tmp_path / "a.csv", "text,label\n" + 'x,"a\nb",c\n' * 30))
    assert (text.count("a quote that opens here"), text.count("a.csv:"), len(reads)) == (5, 20, 1 + 2 + 5)
    assert "a.csv:12: 3 fields, the header has 2" in text


def test_only_files_and_pipes_are_opened(tmp_path):
    (tmp_path / "b.csv").mkdir()
    assert "not a regular file" in refused(tmp_path / "b.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert "not a regular file" in refused(tmp_path / "zero.csv")
    assert "cannot be opened" in refused(tmp_path / "none.csv")


def test_a_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MOST_BYTES", 1 << 20)
    assert "GiB of text" in refused(write(tmp_path / "a.csv.gz", gzip.compress(b"x" * (2 << 20), mtime=0)))


def test_a_ten_megabyte_field(tmp_path):
    records, _ = readers.read_records(write(tmp_path / "a.csv", "text,label\n" + "x" * 10_000_000 + ",a\n"))
    assert len(records[0].values["text"]) == 10_000_000


def test_the_folder_is_the_registry(tmp_path, monkeypatch):
    """A new reader is one file: with its suffixes, and found without being named anywhere."""
    (tmp_path / "made_up.py").write_text(
        "from finewright.data.readers.base import FileFormat, FileTable, Record\n"
        'SUFFIXES = (".made",)\n'
        "def read(file, options):\n"
        '    records = [Record(f"{file.name}:1", {"text": file.path.read_text()})]\n'
        '    return FileTable(records, ("text",), FileFormat(".made"), ["made up"])\n'
    )
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    readers._readers.cache_clear()
    try:
        records, notes = readers.read_records(write(tmp_path / "a.made", "x"))
        assert (records[0].values, notes) == ({"text": "x"}, ["made up"])
        assert ".jsonl, .json, .ndjson, .parquet, .xlsx, .xlsm, .made," in refused(write(tmp_path / "a.xyz", "x"))
    finally:
        sys.modules.pop("finewright.data.readers.made_up", None)
        readers._readers.cache_clear()
