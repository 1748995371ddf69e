"""Changes on disk: whole or not at all, on the medium when they say so, explained when they fail."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys

import pytest

from finewright.core import files
from finewright.core.errors import ExitCode, UserError


class Calls:
    """What of `os` a room called, in order, with the real effect."""

    def __init__(self):
        self.made = []

    def __getattr__(self, name):
        honest = getattr(os, name)
        if not callable(honest):
            return honest

        def called(*args, **kwargs):
            self.made.append(name)
            return honest(*args, **kwargs)

        return called


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_is_written_synced_renamed_and_its_name_synced(tmp_path, monkeypatch):
    calls = Calls()
    monkeypatch.setattr(files, "os", calls)
    files.write_atomic(tmp_path / "a.json", "text\udc80")
    assert (tmp_path / "a.json").read_bytes() == rb"text\udc80"
    order = [name for name in calls.made if name in ("write", "fsync", "rename")]
    assert order == ["write", "fsync", "rename", "fsync"]
    assert names(tmp_path) == ["a.json"]


def test_a_write_that_takes_a_part_at_a_time_writes_all(tmp_path, monkeypatch):
    class Slow(Calls):
        def write(self, descriptor, data):
            return os.write(descriptor, bytes(data[:3]))

    monkeypatch.setattr(files, "os", Slow())
    with files.new_file(tmp_path / "a") as descriptor:
        files.write(descriptor, b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output"), (errno.EROFS, "Read-only")]
)
def test_what_the_disk_refuses_is_one_message_and_the_old_file_stays(tmp_path, monkeypatch, number, word):
    files.write_atomic(tmp_path / "a.json", "old")

    class Refusing(Calls):
        def fsync(self, descriptor):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "os", Refusing())
    with pytest.raises(UserError, match=word) as caught:
        files.write_atomic(tmp_path / "a.json", "new")
    assert caught.value.code == ExitCode.DISK
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.parametrize(
    ("refusal", "synced"),
    [(0, ["full"]), (errno.ENOTSUP, ["full", "plain"]), (errno.EIO, ["full"])],
    ids=["full", "none", "broken"],
)
def test_on_a_mac_the_drive_flushes_too(tmp_path, monkeypatch, refusal, synced):
    asked = []

    def full(descriptor, command):
        asked.append("full")
        if refusal:
            raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("plain"))
    with pytest.raises(OSError, match="error") if refusal == errno.EIO else contextlib.nullcontext():
        files.sync(tmp_path)
    assert asked == synced


def test_a_leftover_draft_does_no_harm(tmp_path):
    (tmp_path / ".draft-a").write_text("half")
    files.write_atomic(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"]


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        with files.atomic_folder(tmp_path / "model") as draft:
            (draft / text).write_text(text)
    assert names(tmp_path / "model") == ["new"]
    with pytest.raises(UserError), files.atomic_folder(tmp_path / "model") as draft:
        (draft / "nowhere" / "half").write_text("x")
    assert names(tmp_path / "model") == ["new"]


def test_removing_takes_links_away_and_not_what_they_lead_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    files.remove(tmp_path / "gone")
    files.remove(tmp_path / "never there")
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["file"]


def test_a_lock_is_one_process_s_and_ends_with_it(tmp_path):
    code = "import os,sys; from finewright.core import files; sys.exit(files.lock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)))"

    def another():
        return bool(subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")], check=False).returncode)

    assert another()
    descriptor = os.open(tmp_path / "l", os.O_RDWR)
    assert files.lock(descriptor)
    assert not another()
    os.close(descriptor)
    assert another()


def test_what_is_new_is_named_on_the_medium_and_what_is_there_is_not_asked_about(tmp_path, monkeypatch):
    synced, honest = [], files.sync
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path) or honest(path))
    files.make_folder(tmp_path / "runs" / "mine")
    files.append(tmp_path / "runs" / "mine" / "log", b"1")
    assert synced == [tmp_path, tmp_path / "runs", tmp_path / "runs" / "mine"]
    files.make_folder(tmp_path / "runs" / "mine")
    files.append(tmp_path / "runs" / "mine" / "log", b"2")
    assert len(synced) == 3


def test_a_file_system_without_locks_is_no_other_process(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with open(tmp_path / "l", "w") as handle, pytest.raises(OSError, match="No locks available"):
        files.lock(handle.fileno())


@pytest.mark.parametrize("kind", [Exception, RuntimeError, OSError])
def test_what_a_library_in_another_language_is_refused_is_the_disk_s_fault_too(kind):
    """The tokenizers' own error is a bare Exception."""
    with (
        pytest.raises(UserError, match="cannot write: No space left on device") as caught,
        files.explaining_os_errors(files.Path("x")),
    ):
        raise kind("No space left on device (os error 28)")
    assert caught.value.code == ExitCode.DISK


def test_a_full_disk_under_the_tokenizer_is_the_disk_s_fault(tmp_path):
    """The real library on a device that is always full."""
    from tokenizers import Tokenizer, models

    with pytest.raises(UserError) as caught, files.explaining_os_errors(tmp_path):
        Tokenizer(models.BPE()).save("/dev/full")
    assert caught.value.code == ExitCode.DISK


def test_other_errors_and_what_is_explained_already_stay_what_they_are():
    for error in (ValueError("x"), UserError("no such thing (os error 2)", code=ExitCode.BAD_DATA)):
        with pytest.raises(type(error)) as caught, files.explaining_os_errors(files.Path("x")):
            raise error
        assert caught.value is error
