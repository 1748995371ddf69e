"""The demo is a small comparison with predictions."""

import io
import json

import pytest
from rich.console import Console

from finewright import methods
from finewright.cli import demo, demo_view
from finewright.core.events import RunFinished
from finewright.models import hub
from support import tiny
from support.comparisons import FAST


@pytest.fixture
def small(tmp_path, monkeypatch, quick_comparisons):
    """Tiny model and data in place of the embedded ones."""
    tiny.folder(tmp_path / "gpt2")
    monkeypatch.setattr(demo, "DATA", tiny.tickets(tmp_path / "tickets.csv", count=60))
    monkeypatch.setattr(hub, "EMBEDDED", str(tmp_path / "gpt2"))


def printed(show, result) -> str:
    console = Console(file=io.StringIO(), width=80)
    show(result, console)
    return console.file.getvalue()


def test_all_methods_are_compared_on_all_rows(small, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "demo_methods", lambda: [methods.get_method("lora"), methods.get_method("scratch")])
    events = []
    outcome = demo.run_demo(every_method=True, out=tmp_path / "demo", options=FAST, on_event=events.append)
    assert not any(event.failed for event in events if isinstance(event, RunFinished))
    assert [line["text"] for line in outcome.predictions] == list(demo.MESSAGES)
    assert outcome.run.result.method == "lora"
    found = json.loads(json.dumps(outcome.as_json(), allow_nan=False))
    assert {"methods", "verdict", "predictions", "picture", "report", "run"} <= set(found)
    assert outcome.picture.is_file()
    assert outcome.comparison.page.is_file()
    shown = printed(demo_view.show_methods, outcome)
    assert "macro F1" in shown
    assert f"report     {outcome.comparison.page}" in shown


def test_few_rows_are_shown_as_bars_with_what_to_do_next(small, tmp_path, monkeypatch):
    for module in (demo, demo_view):
        monkeypatch.setattr(module, "FEW_ROWS", 20)
    outcome = demo.run_demo(out=tmp_path / "demo", options=FAST, on_event=lambda event: None)
    assert {row.num_train for row in outcome.comparison.file.methods if row.accuracy is not None} == {20}
    shown = printed(demo_view.show_few_rows, outcome)
    assert "after training on 20" in shown
    lines = shown.splitlines()
    bars = [line for line in lines if line.rstrip().endswith("%") and ("█" in line or "#" in line)]
    shares = [float(line.split()[-1].rstrip("%")) for line in bars]
    assert shares == sorted(shares)
    for title in ("fine-tuned with lora", "a bag of words", "the same network, from random weights"):
        assert sum(title in line for line in bars) == 1
    [command] = [line.split("try")[1].strip() for line in lines if line.startswith("  try ")]
    assert command.startswith("finewright predict ")
    assert str(outcome.run.path) in command


def test_methods_need_no_extra_and_the_preferred_one_is_first():
    found = demo.demo_methods()
    assert found[0] is methods.methods_by_preference()[0]
    assert not any(kind.needs for kind in found)
