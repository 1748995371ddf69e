"""Bars with intervals, in groups: several contestants by several measures, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finewright.comparison.report.charts import standalone
from finewright.comparison.report.markup import Safe, join, tag

Look = Literal["outline", "pale", "solid"]
"""How a bar is filled. Bars differ by this and by their order, so that no colour is needed to tell them apart."""

WIDTH = 560.0
_LEFT, _RIGHT = 104.0, 48.0
_BAR, _GAP, _GROUP_GAP = 11.0, 2.0, 14.0
_LEGEND, _BOTTOM = 17.0, 26.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Contestant:
    """What has one bar in each group. `values`: its share, 0 to 1, with the ends of the interval, by measure. `style`: number
    of the colour."""

    name: str
    values: dict[str, tuple[float, float, float]]
    style: int
    look: Look = "solid"


def draw_bars(contestants: Sequence[Contestant], *, measures: Sequence[str], title: str, about: str) -> str:
    """Return an SVG file: a group of bars for each measure, from the top, each with the whisker of its interval.

    `about`: the same in words, for screen readers. A contestant without a measure has no bar there.
    """
    top = _LEGEND * len(contestants) + 12
    step = _BAR + _GAP
    group_height = step * len(contestants) + _GROUP_GAP
    bottom = top + group_height * len(measures)
    drawn = [_legend(contestants), *_grid(top, bottom)]
    for row, measure in enumerate(measures):
        start = top + row * group_height + _GROUP_GAP / 2
        middle = start + step * len(contestants) / 2
        drawn.append(tag("text", measure, x=_LEFT - 8, y=middle + 4, text_anchor="end"))
        drawn += [_bar(one, measure, start + step * number) for number, one in enumerate(contestants) if measure in one.values]
    height = bottom + _BOTTOM
    box = f"0 0 {WIDTH:.0f} {height:.0f}"
    chart = tag("svg", tag("title", about), join(drawn), class_="chart", viewBox=box, role="img", aria_label=about)
    return standalone(chart, title=title, size=(WIDTH, height))


def _across(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _legend(contestants: Sequence[Contestant]) -> Safe:
    lines = []
    for number, one in enumerate(contestants):
        up = number * _LEGEND
        swatch = tag("rect", x=_LEFT, y=up + 2, width=18, height=_BAR, **_fill(one))
        lines.append(tag("g", swatch, tag("text", one.name, x=_LEFT + 25, y=up + 11.5), class_=f"s{one.style}"))
    return join(lines)


def _grid(top: float, bottom: float) -> list[Safe]:
    drawn = []
    for share in _TICKS:
        across = _across(share)
        drawn.append(tag("line", x1=across, x2=across, y1=top, y2=bottom, class_="grid" if share else "axis"))
        drawn.append(tag("text", f"{share:.0%}", x=across, y=bottom + 14, text_anchor="middle", class_="small"))
    return drawn


def _bar(one: Contestant, measure: str, up: float) -> Safe:
    value, low, high = one.values[measure]
    hint = tag("title", f"{one.name}, {measure}: {value:.1%} ({low:.1%} to {high:.1%})")
    middle = up + _BAR / 2
    bar = tag("rect", x=_LEFT, y=up, width=max(0.5, _across(value) - _LEFT), height=_BAR, **_fill(one))
    ends = (_across(low), _across(high))
    lines = [(*ends, middle, middle), *((end, end, middle - 3, middle + 3) for end in ends)]
    whisker = [  # on paper of its own, to be seen on any bar
        tag("line", x1=left, x2=right, y1=upper, y2=lower, style=f"stroke: var(--{color}); stroke-width: {width}")
        for color, width in (("paper", 3), ("ink", 1))
        for left, right, upper, lower in lines
    ]
    written = tag("text", f"{value:.0%}", x=_across(max(value, high)) + 5, y=middle + 4, class_="small")
    return tag("g", hint, bar, *whisker, written, class_=f"s{one.style}")


def _fill(one: Contestant) -> dict[str, str]:
    looks = {
        "outline": "fill: var(--paper); stroke: var(--c)",
        "pale": "fill: var(--c); fill-opacity: 0.4; stroke: var(--c)",
        "solid": "fill: var(--c); stroke: var(--c)",
    }
    return {"style": looks[one.look]}
