"""Pages that a browser on this machine shows: a local server, its security checks, and the templates. An optional extra."""

import importlib.util

from finewright.core.errors import UserError

INSTALL = "pip install 'finewright[web]'"


def check_installed(*, where: str) -> None:
    """Raise `UserError` if a library of the extra is missing. `where`: the option that asked for a page."""
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        what = f"a page in the browser needs {' and '.join(missing)}, not installed here"
        raise UserError(what, where=where, fix=INSTALL)
