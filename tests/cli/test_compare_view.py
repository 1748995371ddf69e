"""A comparison in a terminal."""

import io
from types import SimpleNamespace

from rich.console import Console

from finewright.cli import compare_view
from finewright.cli.compare_view import ComparisonDisplay
from finewright.core.events import RunFinished, RunProgress, RunStarted
from support import made


def shown(results, *, width=80):
    console = Console(file=io.StringIO(), width=width)
    compare_view.show(results, console)
    return console.file.getvalue()


def test_table_plot_and_verdict_fit_eighty_columns(tmp_path):
    table = made.standing([*made.usual(), made.entry("prompt", None, reasons=["does not fit: planned peak 9.00 GB"])])
    text = shown(made.results_file(table, tmp_path))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for said in (
        "lora",
        "majority",
        "frozen-features",
        "├",
        "●",
        "┤",
        "does not fit: planned peak 9.00 GB",
        "Pre-training was worth",
    ):
        assert said in text, said


def test_the_plot_places_accuracies_on_its_axis():
    lines = [
        SimpleNamespace(method="a", score=0.75, score_ci95=(0.5, 1.0)),
        SimpleNamespace(method="bb", score=0.5, score_ci95=(0.5, 0.5)),
    ]
    first, second, _, axis = compare_view.plot(lines, width=41)
    assert first == "  a   ├" + "─" * 19 + "●" + "─" * 19 + "┤  75.0%"
    assert second.index("●") == first.index("├")
    assert axis.split() == ["50%", "100%"]
    assert compare_view.plot([]) == []


def test_the_learning_curve_has_a_bar_for_every_number_of_rows():
    rows = [
        SimpleNamespace(method=name, num_train=size, score=accuracy)
        for name, size, accuracy in (
            ("lora", 1200, 1.0),
            ("lora", 40, 0.5),
            ("bag-of-words", 40, 0.25),
            ("bag-of-words", 1200, 0.5),
        )
    ]
    lines = compare_view.learning_curve(rows)
    assert [line.split() for line in lines[1:5]] == [
        ["lora", "40", "█" * 24, "50.0%"],
        ["1,200", "█" * 48, "100.0%"],
        ["bag-of-words", "40", "█" * 12, "25.0%"],
        ["1,200", "█" * 24, "50.0%"],
    ]
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in compare_view.learning_curve(rows, plain=True))
    assert compare_view.learning_curve(rows[:1]) == []


def test_finished_runs_are_printed_line_by_line_without_control_characters():
    console = Console(file=io.StringIO(), width=100)
    display = ComparisonDisplay(console)
    for event in (
        "jobs = 2: 2 cores",
        RunStarted("lora-all-seed0"),
        RunProgress("lora-all-seed0", 3, 12),
        RunFinished("lora-all-seed0", 1, 2, "validation accuracy 0.9, 3 s", failed=False),
        RunFinished("full-all-seed0", 2, 2, "[bold]\x1b[31mstep 1\nmore", failed=True),
    ):
        display(event)
    display.close()
    text = console.file.getvalue()
    assert "1 of 2  lora-all-seed0  validation accuracy 0.9, 3 s" in text
    assert "2 of 2  full-all-seed0  failed: [bold][31mstep 1" in text
    assert "\x1b" not in text


def test_a_small_file_is_not_shown_as_nothing(tmp_path):
    results = made.results_file(made.standing(made.usual()), tmp_path)
    row = results.methods[0].model_copy(update={"artifact_bytes": 33_600, "score": 0.9, "score_ci95": (0.8, 0.95)})
    text = shown(results.model_copy(update={"methods": [row]}))
    assert "34 kB" in text
    assert "95% interval" in text
