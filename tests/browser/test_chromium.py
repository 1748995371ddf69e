"""What happens where there is no browser."""

import contextlib
import sys
from types import SimpleNamespace

import pytest

from support import chromium


@pytest.fixture(params=["playwright", "playwright install chromium"])
def without(request, monkeypatch):
    """What is lacking, as it is said."""
    monkeypatch.setitem(sys.modules, "playwright", None)
    if request.param != "playwright":
        started = SimpleNamespace(chromium=SimpleNamespace(executable_path="/nowhere/chromium"))
        library = SimpleNamespace(sync_playwright=lambda: contextlib.nullcontext(started))
        monkeypatch.setitem(sys.modules, "playwright", SimpleNamespace(sync_api=library))
        monkeypatch.setattr(chromium.shutil, "which", lambda name: None)
    return request.param


def test_asked_for_on_purpose_it_is_a_failure_that_says_how_to_get_it(without, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match=without), chromium.opened():
        pass


def test_else_it_is_a_skip(without, monkeypatch):
    monkeypatch.delenv("FINEWRIGHT_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match=without), chromium.opened():
        pass


def test_without_axe_it_is_said(monkeypatch):
    monkeypatch.delenv("FINEWRIGHT_AXE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="accessibility was NOT checked"):
        chromium.axe_script()
