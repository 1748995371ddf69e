"""Charts of predicted numbers: against the true ones, and how far they are from them."""

import numpy as np

from finewright.comparison.report import charts
from finewright.comparison.report.charts import Axis, linear
from finewright.comparison.report.document import Block, Figure, Fold
from finewright.comparison.report.figures import style
from finewright.comparison.report.markup import Safe, tag
from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.data.number_cells import write_number

MOST_DOTS = 1000
"""Rows that are drawn; of more, evenly many over the true numbers."""
MOST_BARS = 24


def pictures(results: ComparisonResults) -> list[Block]:
    """Return for each method a chart of predicted against true numbers, and one of the errors; of the first seed."""
    blocks: list[Block] = []
    for entry in results.measured:
        true, predicted = _pairs(results, entry)
        if entry.name not in ("mean",) and len(true) > 1:
            drawn = [
                Figure(
                    draw_scatter(true, predicted, entry.name), f"{entry.name}: predicted against true; the line is without error."
                ),
                Figure(draw_errors(predicted - true, entry.name), f"{entry.name}: predicted less true."),
            ]
            blocks.append(Fold(entry.name, [drawn], open=not blocks))
    return blocks


def _pairs(results: ComparisonResults, entry: MethodResult) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted numbers of the rows of a method, ascending by the true one."""
    known = [(true, float(entry.answers[row])) for row, true in results.numbers.items() if row in entry.answers]
    pairs = np.array(sorted(known), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def draw_scatter(true: np.ndarray, predicted: np.ndarray, name: str) -> Safe:
    """Draw a dot for each row, and the line on which predictions are right. `true` is ascending."""
    chosen = np.unique(np.linspace(0, len(true) - 1, min(len(true), MOST_DOTS)).round().astype(int))
    ends = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    x, y = (linear(title, *ends, written=_write) for title in ("true", "predicted"))
    corners = {
        "x1": charts.x_of(x, x.low),
        "y1": charts.y_of(y, x.low),
        "x2": charts.x_of(x, x.high),
        "y2": charts.y_of(y, x.high),
    }
    inside = [tag("line", class_="guide", **corners)]
    for at, value in zip(true[chosen].tolist(), predicted[chosen].tolist(), strict=True):
        inside.append(
            tag("circle", cx=f"{charts.x_of(x, at):.1f}", cy=f"{charts.y_of(y, value):.1f}", r=2.5, class_="fill", opacity=0.55)
        )
    about = f"Predicted against true numbers of {len(true):,} test rows, {name}"
    return charts.draw_chart(x, y, about=about, inside=[tag("g", *inside, class_=f"s{style(name)}")])


def draw_errors(errors: np.ndarray, name: str) -> Safe:
    """Draw a histogram of the errors; the dashed line is no error."""
    count = max(5, min(MOST_BARS, round(2 * len(errors) ** (1 / 3))))
    heights, edges = np.histogram(errors, bins=count)
    x = linear("predicted less true", float(edges[0]), float(edges[-1]), written=_write)
    y = linear("test rows", 0.0, float(heights.max()), written=lambda value: f"{value:,.0f}" if float(value).is_integer() else "")
    bars = [
        _bar(x, y, float(left), float(right), int(height)) for left, right, height in zip(edges, edges[1:], heights, strict=False)
    ]
    zero = charts.x_of(x, 0.0)
    line = tag("line", x1=zero, x2=zero, y1=charts.y_of(y, y.low), y2=charts.y_of(y, y.high), class_="guide")
    about = f"Errors of {len(errors):,} test rows, {name}: mean {errors.mean():.3g}, standard deviation {errors.std():.3g}"
    return charts.draw_chart(x, y, about=about, inside=[tag("g", *bars, class_=f"s{style(name)}"), line])


def _bar(x: Axis, y: Axis, left: float, right: float, height: int) -> Safe:
    start, end, top, bottom = charts.x_of(x, left), charts.x_of(x, right), charts.y_of(y, height), charts.y_of(y, 0.0)
    size = {"width": f"{max(end - start - 1, 0.5):.1f}", "height": f"{bottom - top:.1f}"}
    return tag("rect", x=f"{start:.1f}", y=f"{top:.1f}", class_="fill", **size)


def _write(value: float) -> str:
    return write_number(float(f"{value:.4g}"))
