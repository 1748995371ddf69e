"""Record which base an adapter was trained on, and check it when the adapter is loaded."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.models import weight_files

if TYPE_CHECKING:
    from finewright.models.hub import ModelSource

FILE = "base.json"


def base_identity(source: "ModelSource") -> dict[str, str]:
    """Return what identifies a model: its name, and its commit or the SHA-256 of every weight file."""
    return {"name": source.name} | ({"revision": source.revision} if source.revision else weight_digests(source.path))


def write_base(folder: Path, source: "ModelSource") -> None:
    """Write the SHA-256 of every weight file of a base that has no commit, and its name if that is not the folder's path."""
    if not source.revision:
        written = {"name": source.name} if source.name != str(source.path.resolve()) else {}
        written |= {"weights": weight_digests(source.path)}
        (folder / FILE).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def base_name(folder: Path) -> str | None:
    """Return the name of an adapter's base if its folder may lie elsewhere now: embedded, of a package or of a GGUF file."""
    try:
        name = json.loads((folder / FILE).read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) and name else None


def base_weights(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every weight file of an adapter's base, by name; none if that is not recorded."""
    try:
        return dict(json.loads((folder / FILE).read_text(encoding="utf-8"))["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_base(folder: Path, source: "ModelSource") -> None:
    """Raise `UserError` if the base's weights are not those the adapter was trained on."""
    path = folder / FILE
    if not path.exists():
        return
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path), fix="train it again", code=ExitCode.MISMATCH) from None
    found = weight_digests(source.path)
    changed = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if changed:
        what = f"the base model is not the one the adapter was trained on: {', '.join(changed)} differs"
        raise UserError(what, where=source.name, fix="bring the old weights back, or train again", code=ExitCode.MISMATCH)


def weight_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every weight file of a model's folder, by name."""
    return {path.name: files.sha256(path) for path in weight_files.list_safetensors(folder)}
