"""Lines of a text file: the same as of the whole text, in the memory of one line."""

import gzip
import io
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finewright.core.errors import UserError
from finewright.data import readers
from finewright.data.readers import text as text_files

TEXTS = st.text(st.sampled_from("ab ,\"'\r\n\r\n\u2028\x0bé😀\ufeff"), max_size=60)


def refused(path, content, read=lambda path: list(text_files.read_lines(path))):
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(path)
    return str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_lines_are_those_of_the_whole_text(tmp_path, text, encoding, packed):
    raw = text.encode(encoding)
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    whole = raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    assert list(text_files.read_lines(path)) == list(io.StringIO(whole, newline="\n"))
    assert list(text_files.split_lines(text_files.read_lines(path))) == list(io.StringIO(whole, newline=""))


def test_what_cannot_be_read_is_reported_before_what_cannot_be_decoded_and_that_before_the_table(tmp_path):
    latin, long = b"caf\x81\n", b"x" * 3000 + b"\n"
    assert "a.csv:3: byte 0x81" in refused(tmp_path / "a.csv", b"text,text\nx,a\n" + latin, readers.read_records)
    assert "a.csv:4: byte 0x81" in refused(tmp_path / "a.csv", b'text,label\nx,"a"b\n' + long + latin, readers.read_records)
    assert "a.jsonl:2: byte 0x81" in refused(tmp_path / "a.jsonl", b'[{"text": "x"}]\n' + latin, readers.read_records)
    assert "a.csv:3: byte 0x81" in refused(tmp_path / "a.csv", b"text,label\nx\0,a\n" + latin, readers.read_records)
    assert "a.csv:3: a NUL character" in refused(tmp_path / "a.csv", b'text,label\nx,"a"b\ny\0,a\nz\0,a\n', readers.read_records)
    cut = gzip.compress(b"text,label\n" + latin + b"PK\x03\x04" * 99, mtime=0)[:-3]
    assert "cannot be read" in refused(tmp_path / "a.csv.gz", cut, readers.read_records)
    assert "cannot be read" in refused(
        tmp_path / "a.csv.gz", gzip.compress(b"PK\x03\x04" * 99, mtime=0)[:-3], readers.read_records
    )


def test_the_limit_is_of_the_whole_text_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MOST_BYTES", 12)
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\nxxxxxx\n")
    assert len(list(text_files.read_lines(path))) == 2
    assert "GiB of text" in refused(path, b"text\nxxxxxx\ny")
    assert "GiB of text" in refused(path, b"\xe9text\nxxxxxx\ny"), "before what cannot be decoded"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_text_is_never_in_memory_as_a_whole(tmp_path, name):
    path = tmp_path / name
    path.write_text(f"😀{'x' * 99}\n" * 10_000, encoding="utf-8")
    tracemalloc.start()
    text_files.exhaust(text_files.split_lines(text_files.read_lines(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 < path.stat().st_size


def test_reading_takes_little_more_than_what_was_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"😀 number {index},a\n" for index in range(10_000)), encoding="utf-8")
    tracemalloc.start()
    records, _ = readers.read_records(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 10_000
    assert peak - kept < 200_000
