"""Which base an adapter was trained on: written beside it, and checked when it is loaded again."""

import json
from pathlib import Path

from finewright import disk
from finewright.errors import ExitCode, UserError
from finewright.hub import Source

FILE = "base.json"


def identity(source: Source) -> dict[str, str]:
    """What says that a model is still the same: its name, and its commit or the SHA-256 of every weight file."""
    return {"name": source.name} | ({"revision": source.revision} if source.revision else fingerprints(source.path))


def write(folder: Path, source: Source) -> None:
    """Keep the SHA-256 of every weight file of a base that has no commit to name it by."""
    if not source.revision:
        (folder / FILE).write_text(json.dumps({"weights": fingerprints(source.path)}, indent=2) + "\n", encoding="utf-8")


def require_same(folder: Path, source: Source) -> None:
    """A base with other weights than the adapter was trained on is a `UserError`: it would predict something else."""
    path = folder / FILE
    if not path.exists():
        return
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path), fix="train it again", code=ExitCode.MISMATCH) from None
    found = fingerprints(source.path)
    changed = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if changed:
        what = f"the base model is not the one the adapter was trained on: {', '.join(changed)} differs"
        raise UserError(what, where=source.name, fix="bring the old weights back, or train again", code=ExitCode.MISMATCH)


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of every weight file of a model's folder, by name."""
    return {path.name: disk.sha256(path) for path in sorted(folder.glob("*.safetensors"))}
