"""Charts: what is drawn lies where its numbers say, and names do not overlap."""

import re
import xml.etree.ElementTree as ET

import pytest

from finewright.comparison.report import charts
from finewright.comparison.report.charts import Guide, Point, Series
from support import made

PERCENT = charts.percent("accuracy", 0.5, 1.0)
ROWS = charts.log("rows", [10, 1000], written=lambda value: f"{value:g}")


def parsed(svg):
    return ET.fromstring(str(svg))


def texts(svg):
    return {"".join(node.itertext()): node.attrib for node in parsed(svg).iter("text")}


def test_a_point_lies_where_its_numbers_say_with_its_whisker():
    point = Point("lora", 100.0, 0.75, (0.5, 1.0), 2)
    svg = charts.scatter([point], x=ROWS, y=PERCENT, about="a chart")
    (group,) = [node for node in parsed(svg).iter("g") if node.find("line") is not None]
    line = group.find("line").attrib
    assert float(line["y1"]) == pytest.approx(charts.HEIGHT - charts.BOTTOM)
    assert float(line["y2"]) == pytest.approx(charts.TOP)
    middle = (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2
    assert float(line["x1"]) == float(line["x2"]) == pytest.approx(middle, abs=0.01)
    assert group.find("title").text == "lora: 75.0% (50.0% to 100.0%)"
    assert parsed(svg).attrib["role"] == "img"
    assert parsed(svg).attrib["aria-label"] == "a chart"


def test_the_name_of_a_line_avoids_points_and_their_names():
    points = [Point("prompt", 11.0, 0.76, (0.7, 0.8), 3), Point("lora", 30.0, 0.76, (0.7, 0.8), 2)]
    line = Guide(0.75, "frozen-features", "y")
    alone = texts(charts.scatter([], x=ROWS, y=PERCENT, about="", guides=[line]))["frozen-features"]
    beside = texts(charts.scatter(points, x=ROWS, y=PERCENT, about="", guides=[line]))
    assert float(alone["x"]) == charts.LEFT + 4, "at the left where nothing else is there"
    name, (left, down) = "frozen-features", (float(beside["frozen-features"][key]) for key in ("x", "y"))
    mine = (left, down - 11, left + charts._CHARACTER * len(name), down + 3)
    assert all(charts._overlap(mine, box) == 0 for box in charts._boxes(points, ROWS, PERCENT))
    for point in points:
        at = beside[point.name]
        start = float(at["x"]) - (charts._CHARACTER * len(point.name) if at["text-anchor"] == "end" else 0)
        box = (start, float(at["y"]) - 11, start + charts._CHARACTER * len(point.name), float(at["y"]) + 3)
        assert charts._overlap(mine, box) == 0, point.name


def test_the_name_of_the_lowest_line_is_not_among_the_labels_of_the_axis():
    points = [Point(str(rows), rows, 0.5, (0.5, 0.52), 1) for rows in range(11, 1000, 9)]
    name = texts(charts.scatter(points, x=ROWS, y=PERCENT, about="", guides=[Guide(0.5, "untuned, few-shot", "y")]))
    assert float(name["untuned, few-shot"]["y"]) < charts.HEIGHT - charts.BOTTOM


def test_names_beside_points_do_not_overlap():
    points = [Point(f"method{index}", 100.0 * 1.05**index, 0.75 + 0.02 * index, (0.7, 0.9), index) for index in range(5)]
    found = texts(charts.scatter(points, x=ROWS, y=PERCENT, about=""))
    boxes = []
    for point in points:
        at = found[point.name]
        width = charts._CHARACTER * len(point.name)
        left = float(at["x"]) - (width if at["text-anchor"] == "end" else 0)
        boxes.append((left, float(at["y"]) - 11, left + width, float(at["y"]) + 3))
    overlaps = [charts._overlap(one, other) for index, one in enumerate(boxes) for other in boxes[:index]]
    assert max(overlaps) < 0.2 * 14 * charts._CHARACTER * 4
    assert all(left >= charts.LEFT and right <= charts.WIDTH for left, _, right, _ in boxes)


def test_names_at_the_ends_of_lines_keep_apart():
    series = [Series(f"method{index}", [(10, 0.6), (1000, 0.75)], index) for index in range(6)]
    found = texts(charts.curves(series, x=ROWS, y=PERCENT, about=""))
    heights = sorted(float(found[one.name]["y"]) for one in series)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) >= 13
    assert heights[-1] < charts.HEIGHT - charts.BOTTOM


def test_guides_that_overlap_are_named_together():
    guides = [Guide(0.9, "words", "y"), Guide(0.9, "features", "y"), Guide(0.5, "majority", "y"), Guide(100, "budget", "x")]
    svg = charts.scatter([Point("a", 20, 0.8, (0.7, 0.9), 0)], x=ROWS, y=PERCENT, about="", guides=guides)
    assert {"words, features", "majority", "budget"} <= set(texts(svg))
    assert sum(node.attrib.get("class") == "guide" for node in parsed(svg).iter("line")) == 4


def test_curves_have_bands_marks_and_names_at_their_ends():
    series = [
        Series("lora", [(10, 0.6), (1000, 0.9)], 1, band=[(10, 0.5, 0.7), (1000, 0.8, 1.0)], marked=True),
        Series("full", [(10, 0.6), (1000, 0.9)], 2, faint=True),
    ]
    root = parsed(charts.curves(series, x=ROWS, y=PERCENT, about="", diagonal=True))
    kinds = [node.attrib.get("class") for node in root.iter()]
    assert kinds.count("band fill") == 1
    assert kinds.count("curve ink") == kinds.count("faint ink") == 1
    assert kinds.count("guide") == 1
    assert {"lora", "full"} <= {"".join(node.itertext()) for node in root.iter("text")}


def test_a_standalone_chart_is_self_contained():
    svg = charts.standalone(
        charts.scatter([Point(made.HOSTILE, 20, 0.8, (0.7, 0.9), 0)], x=ROWS, y=PERCENT, about="x"), title="5 < 6"
    )
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--c0" in svg
    assert "5 < 6" in {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|example\.com)", svg)


def test_every_style_has_a_colour_in_light_and_dark():
    assert all(charts.COLORS.count(f"--c{index}:") == 2 for index in range(charts.NUM_STYLES))
