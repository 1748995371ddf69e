"""Tag and remove folders of runs and of comparisons."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.models import adapter_folder, provenance
from finewright.runs import schema
from finewright.runs.folder import RunFolder, list_runs
from finewright.runs.locked_folder import LockedFolder
from finewright.runs.schema import TagsFile

TAGS = "tags.json"
_MOST_CHARACTERS = 60


def read_tags(folder: Path) -> list[str]:
    """Return the tags of a folder. One whose tags cannot be read has none: that must not hide it from a list."""
    try:
        return schema.read(TagsFile, folder / TAGS).tags
    except UserError:
        return []


def change_tags(folder: Path, tag: str, *, remove: bool = False) -> list[str]:
    """Add a tag, or take it away, and return those that the folder has then.

    Raise `UserError` for a tag that no list could show, and for one to be removed that is not there.
    """
    tag = tag.strip()
    if not tag or len(tag) > _MOST_CHARACTERS or not tag.isprintable() or "," in tag:
        what = f"wanted a tag of 1 to {_MOST_CHARACTERS} printable characters without a comma, found {tag[:80]!r}"
        raise UserError(what, where="tag", fix="for instance best")
    tags = set(schema.read(TagsFile, folder / TAGS).tags) if (folder / TAGS).exists() else set()
    if remove and tag not in tags:
        raise UserError(f"no tag {tag!r} here", where=str(folder), fix=f"tags here: {', '.join(sorted(tags)) or 'none'}")
    tags = tags - {tag} if remove else tags | {tag}
    if tags:
        schema.write(folder / TAGS, TagsFile(tags=sorted(tags)))
    else:
        files.remove(folder / TAGS)
    return sorted(tags)


def find_dependents(folder: Path) -> list[Path]:
    """Return the runs beside a folder that need it: adapters whose base it is, and unfinished runs that start from it."""
    if folder.is_symlink():
        return []  # only the link would go
    place, found = folder.resolve(), []
    for run in list_runs(folder.absolute().parent):
        bases = [Path(name) for name in _bases(run)]
        is_needed = any(base.is_absolute() and base.resolve().is_relative_to(place) for base in bases)
        if is_needed and run.path.resolve() != place:
            found.append(run.path)
    return found


def _bases(run: RunFolder) -> Iterator[str]:
    """Yield the names of the models without which a run's model cannot be loaded, or the run not go on."""
    if adapter_folder.is_adapter(run.model):
        yield str(
            provenance.base_name(run.model) or _read(run.model / adapter_folder.ADAPTER_CONFIG).get("base_model_name_or_path")
        )
    elif not run.complete:
        model = _read(run.config).get("model")
        yield str(model.get("name")) if isinstance(model, dict) else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remove_folder(folder: LockedFolder, *, known: set[str]) -> None:
    """Delete a folder with all in it. Raise `UserError` if a process works in it or if it holds files of someone else.

    `known`: names that such a folder has. It loses its name first, so a removal that is cut short leaves no half of a run.
    """
    own = {path.name for path in folder.path.iterdir() if not path.name.startswith(files.DRAFT)}
    if others := sorted(own - known):
        what = f"not removed: it also holds {', '.join(others[:5])}"
        raise UserError(what, where=str(folder.path), fix="move that elsewhere first")
    try:
        folder.lock()
    except OSError as error:
        raise files.access_error(error, folder.path, "write") from None
    except UserError as error:
        if error.code == ExitCode.MISMATCH:
            error.fix = f"stop it first, or wait until the {folder.owner} is done"
        raise
    try:
        gone = folder.path.with_name(f"{files.DRAFT}removed-{folder.path.name}")
        with files.explaining_os_errors(folder.path, fix="let this user write there, then remove it again"):
            files.remove(gone)
            files.rename(folder.path, gone)
            files.remove(gone)
    finally:
        folder.release()
