"""A file that somebody writes to while it is read."""

import pytest

from finewright.core import files
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import Interrupted
from finewright.data import dataset
from finewright.data.readers import text


@pytest.mark.parametrize("more", [b"another,b\n", b'"half a li'], ids=["a row", "half a row"])
@pytest.mark.parametrize("read", [dataset.read_rows, dataset.read_table])
def test_a_file_that_grows_meanwhile_is_refused(tmp_path, monkeypatch, read, more):
    path, honest = tmp_path / "a.csv", text._raw_lines
    path.write_bytes(b"text,label\none,a\n")
    assert read(path, options=DataConfig())

    def interfered(file):
        with open(file, "ab") as handle:
            handle.write(more)
        return honest(file)

    monkeypatch.setattr(text, "_raw_lines", interfered)
    with pytest.raises(UserError, match=r"a\.csv: the file changed while it was read") as caught:
        read(path, options=DataConfig())
    assert caught.value.code == ExitCode.BAD_DATA


def test_a_file_that_is_replaced_meanwhile_is_refused(tmp_path, monkeypatch):
    path, honest = tmp_path / "a.txt", text._raw_lines
    path.write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")

    def interfered(file):
        yield from honest(file)
        (tmp_path / "b.txt").replace(file)

    monkeypatch.setattr(text, "_raw_lines", interfered)
    with pytest.raises(UserError, match="the file changed while it was read"):
        dataset.read_table(path, options=DataConfig())


def test_a_wish_to_stop_is_not_told_as_a_change(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n")

    def read():
        with files.unchanged_while_reading(path):
            path.write_text("text,label\none,a\n")
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        read()
