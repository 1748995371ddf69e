"""The browser of the tests that need one, and axe-core's rules.

Without Playwright or Chromium a test is skipped, and under `make test-browser`, which is asked for on purpose, it fails:
a run in which nothing was looked at must not be green.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_PLAYWRIGHT = (
    "Playwright is not installed here: `uv pip install -p .venv playwright`, or `.venv/bin/python -m pip install playwright`"
)
NO_CHROMIUM = "no Chromium found: install your system's, or `.venv/bin/python -m playwright install chromium`"
NO_AXE = "accessibility was NOT checked: FINEWRIGHT_AXE must be the path of axe-core's axe.min.js, from its npm package"


@contextlib.contextmanager
def opened() -> Iterator[Any]:
    """A Chromium without a window: the system's, else Playwright's own."""
    try:
        from playwright import sync_api
    except ImportError:
        lacking(NO_PLAYWRIGHT)
    with sync_api.sync_playwright() as started:
        path = next(filter(None, map(shutil.which, NAMES)), started.chromium.executable_path)
        if not Path(path).exists():
            lacking(NO_CHROMIUM)
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def lacking(what: str) -> None:
    """Skip, or fail where the browser was asked for."""
    if os.environ.get("FINEWRIGHT_BROWSER") == "required":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def axe_script() -> str:
    """The text of axe.min.js; without it the test is skipped, aloud."""
    if not (path := os.environ.get("FINEWRIGHT_AXE")):
        pytest.skip(NO_AXE)
    return Path(path).read_text()
