"""Bytes from packed files, pipes and standard input."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import time
import zipfile
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import readers
from finewright.data.dataset import read_dataset, read_rows, read_table
from finewright.data.readers import source
from support.texts import read_texts

TABLE = "text,label\n" + "".join(f"text number {n},{'ab'[n % 2]}\n" for n in range(20))


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def as_parquet():
    out = io.BytesIO()
    rows = [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(20)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.bz2", bz2.compress(TABLE.encode())),
        ("a.csv.xz", lzma.compress(TABLE.encode())),
        ("a.csv.gz", gzip.compress(TABLE.encode())),
        ("a.csv.zip", zipped({"a.csv": TABLE})),
        ("archive.zip", zipped({"readme.md": "x", "deep/in/b.csv": TABLE, "__MACOSX/._b.csv": "y", "deep/.c.csv": "z"})),
        ("a.zip", zipped({"b.tsv": TABLE.replace(",", "\t")})),
        ("a.zip", zipped({"b.parquet": as_parquet()})),
        ("a.parquet.gz", gzip.compress(as_parquet())),
        ("a.data", as_parquet()),
    ],
)
def test_a_packed_table_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    rows, _ = read_rows(tmp_path / name, options=DataConfig())
    assert [(row.text, row.label) for row in rows] == [(f"text number {n}", "ab"[n % 2]) for n in range(20)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", zipped({"a.csv": TABLE, "b.csv": TABLE}), r"several tables in this archive: a\.csv, b\.csv\n.*unpack it"),
        ("a.zip", zipped({"notes.md": "x"}), r"no table in this archive; it has notes\.md"),
        ("a.zip", zipped({"../.": "x"}), "no table in this archive; it has nothing"),
        ("a.csv.zip", zipped({"a.csv": TABLE})[:-30], "cannot be read"),
        ("a.csv.xz", lzma.compress(TABLE.encode() * 50)[:-20], "cannot be read"),
        ("a.csv.bz2", bz2.compress(TABLE.encode() * 50)[:-9], "cannot be read"),
    ],
)
def test_a_packed_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path / name, options=DataConfig())


def test_a_bomb_in_an_archive_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MOST_BYTES", 1 << 20)
    (tmp_path / "a.parquet.xz").write_bytes(lzma.compress(b"PAR1" + bytes(3 << 20)))
    with pytest.raises(UserError, match="more than"):
        read_rows(tmp_path / "a.parquet.xz", options=DataConfig())


def test_an_encrypted_member_is_no_crash(tmp_path):
    content = bytearray(zipped({"a.csv": TABLE}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read: .*(password|encrypted)"):
        read_rows(tmp_path / "a.zip", options=DataConfig())


def fed(path, content, *, wait=0.0):
    def write():
        time.sleep(wait)
        with open(path, "wb") as handle:
            handle.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    content = TABLE + "x" * 300_000 + ",a\n"
    thread = fed(tmp_path / "pipe.csv", content.encode(), wait=0.1)
    dataset = read_dataset(tmp_path / "pipe.csv", options=DataConfig())
    thread.join()
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 21


def test_a_fault_in_what_comes_through_a_pipe_names_its_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    thread = fed(tmp_path / "pipe", b'text,label\nx,a\n"never closed,b\nz,a\n')
    with pytest.raises(UserError, match=r"pipe:3: a quote that opens here is never closed"):
        read_rows(tmp_path / "pipe", options=DataConfig(format="csv"))
    thread.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_WAIT_SECONDS", 0.2)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match="nothing writes to this pipe"):
        read_rows(tmp_path / "pipe.csv", options=DataConfig())


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input(name):
    code = (
        "from finewright.core.config import DataConfig\n"
        "from finewright.data.dataset import read_dataset\n"
        f"found = read_dataset({name!r}, options=DataConfig())\n"
        "print(len(found.train), found.labels, found.train[0].where)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=TABLE, capture_output=True, text=True, check=True)
    assert done.stdout == f"16 ('a', 'b') {'standard input' if name == '-' else 'stdin'}:2\n"


def test_texts_of_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\n\ntwo\n")))
    assert read_texts("-", options=DataConfig()) == ["one", "two"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(UserError, match="-: standard input is empty"):
        read_texts("-", options=DataConfig())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        read_texts("-", options=DataConfig())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://example.com/x.csv", "http://example.com/x.csv: addresses are not read\n.*curl -LO http://example.com/x.csv"),
        ("https://huggingface.co/datasets/owner/name", "give the hub id: owner/name"),
        ("hf://datasets/owner/name", "give the hub id: owner/name"),
        ("s3://bucket/x.csv", "s3://bucket/x.csv: addresses are not read\n.*download it first"),
        ("file:///data/x.csv", "give the path: /data/x.csv"),
    ],
)
def test_addresses_are_refused_with_the_way_out(address, message):
    for read in (read_dataset, read_rows, read_table):
        with pytest.raises(UserError, match=message):
            read(address, options=DataConfig())
    with pytest.raises(UserError, match=message):
        read_rows(source.Path(address), options=DataConfig())  # a path has lost a slash


def test_the_packaged_data_set_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset("tickets", options=DataConfig())
    assert len(dataset.train) > 500
    assert "'tickets' is the data set of that name that comes with finewright" in dataset.notes
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "train.csv").write_text(TABLE)
    assert len(read_dataset("tickets", options=DataConfig()).train) == 14


def test_a_name_is_a_table_packed_or_not():
    assert all(map(readers.is_table, ["a.csv", "a.CSV.gz", "b.jsonl.xz", "c.parquet", "d.zip", "e.xlsx"]))
    assert not any(map(readers.is_table, ["a.txt", "README.md", "state.json.lock"]))
