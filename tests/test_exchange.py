"""Handing in and collecting."""

import json

import pytest

from finewright import exchange
from finewright.course import Course
from finewright.errors import UserError
from finewright.lessons import Desk


@pytest.fixture
def desk(tmp_path):
    made = Desk(work=tmp_path / "learn")
    made.start(made.course.lesson(7))
    made.file(made.course.lesson(7)).write_text(made.course.lesson(7).solution.read_text())
    with made.progress.change() as state:
        state.lesson("finewright/07_reading_a_comparison").passed = "2026-01-01T00:00:00+00:00"
        state.lesson("finewright/06_memory").passed = "2026-01-01T00:00:00+00:00"
        state.question("finewright/07_reading_a_comparison/why-paired").right = 2
        state.question("runs/x/y").wrong = 1
        state.question("other/x").wrong = 50
    return made


def handed_in(desk, learner="Ada L."):
    results = exchange.gather(desk, desk.progress.read(), learner=learner)
    return exchange.write(results, exchange.usual_path(desk, learner))


def test_results_go_there_and_back(desk):
    path = handed_in(desk)
    assert path.name == "results-Ada-L.json"
    [results], _ = exchange.collect([path])
    line = exchange.line(results)
    assert (line["learner"], line["passed"], line["answers_right"], line["answers"]) == ("Ada L.", [6, 7], 2, 3)
    with pytest.raises(UserError, match="there is a file already"):
        handed_in(desk)


def test_rechecking_finds_what_really_passes(desk):
    handed_in(desk)
    collected, _ = exchange.collect([desk.root / "results-Ada-L.json"])
    [passed] = exchange.recheck(collected, Course())
    assert passed == {7: True}, "lesson 6 was claimed and no file handed in"
    collected[0].lessons[6].source = "def interval(a, b): return (0, 1)"
    assert exchange.recheck(collected, Course()) == [{7: False}]


def test_a_folder_of_results_by_name(desk, tmp_path):
    for name in ("Zoe", "ada", "Bo"):
        results = exchange.gather(desk, desk.progress.read(), learner=name)
        exchange.write(results, tmp_path / "in" / f"{name}.json")
    (tmp_path / "in" / "progress.json").write_text('{"format": "finewright-progress"}')
    (tmp_path / "in" / "table.json").write_text("[]")
    found, others = exchange.collect([tmp_path / "in"])
    assert [one.learner for one in found] == ["ada", "Bo", "Zoe"]
    assert [path.name for path in others] == ["progress.json", "table.json"]
    (tmp_path / "in" / "torn.json").write_text('{"format": "fine')
    with pytest.raises(UserError, match=r"torn\.json"):
        exchange.collect([tmp_path / "in"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not a learner"), ("{}", "format: Field required"), ("[]", "not a learner"), ("[" * 100_000, "not a learner")],
)
def test_what_is_no_result_is_named(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=rf"x\.json: .*{message}") as caught:
        exchange.collect([tmp_path / "x.json"])
    assert caught.value.code == 3


def test_other_formats_sizes_and_names_are_refused(desk, tmp_path, monkeypatch):
    path = handed_in(desk)
    read = json.loads(path.read_text())
    (tmp_path / "x.json").write_text(json.dumps(read | {"format": "other"}))
    with pytest.raises(UserError, match="format is 'other'"):
        exchange.collect([tmp_path / "x.json"])
    monkeypatch.setattr(exchange, "LARGEST_FILE_BYTES", 1 << 20)
    (tmp_path / "x.json").write_text(json.dumps(read | {"more": "x" * (1 << 20)}))
    with pytest.raises(UserError, match="larger than 1 MB"):
        exchange.collect([tmp_path / "x.json"])
    with pytest.raises(UserError, match="wanted a name"):
        exchange.gather(desk, desk.progress.read(), learner="  ")
    with pytest.raises(UserError, match="no results here"):
        exchange.collect([tmp_path / "learn" / "tickets"])


def test_a_lesson_named_like_a_path_is_not_written(desk, tmp_path):
    read = json.loads(handed_in(desk).read_text())
    read["lessons"] = [{"number": 1, "name": "../../evil", "source": "x"}]
    (tmp_path / "x.json").write_text(json.dumps(read))
    assert exchange.recheck(exchange.collect([tmp_path / "x.json"])[0], Course()) == [{}]
