"""Charts as SVG, small enough for a phone. They take their colours from the page, or bring them if they stand alone.

Each series has its own colour and shape, so that no colour is needed to tell them apart.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from finewright.comparison.report.markup import Safe, join, tag
from finewright.core.colors import BASELINE_COLOR, METHOD_COLORS


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`. `ticks`: (value, label)."""

    title: str
    low: float
    high: float
    ticks: list[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value, 0 at the low end, 1 at the high end, clipped to this range."""
        low, high, at = (math.log(max(v, 1e-12)) if self.log else v for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (at - low) / (high - low)))


WIDTH, HEIGHT = 420.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 112.0, 28.0, 40.0
NUM_STYLES = 10
_LABEL_GAP = 13.0
_CHARACTER = 6.8
"""Approximate width of a character."""

_SERIES_COLORS = (*METHOD_COLORS, *[BASELINE_COLOR] * (NUM_STYLES - len(METHOD_COLORS)))
_LIGHT, _DARK = (" ".join(f"--c{number}: {pair[dark]};" for number, pair in enumerate(_SERIES_COLORS)) for dark in (0, 1))
COLORS = f"""
:root {{ --ink: #1c2733; --muted: #5b6670; --line: #d9dee3; --paper: #ffffff; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6ebf0; --muted: #a3b0bc; --line: #37424d; --paper: #12181f; {_DARK} }} }}
"""
STYLE = "\n".join(
    [
        "svg.chart { font: 12px system-ui, sans-serif; max-width: 100%; height: auto; }",
        "svg.chart text { fill: var(--ink); }",
        "svg.chart .small { fill: var(--muted); font-size: 11px; }",
        "svg.chart .axis { stroke: var(--muted); stroke-width: 1; }",
        "svg.chart .grid { stroke: var(--line); stroke-width: 1; }",
        "svg.chart .guide { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 4 3; }",
        "svg.chart .curve { fill: none; stroke-width: 2; }",
        "svg.chart .faint { fill: none; stroke-width: 1; opacity: 0.8; }",
        "svg.chart .whisker { stroke-width: 2; }",
        "svg.chart .band { stroke: none; opacity: 0.13; }",
        *(f"svg .s{index} {{ --c: var(--c{index}); }}" for index in range(NUM_STYLES)),
        "svg .ink { stroke: var(--c); } svg .fill { fill: var(--c); } svg .hollow { fill: var(--paper); stroke: var(--c); }",
        "svg.chart text { stroke: var(--paper); stroke-width: 3px; paint-order: stroke; stroke-linejoin: round; }",
        "svg.chart text.name { fill: var(--c); }",
    ]
)


@dataclass(frozen=True)
class Point:
    """`interval`: of `y`. `style`: number of the colour and shape. `hollow`: a baseline."""

    name: str
    x: float
    y: float
    interval: tuple[float, float]
    style: int
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """A line. `band`: (x, low, high). `named`: whether its name is written at its end."""

    name: str
    points: list[tuple[float, float]]
    style: int
    band: list[tuple[float, float, float]] | None = None
    faint: bool = False
    marked: bool = False
    named: bool = True
    hollow: bool = False


@dataclass(frozen=True)
class Guide:
    """A dashed line across the chart. `along`: the axis on which `value` lies."""

    value: float
    label: str
    along: Literal["x", "y"]


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def scatter(points: Sequence[Point], *, x: Axis, y: Axis, about: str, guides: Sequence[Guide] = ()) -> Safe:
    """Draw points with whiskers and names. `about`: the same in words, for screen readers."""
    marks = []
    for point in points:
        across, up = x_of(x, point.x), y_of(y, point.y)
        low, high = (y_of(y, value) for value in point.interval)
        whisker = tag("line", x1=across, x2=across, y1=low, y2=high, class_="whisker ink")
        hint = tag("title", f"{point.name}: {point.y:.1%} ({point.interval[0]:.1%} to {point.interval[1]:.1%})")
        marks.append(tag("g", hint, whisker, _mark(across, up, point.style, hollow=point.hollow), class_=f"s{point.style}"))
    taken = _boxes(points, x, y)
    for point, (across, up, anchor) in zip(points, _place_point_names(points, x, y), strict=True):
        taken.append(_name_box(point.name, across, up, anchor))
        written = tag("text", point.name, x=across, y=up, text_anchor=anchor, class_="name")
        marks.append(tag("g", written, class_=f"s{point.style}"))
    return draw_chart(x, y, about=about, inside=[*_guides(guides, x, y, taken), *marks])


def curves(
    series: Sequence[Series], *, x: Axis, y: Axis, about: str, guides: Sequence[Guide] = (), diagonal: bool = False
) -> Safe:
    """Draw lines with bands, each named at its end."""
    inside = _guides(guides, x, y)
    if diagonal:
        corners = {"x1": x_of(x, x.low), "y1": y_of(y, y.low), "x2": x_of(x, x.high), "y2": y_of(y, y.high)}
        inside.append(tag("line", class_="guide", **corners))
    for one in series:
        pieces = []
        if one.band:
            outline = [(at, low) for at, low, _ in one.band] + [(at, high) for at, _, high in reversed(one.band)]
            pieces.append(tag("polygon", points=_places(outline, x, y), class_="band fill"))
        pieces.append(tag("polyline", points=_places(one.points, x, y), class_=("faint" if one.faint else "curve") + " ink"))
        if one.marked:
            pieces += [_mark(x_of(x, at), y_of(y, value), one.style, hollow=one.hollow) for at, value in one.points]
        inside.append(tag("g", *pieces, class_=f"s{one.style}"))
    named = [one for one in series if one.named and one.points]
    ends = [(WIDTH - RIGHT + 6, y_of(y, one.points[-1][1]) + 4) for one in named]
    for one, (across, up) in zip(named, _spread_names(ends), strict=True):
        inside.append(tag("g", tag("text", one.name, x=across, y=up, class_="name"), class_=f"s{one.style}"))
    return draw_chart(x, y, about=about, inside=inside)


def standalone(chart: Safe, *, title: str, size: tuple[float, float] = (WIDTH, HEIGHT)) -> str:
    """Return a chart as the content of an SVG file. `size`: width and height of its view box."""
    style = tag("style", Safe(COLORS + STYLE))
    width, height = size[0], size[1] + 26
    paper = tag("rect", x=0, y=-26, width=width, height=height, style="fill: var(--paper)")
    heading = tag("text", title, x=LEFT - 30, y=-8, style="font: bold 13px system-ui, sans-serif; fill: var(--ink)")
    opening, rest = chart.split(">", 1)
    opening = opening.replace(f'viewBox="0 0 {width:.0f} {size[1]:.0f}"', f'viewBox="0 -26 {width:.0f} {height:.0f}"')
    opening = opening.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" width="800"', 1)
    return f"{opening}>{style}{paper}{heading}{rest}\n"


def mark(style: int, *, hollow: bool = False) -> Safe:
    """Draw the colour and shape of a series, for tables."""
    drawn = tag("g", _mark(8.0, 8.0, style, hollow=hollow), class_=f"s{style}")
    return tag("svg", drawn, class_="mark", viewBox="0 0 16 16", width=14, height=14, aria_hidden="true")


def draw_chart(x: Axis, y: Axis, *, about: str, inside: Sequence[Safe]) -> Safe:
    """Draw the axes with their ticks, and what is inside. `about`: the same in words."""
    frame = []
    for value, written in y.ticks:
        up = y_of(y, value)
        frame.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up, y2=up, class_="grid"))
        frame.append(tag("text", written, x=LEFT - 5, y=up + 4, text_anchor="end", class_="small"))
    bottom = HEIGHT - BOTTOM
    frame.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    free = 0.0
    for value, written in x.ticks:
        across, half = x_of(x, value), _CHARACTER * len(written) / 2
        frame.append(tag("line", x1=across, x2=across, y1=bottom, y2=bottom + 4, class_="axis"))
        if across - half >= free:  # a label too near to the last one is left out
            frame.append(tag("text", written, x=across, y=bottom + 16, text_anchor="middle", class_="small"))
            free = across + half + 6
    frame.append(tag("text", x.title, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="small"))
    frame.append(tag("text", y.title, x=4, y=12, class_="small"))
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return tag("svg", tag("title", about), *frame, join(inside), class_="chart", viewBox=box, role="img", aria_label=about)


def x_of(axis: Axis, value: float) -> float:
    """Return where a value lies across the chart."""
    return LEFT + 8 + axis.share(value) * (WIDTH - RIGHT - LEFT - 16)


def y_of(axis: Axis, value: float) -> float:
    """Return where a value lies on the chart's vertical axis."""
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - BOTTOM - TOP)


def _places(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    return " ".join(f"{x_of(x, at):.1f},{y_of(y, value):.1f}" for at, value in points)


def _guides(guides: Sequence[Guide], x: Axis, y: Axis, taken: Sequence[Box] = ()) -> list[Safe]:
    """Draw guides. Names of lines that overlap are written side by side, away from the boxes that are `taken`."""
    drawn, level = [], sorted((guide for guide in guides if guide.along == "y"), key=lambda guide: guide.value)
    names: list[tuple[float, str]] = []
    for guide in level:
        up = y_of(y, guide.value)
        drawn.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up, y2=up, class_="guide"))
        if names and names[-1][0] - up < _LABEL_GAP:
            names[-1] = (names[-1][0], f"{names[-1][1]}, {guide.label}")
        else:
            names.append((up, guide.label))
    for up, label in names:
        across, base = _place_guide_name(up, label, taken)
        drawn.append(tag("text", label, x=across, y=base, class_="small"))
    for guide in (guide for guide in guides if guide.along == "x"):
        across, side = x_of(x, guide.value), "end" if x.share(guide.value) > 0.5 else "start"
        drawn.append(tag("line", x1=across, x2=across, y1=TOP, y2=HEIGHT - BOTTOM, class_="guide"))
        at = across + (-4 if side == "end" else 4)
        drawn.append(tag("text", guide.label, x=at, y=TOP + 10, text_anchor=side, class_="small"))
    return drawn


def _place_guide_name(up: float, label: str, taken: Sequence[Box]) -> tuple[float, float]:
    """Return where the name of a line covers the least of what is taken. Preferred: at the left, above the line."""
    free = WIDTH - RIGHT - LEFT - _CHARACTER * len(label) - 8
    sides = (-4, 13) if up + 13 < HEIGHT - BOTTOM else (-4,)  # below the axis are its labels
    places = [(LEFT + 4 + step * free / 8, up + down) for down in sides for step in range(9)]
    covers = [sum(_overlap(_name_box(label, at, base, "start"), box) for box in taken) for at, base in places]
    return places[covers.index(min(covers))]


def _mark(x: float, y: float, style: int, *, hollow: bool) -> Safe:
    """Draw a circle, square, diamond or triangle."""
    kind = "hollow" if hollow else "fill"
    if style % 4 == 0:
        return tag("circle", cx=x, cy=y, r=4.5, class_=kind)
    corners = [
        [],
        [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)],
        [(0, -5), (5, 4), (-5, 4)],
    ][style % 4]
    return tag("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners), class_=kind)


_PLACES = ((8, 4, "start"), (-8, 4, "end"), (7, -8, "start"), (7, 16, "start"), (-7, -8, "end"), (-7, 16, "end"))
"""Offsets of a name from its point, the preferred first."""


def _place_point_names(points: Sequence[Point], x: Axis, y: Axis) -> list[tuple[float, float, str]]:
    """Return (x, y, anchor) of every name, where it covers the least of points, whiskers and other names."""
    taken, found = _boxes(points, x, y), []
    for point in points:
        across, up = x_of(x, point.x), y_of(y, point.y)
        tried = []
        for rank, (right, down, anchor) in enumerate(_PLACES):
            box = _name_box(point.name, across + right, up + down, anchor)
            outside = max(0.0, LEFT - box[0]) + max(0.0, box[2] - WIDTH) + max(0.0, box[3] - HEIGHT + BOTTOM)
            tried.append(
                (sum(_overlap(box, other) for other in taken) + 20 * outside + rank, box, (across + right, up + down, anchor))
            )
        _, box, place = min(tried)
        taken.append(box)
        found.append(place)
    return found


def _name_box(name: str, across: float, up: float, anchor: str) -> Box:
    """Return the box of a name."""
    left = across - (_CHARACTER * len(name) if anchor == "end" else 0)
    return left, up - 11, left + _CHARACTER * len(name), up + 3


def _boxes(points: Sequence[Point], x: Axis, y: Axis) -> list[Box]:
    """Return the boxes of points and whiskers."""
    taken: list[Box] = []
    for point in points:
        across, up = x_of(x, point.x), y_of(y, point.y)
        low, high = (y_of(y, value) for value in point.interval)
        taken += [(across - 5, up - 5, across + 5, up + 5), (across - 1, high, across + 1, low)]
    return taken


def _overlap(one: Box, other: Box) -> float:
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _spread_names(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Move names at the ends of lines until they no longer overlap."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index][1])
    for position, index in enumerate(order):
        across, up = moved[index]
        for other in order[:position]:
            up = max(up, moved[other][1] + _LABEL_GAP)
        moved[index] = (across, up)
    over = max((up for _, up in moved), default=0.0) - (HEIGHT - BOTTOM - 2)
    return [(across, up - over) for across, up in moved] if over > 0 else moved


_MARGIN = 1.5
"""Factor by which a logarithmic axis extends beyond its values."""


def percent(title: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """Build an axis of shares. Its ends are moved outwards to round values."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 6 or step == 0.2)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    ticks = [(index * step, f"{index * step:.0%}") for index in range(first, last + 1)]
    return Axis(title, ticks[0][0], ticks[-1][0], ticks)


def log(title: str, values: Sequence[float], *, written: Callable[[float], str]) -> Axis:
    """Build a logarithmic axis. Ticks are at powers of ten, and between them if there are few."""
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    steps: tuple[float, ...] = (1.0,)
    if math.log10(high / low) < 2.5:
        steps = (1.0, 2.0, 5.0) if math.log10(high / low) < 1.3 else (1.0, 3.0)
    if math.log10(high / low) < 0.6:
        steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    every = math.ceil(len(ticks) / 6)
    return Axis(title, low, high, [(tick, written(tick)) for tick in ticks[::every]], log=True)


def linear(title: str, low: float, high: float, *, written: Callable[[float], str]) -> Axis:
    """Build a linear axis with ticks at round values, the high end among them."""
    rough = max(high - low, 1e-9) / 4
    step = min((base * 10.0 ** math.floor(math.log10(rough)) for base in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    ticks = [index * step for index in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]
    return Axis(title, min(low, ticks[0]), max(ticks[-1], low + step), [(tick, written(tick)) for tick in ticks])
