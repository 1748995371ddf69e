"""The demo is a small comparison with predictions."""

import json

from finewright import methods
from finewright.cli import demo
from finewright.core.events import RunFinished
from finewright.models import hub
from support import tiny
from support.comparisons import FAST


def test_it_compares_predicts_and_names_its_files(tmp_path, monkeypatch):
    tiny.folder(tmp_path / "gpt2")
    monkeypatch.setattr(demo, "DATA", tiny.tickets(tmp_path / "tickets.csv", count=60))
    monkeypatch.setattr(hub, "EMBEDDED", str(tmp_path / "gpt2"))
    monkeypatch.setattr(demo, "demo_methods", lambda: [methods.get_method("lora"), methods.get_method("scratch")])
    events = []
    outcome = demo.run_demo(out=tmp_path / "demo", options=FAST, on_event=events.append)
    assert not any(event.failed for event in events if isinstance(event, RunFinished))
    assert [line["text"] for line in outcome.predictions] == list(demo.MESSAGES)
    assert outcome.run.result.method == "lora"
    found = json.loads(json.dumps(outcome.as_json(), allow_nan=False))
    assert {"methods", "verdict", "predictions", "picture", "report", "run"} <= set(found)
    assert outcome.picture.is_file()
    assert outcome.comparison.page.is_file()


def test_methods_need_no_extra_and_the_preferred_one_is_first():
    found = demo.demo_methods()
    assert found[0] is methods.methods_by_preference()[0]
    assert not any(kind.needs for kind in found)
