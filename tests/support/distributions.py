"""Installed Python distributions, made up: a metadata folder with its list of files beside whatever lies there."""

from collections.abc import Iterable
from pathlib import Path


def install(site: Path, name: str, *, listed: Iterable[str] | None = None) -> Path:
    """Make what lies in `site` under the distribution's import name an installed distribution. `listed`: its list of files, if
    it is not the true one. Return the folder of its module."""
    module = site / name.replace("-", "_")
    module.mkdir(parents=True, exist_ok=True)
    (module / "__init__.py").write_text("raise SystemExit('code of the distribution ran')")
    info = site / f"{module.name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    files = [path.relative_to(site).as_posix() for path in sorted(module.rglob("*")) if path.is_file()]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (files if listed is None else listed)))
    return module
