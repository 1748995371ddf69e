"""Room and errors of a copy of a model that is made once and kept in the cache."""

import errno
from pathlib import Path

from finewright.core import cache
from finewright.core.errors import ExitCode, UserError

_SPARE_BYTES = 256 << 20
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def check_room(num_bytes: int, *, what: str, where: Path) -> None:
    """Raise `UserError` if the cache has no room for a copy of `num_bytes` and some more. `what`: what takes them, and a verb."""
    wanted = num_bytes + _SPARE_BYTES
    if (free := cache.free_bytes()) < wanted:
        raise _disk_error(f"{what} {wanted:,} bytes in {cache.cache_folder()}, where {free:,} are free", where)


def is_storage_error(error: OSError) -> bool:
    """Return whether the folder of the cache is full or cannot be written."""
    return error.errno in _STORAGE_ERRORS


def storage_error(error: OSError, *, what: str, where: Path) -> UserError:
    """Return the error of a copy, `what`, that could not be written."""
    return _disk_error(f"{what} cannot be stored in {cache.cache_folder()}: {error.strerror or error}", where)


def require_kept(found: Path | None, *, what: str, where: Path) -> Path:
    """Return the folder of the cache that holds the copy; raise `UserError` if there is none after it was written."""
    if found is None:
        raise _disk_error(f"{what} cannot be kept in {cache.cache_folder()}", where)
    return found


def _disk_error(what: str, where: Path) -> UserError:
    fix = "free some space, or set FINEWRIGHT_CACHE to a folder with room that can be written"
    return UserError(what, where=str(where), fix=fix, code=ExitCode.DISK)
