"""Files in, and what is wrong with them, by line."""

import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from finewright import formats
from finewright.errors import ExitCode, UserError

ROWS = [{"text": "Grüße, “world”\nsecond line", "label": "a"}, {"text": "x,y;z", "label": "b"}]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path):
    with pytest.raises(UserError) as caught:
        formats.read(path)
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
        ("a.csv.gz", gzip.compress(as_csv(",").encode())),
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
    ],
)
def test_every_format_brings_the_same_rows(tmp_path, name, content):
    records, _ = formats.read(write(tmp_path / name, content))
    assert [record.values for record in records] == ROWS


def test_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    records, _ = formats.read(tmp_path / "a.parquet")
    assert [record.values for record in records] == ROWS
    assert records[1].where == "a.parquet: row 2"


def test_places_are_physical_lines(tmp_path):
    records, _ = formats.read(write(tmp_path / "a.csv", as_csv(",")))
    assert [record.where for record in records] == ["a.csv:2", "a.csv:4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nx,a\ny,b,c\nz\n", "a.csv:3: 3 fields, the header has 2\na.csv:4: 1 fields"),
        ("a.csv", 'text,label\nx,a\n"never closed,b\nz,a\n', "a.csv:3: a quote that opens here is never closed"),
        ("a.csv", "text,text\nx,a\n", "a.csv:1: two columns are named 'text'"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", b"text,label\ncaf\xe9,a\n", "a.csv:2: byte 0xE9 at column 4 is not UTF-8; it looks like Windows-1252"),
        ("a.csv", b"text,label\nx\x00,a\n", "a.csv:2: a NUL character"),
        ("a.csv", b"PK\x03\x04zzz", "this is a zip archive"),
        ("a.csv", b"\x89PNG\r\n", "this is a PNG picture"),
        ("a.csv", gzip.compress(b"text,label\n"), "this is gzip, not text"),
        ("a.csv.gz", gzip.compress(as_csv(",").encode())[:-9], "cannot be read"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": \n', "a.jsonl:2: Expecting value"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y", "lab', "a.jsonl:2: .*the file looks cut off"),
        ("a.jsonl", '[{"text": "x"}]\n', "a.jsonl:1: wanted an object .* found list"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "a.jsonl:1: NaN is not JSON"),
        ("a.jsonl", '{"text": "x", "text": "y"}\n', "a.jsonl:1: the key 'text' occurs twice"),
        ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl:1: nested too deeply"),
        ("a.jsonl", '{"label": ' + "9" * 5000 + "}\n", "a.jsonl:1: Exceeds the limit"),
        ("a.json", '{"rows": 1}', "wanted an array of objects, found dict"),
        ("a.json", "[1, {}]", "item 1: wanted an object"),
        ("a.parquet", b"PAR1 no", "not readable as Parquet"),
        ("a.xlsx", b"PK", "cannot tell the format of a.xlsx"),
    ],
)
def test_a_fault_names_its_place(tmp_path, name, content, message):
    import re

    assert re.search(message, refused(write(tmp_path / name, content)))


def test_at_most_twenty_faults_are_shown_and_the_rest_counted(tmp_path):
    text = refused(write(tmp_path / "a.jsonl", "{\n" * 30))
    assert text.count("a.jsonl:") == 20
    assert "and 10 more" in text


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert "not a regular file" in refused(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    assert "not a regular file" in refused(tmp_path / "b.csv")
    assert "cannot be opened" in refused(tmp_path / "none.csv")


def test_a_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MOST_BYTES", 1 << 20)
    assert "GiB of text" in refused(write(tmp_path / "a.csv.gz", gzip.compress(b"x" * (2 << 20))))


def test_a_ten_megabyte_field(tmp_path):
    records, _ = formats.read(write(tmp_path / "a.csv", "text,label\n" + "x" * 10_000_000 + ",a\n"))
    assert len(records[0].values["text"]) == 10_000_000
