"""A file that somebody writes to while it is read."""

import pytest

from finewright import data, steady, textfile
from finewright.config import DataKnobs
from finewright.errors import ExitCode, UserError
from finewright.stop import Interrupted


@pytest.mark.parametrize("more", [b"another,b\n", b'"half a li'], ids=["a row", "half a row"])
@pytest.mark.parametrize("read", [data.read_rows, data.read_texts])
def test_a_file_that_grows_meanwhile_is_refused(tmp_path, monkeypatch, read, more):
    path, honest = tmp_path / "a.csv", textfile._raw_lines
    path.write_bytes(b"text,label\none,a\n")
    assert read(path, knobs=DataKnobs())

    def interfered(file):
        with open(file, "ab") as handle:
            handle.write(more)
        return honest(file)

    monkeypatch.setattr(textfile, "_raw_lines", interfered)
    with pytest.raises(UserError, match=r"a\.csv: the file changed while it was read") as caught:
        read(path, knobs=DataKnobs())
    assert caught.value.code == ExitCode.BAD_DATA


def test_a_file_that_is_replaced_meanwhile_is_refused(tmp_path, monkeypatch):
    path, honest = tmp_path / "a.txt", textfile._raw_lines
    path.write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")

    def interfered(file):
        yield from honest(file)
        (tmp_path / "b.txt").replace(file)

    monkeypatch.setattr(textfile, "_raw_lines", interfered)
    with pytest.raises(UserError, match="the file changed while it was read"):
        data.read_texts(path, knobs=DataKnobs())


def test_a_wish_to_stop_is_not_told_as_a_change(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n")

    def read():
        with steady.reading(path):
            path.write_text("text,label\none,a\n")
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        read()
