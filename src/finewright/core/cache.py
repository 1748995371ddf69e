"""A cache on disk of results that take long and depend only on their inputs, under the hash of those inputs.

An entry is a folder that appears complete or not at all: it is written under another name and renamed. If two processes make
the same entry, either copy stays; both are the same. `entry_lock` spares the second process the work.
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
"""Size of the cache above which the entries used longest ago are removed."""
MOST_SHARE = 0.25
"""Largest share of the free disk space and the cache together."""
MOST_ENTRIES = 1000
"""Most entries of one kind: each new entry lists all of them."""
MODELS = "models"
"""Kind of entries that are model folders: runs go back to them by path, so those used within `KEPT_SECONDS` are not removed."""
KEPT_SECONDS = 7 * 24 * 3600
_SEAL = "SHA256.json"
"""File with the digests of an entry's files, by name."""
_UNFINISHED, _STALE_SECONDS = ".unfinished-", 24 * 3600


def cache_folder() -> Path:
    """Return `$FINEWRIGHT_CACHE`, or `finewright` in the user's cache folder."""
    if given := os.environ.get("FINEWRIGHT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finewright"


def make_key(parts: Iterable[bytes | memoryview | str]) -> str:
    """Return the hash of everything an entry depends on; the length of each part is hashed too, so that no two inputs collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") if isinstance(data, bytes) else data.nbytes.to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def lookup(kind: str, key: str) -> Path | None:
    """Return the folder of an entry and mark it as used now, or None. Remove an entry that is not what was written."""
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


def find(kind: str, is_wanted: Callable[[dict[str, str]], bool]) -> Path | None:
    """Return the folder of an entry whose files are wanted, or None. `is_wanted`: takes the SHA-256 of its files, by name."""
    for seal in sorted((cache_folder() / kind).glob(f"*/{_SEAL}")):
        with contextlib.suppress(OSError, ValueError):
            if is_wanted(dict(json.loads(seal.read_text(encoding="utf-8")))) and (found := lookup(kind, seal.parent.name)):
                return found
    return None


def _digests(place: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an entry."""
    return {file.name: files.sha256(file) for file in sorted(place.iterdir()) if file.name != _SEAL}


@contextlib.contextmanager
def create(kind: str, key: str) -> Iterator[Path]:
    """Yield an empty folder to write an entry into. It becomes the entry at the end, or is removed if anything fails.

    Raise `OSError` if the cache cannot be written.
    """
    folder = cache_folder() / kind
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        yield place
        (place / _SEAL).write_text(json.dumps(_digests(place)), encoding="utf-8")
        files.sync_all(place)
        with contextlib.suppress(OSError):  # another process was faster: its entry is the same
            place.rename(folder / key)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    evict(keep=folder / key)


@contextlib.contextmanager
def entry_lock(kind: str, key: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Inside, no other process makes this entry. Look it up again first: it may be there by now.

    A second process calls `waiting` and waits until the first is done or has ended. Without a lock, as in a cache that cannot
    be written, none waits.
    """
    path = cache_folder() / kind / f"{_UNFINISHED}{key}.lock"
    descriptor = _lock(path, waiting)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # before the release: the next holder sees that it is gone, and makes its own
            os.close(descriptor)


def _lock(path: Path, waiting: Callable[[], None]) -> int | None:
    """Return a descriptor that locks the file of this name, or None if that is impossible."""
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
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if files.is_open_file(path, descriptor):
            return descriptor
        os.close(descriptor)


def free_bytes() -> int:
    """Return the free space on the disk of the cache."""
    place = cache_folder()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def evict(*, keep: Path) -> None:
    """Remove old unfinished entries, and beyond the bounds the entries used longest ago; never `keep` nor a model in use."""
    entries = []
    for entry in cache_folder().glob("*/*"):
        with contextlib.suppress(OSError):
            used = entry.stat().st_mtime
            if entry.parent.name == MODELS and time.time() - used < KEPT_SECONDS and not entry.name.startswith(_UNFINISHED):
                continue
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
