"""What is seen of the learner's own runs."""

import json
import shutil

import pytest

from finewright import methods
from finewright.comparison.report import charts, figures
from finewright.core.colors import BASELINE_COLOR
from finewright.learn import run_figures, run_history
from finewright.learn.course import Course
from support import made_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    made_runs.write_runs(root)
    return root


def test_runs_are_found_in_subfolders(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "demo")
    made_runs.write_run(tmp_path, "lora", name="alone")
    assert len(run_history.find_runs(tmp_path)) == 6
    assert run_history.find_runs(tmp_path / "nothing") == []


def test_runs_of_a_comparison_are_found(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "compare-tickets-mini" / "runs")
    assert len(run_history.find_runs(tmp_path)) == 5


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("result.json", "{"), ("result.json", '{"method": "lora"}'), ("config.json", "[]"), ("metrics.jsonl", "{]\n"),
        ("metrics.jsonl", '{"step": 1, "loss": "much"}\n'), ("plan.json", "5"), ("plan.json", '{"memory": {"weights": "x"}}'),
    ],
)  # fmt: skip
def test_a_damaged_run_is_skipped(runs, tmp_path, file, text):
    shutil.copytree(runs, tmp_path / "demo")
    (tmp_path / "demo" / "lora-0" / file).write_text(text)
    assert {one.result.method for one in run_history.find_runs(tmp_path)} == {"full", "freeze", "prompt", "scratch"}


def test_only_runs_on_the_same_data_and_model_are_compared(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "r")
    other = made_runs.write_run(tmp_path / "r", "lora", name="other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"data_fingerprint": "0" * 64}))
    group = run_history.choose_comparable(run_history.find_runs(tmp_path / "r"))
    assert sorted(one.label for one in group) == ["freeze", "full", "lora", "prompt", "scratch"]
    assert [one.label for one in run_history.choose_comparable(group, candidates=["lora"])] == ["lora"]
    assert run_history.choose_comparable([]) == []


def test_runs_of_one_method_are_labelled_by_what_differs(tmp_path):
    made_runs.write_run(tmp_path, "lora", seed=0)
    other = made_runs.write_run(tmp_path, "lora", seed=1)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"method_options": {"rank": 16}}))
    made_runs.write_run(tmp_path, "lora", name="again", seed=0)
    labels = sorted(one.label for one in run_history.choose_comparable(run_history.find_runs(tmp_path)))
    assert labels == ["lora rank 16, seed 1 (lora-1)", "lora rank 8, seed 0 (again)", "lora rank 8, seed 0 (lora-0)"]


@pytest.mark.parametrize("figure", ["curves", "share", "memory", "intervals"])
def test_every_figure_has_a_table_a_sentence_and_a_picture(runs, tmp_path, figure):
    group = run_history.choose_comparable(run_history.find_runs(runs))
    table = run_history.build_table(figure, group)
    assert len(table.rows) == 5
    assert all(len(row) == len(table.headings) for row in table.rows)
    assert "%" in table.says or "MB" in table.says
    sizes = []
    for dark in (False, True):
        path = tmp_path / "pictures" / f"{dark}.png"
        run_figures.draw_figure(figure, group, path, dark=dark)
        assert path.read_bytes().startswith(b"\x89PNG")
        sizes.append(path.read_bytes())
    assert sizes[0] != sizes[1]
    run_figures.draw_figure(figure, group[:1], tmp_path / "one.svg")


def test_numbers_come_from_the_runs(runs):
    group = run_history.choose_comparable(run_history.find_runs(runs))
    share = {row[0]: row for row in run_history.build_table("share", group).rows}
    assert share["lora"][1:3] == ["50,000", "0.71%"]
    memory = {row[0]: row for row in run_history.build_table("memory", group).rows}
    assert memory["full"][1:] == ["28.0", "28.0", "56.0", "52.0", "500", "510"]
    curves = {row[0]: row for row in run_history.build_table("curves", group).rows}
    assert curves["lora"][1:5] == ["1.05", "0.50", "0.15 to 0.20", "85.0%"]  # a validation loss that rises is seen
    assert {one.label for one in group if one.from_random} == {"scratch"}


def test_commands_of_missing_runs_are_named(runs):
    lesson = Course().lesson(3)
    group = run_history.choose_comparable(run_history.find_runs(runs))
    assert run_history.missing_commands(lesson, group, group) == []
    without = [one for one in group if one.result.method != "scratch"]
    assert [make.method for make in run_history.missing_commands(lesson, without, group)] == ["scratch"]
    assert len(run_history.missing_commands(lesson, [], [])) == 2


def test_a_command_is_missing_until_its_own_run_is_there(tmp_path):
    first = made_runs.write_run(tmp_path, "freeze", name="freeze-top-1")
    config = json.loads((first / "config.json").read_text())
    (first / "config.json").write_text(json.dumps(config | {"method_options": {"num_layers": 1}}))
    made_runs.write_run(tmp_path, "full")
    everything = run_history.find_runs(tmp_path)
    [other] = run_history.missing_commands(Course().lesson(5), run_history.choose_comparable(everything), everything)
    assert other.options == {"num_layers": 3}


def test_a_run_of_lesson_1_hides_no_later_command(tmp_path):
    made_runs.write_run(tmp_path, "full")
    everything = run_history.find_runs(tmp_path)
    assert "finewright demo --methods" in [
        make.command for make in run_history.missing_commands(Course().lesson(2), everything, everything)
    ]
    made_runs.write_run(tmp_path / "demo" / "runs", "lora")  # of the short demo, which has two methods alone
    everything = run_history.find_runs(tmp_path)
    assert "finewright demo --methods" in [
        make.command for make in run_history.missing_commands(Course().lesson(2), everything, everything)
    ]
    for name in ("demo-methods-2", "compare-tickets-mini"):
        made_runs.write_run(tmp_path / name / "runs", "lora")
    everything = run_history.find_runs(tmp_path)
    assert run_history.missing_commands(Course().lesson(2), everything, everything) == []
    assert run_history.missing_commands(Course().lesson(7), everything, everything) == []
    assert {make.command.split()[1] for make in run_history.missing_commands(Course().lesson(6), everything, everything)} == {
        "plan"
    }


def test_a_method_has_one_colour_in_the_course_and_in_reports():
    for name in methods.method_names():
        number = figures.style(name)
        for dark, style in enumerate(charts.COLORS.split("@media")):
            assert f"--c{number}: {run_figures.color_of(name, dark=bool(dark))};" in style
    assert len({run_figures.color_of(name, dark=False) for name in methods.method_names()}) == len(methods.method_names())
    assert run_figures.color_of("gone", dark=False) == BASELINE_COLOR[0]
