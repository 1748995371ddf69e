"""The panel of a run, its lines where the output is no terminal, and how time is told."""

import dataclasses
import io
import re

import pytest
from rich.console import Console

from finewright.cli import progress
from finewright.core import events
from finewright.core.events import Notice, StageStarted, StepCompleted, StepResult
from support.comparisons import run_result, split_metrics


def make_display(*, verbosity="normal", width=200):
    console = Console(file=io.StringIO(), width=width)
    return progress.ProgressDisplay(console, verbosity=verbosity), console.file


def step(number, *, num_steps=130, tokens=100):
    return StepCompleted(number, num_steps, 1.0, 1e-3, StepResult(1.5, 1.0, tokens, 10, applied=True))


PLANNED = events.RunPlanned("lora", "mini", {"train": 700, "validation": 100, "test": 1300}, 5, 50_944, 6_969_088, 106e6, 26.0)


def test_remaining_time_counts_from_the_first_step_of_this_session(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display, out = make_display()
    display.panel.clock = lambda: now[0]
    display(StageStarted("train"))
    for number, seconds in ((101, 20), (111, 20)):  # a run resumed after a hundred steps
        now[0] += seconds
        display(step(number))
    first, second = out.getvalue().splitlines()
    assert first.strip() == "step 101/130  loss 1.500"  # its speed is not known yet
    assert second.endswith("about 38 s left")  # 20 s for ten steps, nineteen to go


def panel_after(num_steps, *, each, planned=26.0, load_seconds=0.0):
    now = [0.0]
    panel = progress.TrainingPanel(Console(file=io.StringIO(), width=80), clock=lambda: now[0])
    panel.update(StageStarted("load"))
    now[0] += load_seconds
    panel.update(StageStarted("train"))
    panel.update(dataclasses.replace(PLANNED, seconds=planned))
    for number in range(1, num_steps + 1):
        now[0] += each if number > 1 else 0.0
        panel.update(step(number, num_steps=100))
    return panel


def test_the_time_left_begins_with_the_plan_and_ends_with_what_was_measured():
    assert panel_after(1, each=2.0, planned=50.0).seconds_left == pytest.approx(49.5)
    assert panel_after(11, each=2.0, planned=50.0).seconds_left == pytest.approx(0.5 * 178 + 0.5 * 44.5)
    assert panel_after(61, each=2.0, planned=50.0).seconds_left == pytest.approx(78)


def test_loading_the_model_once_more_to_verify_it_is_part_of_the_time_left():
    assert panel_after(61, each=2.0, load_seconds=5.0).seconds_left == pytest.approx(83)


def test_answers_before_training_tell_the_time_of_those_after_it():
    now = [0.0]
    panel = progress.TrainingPanel(Console(file=io.StringIO(), width=80), clock=lambda: now[0])
    panel.update(StageStarted("train"))
    panel.update(dataclasses.replace(PLANNED, seconds=50.0))
    panel.update(events.AnswersProgress("before training", 0, 100, 0, 40))
    assert panel.seconds_left is None
    now[0] = 4.0
    panel.update(events.AnswersProgress("before training", 20, 100, 800, 40))
    assert panel.seconds_left == pytest.approx(16 + 50 + 20)
    assert "answers before training" in rendered(panel, width=80)[0]
    assert "20/100, 1:26 left" in rendered(panel, width=80)[0]
    now[0] = 20.0
    panel.update(events.AnswersProgress("before training", 100, 100, 3000, 40))
    panel.update(step(1, num_steps=100))
    assert panel.seconds_left == pytest.approx(49.5 + 20)
    panel.update(StageStarted("evaluate"))
    panel.update(events.AnswersProgress("after training", 0, 100, 0, 40))
    now[0] = 30.0
    panel.update(events.AnswersProgress("after training", 0, 100, 2000, 40))
    assert panel.seconds_left == pytest.approx(10)


def test_the_plan_tells_the_time_of_answers_beside_that_of_training():
    out = io.StringIO()
    display = progress.ProgressDisplay(Console(file=out, width=200))
    display(dataclasses.replace(PLANNED, answer_seconds=250.0))
    assert "about 26 s of training, 4:10 of test answers and 106 MB of memory" in out.getvalue()
    display(PLANNED)
    assert out.getvalue().rstrip().endswith("about 26 s and 106 MB of memory")


def test_answers_are_told_where_the_output_is_no_terminal(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display, out = make_display()
    display.panel.clock = lambda: now[0]
    display(StageStarted("evaluate"))
    for number in (0, 50):
        display(events.AnswersProgress("after training", number, 100, 30 * number, 40))
        now[0] += 11
    assert out.getvalue().strip() == "answers after training 50/100  about 11 s left"


def rendered(panel, *, width, encoding="utf-8"):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    panel.console = Console(file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    panel.console.print(panel.render())
    out.flush()
    return out.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("width", "num_lines"), [(40, 1), (80, 3), (120, 3)])
def test_the_panel_fits_its_width(width, num_lines):
    panel = panel_after(61, each=2.0)
    panel.update(events.EvaluationCompleted(60, 1.0, {"accuracy": 0.925, "loss": 0.3}, True, "accuracy", "92.5%"))
    panel.update(events.MemoryMeasured(90_000_000))
    lines = rendered(panel, width=width)
    assert len(lines) == num_lines
    assert all(len(line) <= width for line in lines)
    assert "step 61/100, 1:18 left" in lines[0]
    if num_lines == 3:
        assert "50 tokens/s" in lines[1]
        assert "92.5%" in lines[2]
        assert "memory 90.0 MB of 106 MB planned" in lines[2]


def test_each_stage_is_named_in_the_same_bar():
    panel = panel_after(3, each=1.0)
    for name, words in progress.STAGE_WORDS.items():
        panel.update(StageStarted(name))
        assert rendered(panel, width=120)[0].strip().startswith(words)


def test_a_curve_needs_no_more_characters_than_there_are_and_no_unicode_where_there_is_none():
    assert progress.sparkline([3.0, 2.0, 1.0], width=10) == "█▅▁"
    assert len(progress.sparkline([float(number) for number in range(1000)], width=30)) <= 30
    assert progress.sparkline([1.0, 1.0], width=5) == "▁▁"
    assert progress.sparkline([], width=5) == ""
    assert progress.sparkline([0.0, 1.0], width=5, plain=True).isascii()
    assert all(line.isascii() for line in rendered(panel_after(61, each=2.0), width=80, encoding="ascii")[1:])


def notices():
    yield Notice("column 'text' is the text")
    yield Notice("device = cpu: no GPU", "detail", "choice")
    for number in range(7):
        yield Notice(f"finding {number}", "warning", "duplicates")
    yield StageStarted("train")


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        ("normal", ["column", *["warning"] * 4, "3 more warnings: --verbose shows them"]),
        ("verbose", ["column", "device", *["warning"] * 7]),
        ("quiet", [*["warning"] * 4, "3 more"]),
    ],
)
def test_details_are_for_who_asks_and_warnings_for_everybody(verbosity, shown):
    display, out = make_display(verbosity=verbosity)
    for event in notices():
        display(event)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert len(lines) == len(shown)
    assert all(line.startswith(start) for line, start in zip(lines, shown, strict=True))


def test_the_plan_is_two_lines():
    display, out = make_display()
    display(PLANNED)
    assert out.getvalue().splitlines() == [
        "  5 labels, 700 / 100 / 1,300 rows to train / validate / test",
        "  lora on mini: trains 50,944 of 6,969,088 parameters; about 26 s and 106 MB of memory",
    ]


def test_on_a_terminal_lines_break_between_words_and_elsewhere_not_at_all():
    sentence = "a sentence of several words that is longer than the terminal is wide"
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), width=30, force_terminal=is_terminal, color_system=None)
        progress.print_wrapped(console, sentence)
        lines = console.file.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == sentence
        assert len(lines) == (3 if is_terminal else 1)
        assert all(line.startswith("  ") for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (48.2, "48 s"), (185, "3:05"), (7385, "2:03:05")])
def test_durations(seconds, text):
    assert progress.format_duration(seconds) == text


def test_how_far_off_the_plan_was_is_said_in_words():
    def told(measured, planned):
        return progress.compare_to_plan(measured, planned, describe=lambda value: f"{value:.0f} s")

    assert told(22.0, 20.0) == "22 s (10% more than the planned 20 s)"
    assert told(15.0, 20.0) == "15 s (25% less than the planned 20 s)"
    assert told(20.0, 20.0) == "20 s (as planned)"
    assert told(20.0, 0.0) == "20 s"


def test_saving_is_shown_separately_because_the_plan_excludes_it():
    def describe(**changes):
        return progress.describe_time(run_result(train_seconds=20.0, **changes))

    told = describe(planned_seconds=15.0, saving_seconds=4.0)
    assert told == "16.0 s (7% more than the planned 15.0 s), and 4.0 s of saving"
    assert describe(planned_seconds=15.0, saving_seconds=0.1) == "19.9 s (33% more than the planned 15.0 s)"
    assert describe(planned_seconds=0.0) == "20.0 s"


def test_a_run_without_test_rows_shows_its_validation_accuracy_as_such():
    table = Console(file=io.StringIO(), width=120)
    table.print(progress.result_table(run_result(metrics={"validation": split_metrics(0.7)})))
    assert "validation accuracy  70.0%" in re.sub("  +", "  ", table.file.getvalue())


def test_a_run_of_numbers_shows_their_error():
    measured = {"num_rows": 90, "loss": 0.4, "mean_rmse": 2.0, "pearson": None, "pearson_ci95": None}
    for name, value in {"rmse": 1.25, "mae": 0.75, "r2": 0.5, "spearman": 0.625}.items():
        measured |= {name: value, f"{name}_ci95": [value - 0.1, value + 0.1]}
    table = Console(file=io.StringIO(), width=200)
    table.print(progress.result_table(run_result(metrics={"test": measured}, task="regression")))
    said = re.sub("  +", "  ", table.file.getvalue())
    assert "test numbers  RMSE 1.25 (95% interval 1.15 to 1.35), MAE 0.75, R2 0.5, Spearman 0.625 on 90 rows" in said
    assert "always predicting the mean of the training rows: RMSE 2" in said
    assert "test loss" not in said
