"""The report and its figures, from made-up results."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from finewright.comparison.report import document, figures
from finewright.comparison.report import page as page_module
from finewright.tasks import metrics
from support import made
from support.markup import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def table(folder):
    return made.standing(made.usual(folder))


def page(table, folder, **options):
    return page_module.build_document(table, file=made.results_file(table, folder, **options))


def test_everything_is_on_the_page(table, folder):
    search = {
        "lora": {"trials": [{"params": {}, "accuracy": 0.8, "loss": 1}], "best": {"params": {}, "accuracy": 0.8, "loss": 1}}
    }
    findings = [{"message": "3 rows repeat", "rows": ["t.csv:3"], "fix": "remove them", "code": "duplicates"}]
    made_of = page(table, folder, search=search, findings=findings, budget_bytes=10**9)
    html, markdown = document.html(made_of), document.markdown(made_of)
    for text in (
        "Results",
        "Accuracy by size of the training set",
        "During training",
        "Which labels are confused",
        "Calibration",
        "Rows on which the methods disagree",
        "Search",
        "Findings about the data",
        "Plan and measurement",
        "How this was measured",
        "How to repeat this",
        "3 rows repeat (t.csv:3) → remove them",
        "finewright compare data/tickets.csv --model mini",
        "multi-bootstrap",
        "Holm 1979",
        "2 runs at a time",
        "Texts per second are measured after all runs with one thread, the methods in turn, on up to 128 test texts",
    ):
        assert text in html, text
        assert text in markdown, text
    assert "Accuracy and cost" in html, "figures alone"
    assert html.count('<svg class="chart"') == 7
    assert "budget</text>" in html
    assert read(html).tags.count("tr") > 30


def test_numbers_of_the_tables_are_those_of_the_results(table, folder):
    html = document.html(page(table, folder))
    for entry in table.measured:
        summary = table.summaries[entry.name]
        assert f"{summary.score:.1%}" in html
        assert "{:.1%} – {:.1%}".format(*summary.score_ci95) in html
    assert "the best" in html
    assert re.search(r"−\d+\.\d points, p &lt; 0\.001", html)


def test_hostile_labels_texts_and_messages_stay_text(tmp_path):
    entries = [made.entry("lora", 0.9), made.entry("full", 0.6, number=1)]
    entries.append(made.entry("scratch", None, kind="random", reasons=[made.HOSTILE]))
    labels = (made.HOSTILE, "b")
    table = made.standing(entries, labels=labels, one_class=made.HOSTILE)
    findings = [{"message": made.HOSTILE, "rows": [made.HOSTILE], "fix": made.HOSTILE, "code": "x"}]
    html = document.html(page(table, tmp_path, findings=findings, hostile=True))
    assert "script" not in read(html).tags
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 10


def test_a_comparison_without_results_has_a_page(tmp_path):
    table = made.standing([made.entry("lora", None, reasons=["ended by signal 9"])])
    html = document.html(page(table, tmp_path))
    assert "Nothing was measured." in html
    assert "lora: ended by signal 9" in html


def test_the_training_curves_are_a_table_too(table, folder):
    """Losses 0.1, 0.05, 0.033 after one, two, three passes, smoothed by a weight of 0.3; accuracies 0.6, 0.7, 0.8."""
    text = document.markdown(page(table, folder))
    (line,) = [line for line in text.splitlines() if line.startswith("| lora |") and " / " in line]
    assert line == "| lora | – / – | 0.100 / 60.0% | 0.085 / 70.0% | 0.070 / 80.0% |"


def test_the_learning_curve_comes_first_and_its_sizes_are_in_the_subtitle(table, folder):
    sizes = sorted({entry.num_train for entry in table.curve if entry.num_train})
    assert len(sizes) > 1
    found = page(table, folder)
    assert found.sections[0].title == "Accuracy by size of the training set"
    listed = " and ".join(filter(None, [", ".join(f"{one:,}" for one in sizes[:-1]), f"{sizes[-1]:,}"]))
    assert f": {listed} training, " in found.subtitle
    alone = page(made.standing([made.entry("lora", 0.9)]), folder)
    assert alone.sections[0].title == "Results"
    assert " and " not in alone.subtitle.partition(" training")[0]


def test_calibration_by_hand():
    sure = np.array([0.95] * 10 + [0.55] * 10 + [0.15] * 4)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5 + [True] * 4)
    assert metrics.calibration_points(sure, right) == [(pytest.approx(0.55), 0.5), (pytest.approx(0.95), 0.9)]


def test_figures_are_well_formed_and_leave_out_what_is_missing(table):
    for chart in (figures.by_share(table), figures.by_seconds(table), figures.by_memory(table, budget_bytes=0)):
        ET.fromstring(str(chart))
    assert "budget" not in str(figures.by_memory(table, budget_bytes=0))
    alone = made.standing([made.entry("lora", 0.9)])
    assert figures.learning_curve(alone) is None
    assert figures.training_curves(alone) == []
    assert len(figures.training_curves(table)) == 2
    assert figures.learning_curve(table).count('class="band fill"') == 3, "of every method, not of baselines"


def test_styles_are_the_same_in_every_chart_and_baselines_have_their_own():
    numbers = [figures.style(name) for name in ("full", "lora", "majority", "bag-of-words", "frozen-features")]
    assert len(set(numbers)) == 5
    assert numbers[2:] == [7, 8, 9]
