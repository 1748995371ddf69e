"""Room and errors of copies in the cache."""

import errno
from pathlib import Path

import pytest

from finewright.core import cache
from finewright.core.errors import ExitCode, UserError
from finewright.models import stored_copy

MODEL = Path("base")


def test_a_copy_without_room_is_refused_with_what_it_takes_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free_bytes", lambda: 300 << 20)
    stored_copy.check_room(44 << 20, what="a copy takes", where=MODEL)
    with pytest.raises(UserError) as caught:
        stored_copy.check_room((44 << 20) + 1, what="a copy takes", where=MODEL)
    assert caught.value.what == f"a copy takes 314,572,801 bytes in {cache.cache_folder()}, where 314,572,800 are free"
    assert (caught.value.where, caught.value.code) == ("base", ExitCode.DISK)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, True), (errno.EROFS, True), (errno.EIO, False)],
)
def test_a_full_or_closed_cache_is_told_from_an_unreadable_file(number: int, expected: bool) -> None:
    error = OSError(number, "reason")
    assert stored_copy.is_storage_error(error) is expected
    assert stored_copy.storage_error(error, what="the copy", where=MODEL).what.endswith(": reason")


def test_a_copy_that_was_not_kept_is_an_error(tmp_path: Path) -> None:
    assert stored_copy.require_kept(tmp_path, what="the copy", where=MODEL) == tmp_path
    with pytest.raises(UserError, match="the copy cannot be kept") as caught:
        stored_copy.require_kept(None, what="the copy", where=MODEL)
    assert "FINEWRIGHT_CACHE" in (caught.value.fix or "")
