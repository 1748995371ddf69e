"""What takes long to make and depends on nothing but its inputs: kept on disk under the hash of those inputs.

An entry is a folder that appears whole or not at all: it is written under another name and renamed. Whoever finds it may rely
on it; whoever makes it at the same time as somebody else ends up with either copy, which are the same. `alone` spares the second
the work.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from finewright.core import files

MOST_BYTES = 20 << 30
"""Entries beyond it are removed, those used longest ago first."""
MOST_SHARE = 0.25
"""Of the disk's free space and what is kept already."""
MOST_ENTRIES = 1000
"""Of one kind: every new entry looks at all of them."""
_SEAL = "SHA256.json"
"""Digests of an entry's files, by name."""
_UNFINISHED, _STALE_SECONDS = ".unfinished-", 24 * 3600


def cache_folder() -> Path:
    """`$FINEWRIGHT_CACHE`, or `finewright` in the user's cache folder."""
    if given := os.environ.get("FINEWRIGHT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finewright"


def make_key(parts: Iterable[bytes | memoryview | str]) -> str:
    """Hash of everything an entry depends on; each part counts with its length, so that none can run into the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") if isinstance(data, bytes) else data.nbytes.to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def lookup(kind: str, key: str) -> Path | None:
    """The folder of an entry, marked as used now; None when there is none. One that is not what was made is removed."""
    place = cache_folder() / kind / key
    try:
        os.utime(place)
    except OSError:
        return None
    with contextlib.suppress(OSError, ValueError):
        if json.loads((place / _SEAL).read_text(encoding="utf-8")) == _digests(place):
            return place
    shutil.rmtree(place, ignore_errors=True)
    return None


def _digests(place: Path) -> dict[str, str]:
    """SHA-256 of every file of an entry."""
    return {file.name: files.sha256(file) for file in sorted(place.iterdir()) if file.name != _SEAL}


@contextlib.contextmanager
def create(kind: str, key: str) -> Iterator[Path]:
    """An empty folder to write an entry into; it becomes the entry at the end, or vanishes when anything fails.

    Raises `OSError` where nothing can be written.
    """
    shelf = cache_folder() / kind
    shelf.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=shelf))
    try:
        yield place
        (place / _SEAL).write_text(json.dumps(_digests(place)), encoding="utf-8")
        files.sync_all(place)
        with contextlib.suppress(OSError):  # somebody else was faster: theirs is the same
            place.rename(shelf / key)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    evict(keep=shelf / key)


@contextlib.contextmanager
def entry_lock(kind: str, key: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Inside, nobody else who asks for it makes this entry: look once more whether it is there by now.

    Whoever comes second is told by `waiting` and waits until the first is done or its process has ended. Where there can be no
    lock, as in a store that cannot be written, nobody waits.
    """
    path = cache_folder() / kind / f"{_UNFINISHED}{key}.lock"
    descriptor = _hold(path, waiting)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # before it is let go: who gets it next sees that it is gone, and makes its own
            os.close(descriptor)


def _hold(path: Path, waiting: Callable[[], None]) -> int | None:
    """A descriptor that locks the file of this name; None where that cannot be."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            held = files.lock(descriptor)
            if not held:
                waiting()
                files.lock(descriptor, wait=True)
        except OSError:  # a disk that knows no locks: then it is done without
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the name is that file's, and not gone or another's by now."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def free_bytes() -> int:
    """Space on the disk of the store."""
    place = cache_folder()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def evict(*, keep: Path) -> None:
    """Remove what was not finished long ago, and the entries used longest ago beyond the bounds; never `keep`."""
    entries = []
    for entry in cache_folder().glob("*/*"):
        with contextlib.suppress(OSError):
            used = entry.stat().st_mtime
            if not entry.name.startswith(_UNFINISHED):
                entries.append((used, entry, sum(file.stat().st_size for file in entry.iterdir())))
            elif time.time() - used > _STALE_SECONDS:
                files.remove(entry)
    total = sum(size for _, _, size in entries)
    bound = min(MOST_BYTES, int(MOST_SHARE * (free_bytes() + total)))
    alike = [entry for _, entry, _ in sorted(entries) if entry.parent == keep.parent]
    many = set(alike[: max(0, len(alike) - MOST_ENTRIES)])
    for _, entry, size in sorted(entries):
        if entry != keep and (total > bound or entry in many):
            shutil.rmtree(entry, ignore_errors=True)
            total -= size
