"""The part of a report on several labels per text: F1 of each label, as bars of the best method and as a table of all."""

from collections.abc import Mapping, Sequence
from typing import Any

from finewright.comparison.report import figures
from finewright.comparison.report.document import Block, Cell, Figure, Table
from finewright.comparison.report.markup import Safe, join, tag
from finewright.comparison.results import ComparisonResults, MethodResult

MOST_LABELS = 25
"""Labels that are shown; of more, the most frequent ones."""
_WIDTH, _LEFT, _RIGHT = 560.0, 150.0, 96.0
_STEP, _BAR = 20.0, 12.0
_LONGEST_NAME = 22
HOW = (
    "A text has a label if its probability is at least the label's threshold: that of the best F1 on the validation rows, "
    "drawn towards 0.5 for labels with few rows. Micro F1 counts every label of every text alike, macro F1 is the mean over "
    "labels, F1 per text the mean over texts, where a text without a label that gets none counts 1. Average precision does not "
    "depend on the thresholds. Bag-of-words and frozen-features are one logistic regression for each label, majority is always "
    "the most frequent set of labels."
)


def describe_labels(results: ComparisonResults) -> list[Block]:
    """Return F1 of each label on the test rows: bars of the best trained method, and a table; nothing for other tasks."""
    found = {entry.name: (entry, per_label) for entry in results.measured if (per_label := mean_scores(entry))}
    if not found:
        return []
    best, scores = next(((entry, one) for entry, one in found.values() if entry.kind != "baseline"), next(iter(found.values())))
    labels = sorted(scores, key=lambda label: -scores[label]["num_rows"])
    shown = labels[:MOST_LABELS]
    more = f" The {len(shown)} most frequent of {len(labels):,} labels." if len(labels) > len(shown) else ""
    caption = f"F1 of each label on the test rows, {best.name}; on the right its test rows.{more}"
    rows: list[list[str | Cell]] = []
    for label in shown:
        values = [one[label]["f1"] for _, one in found.values()]
        cells: list[str | Cell] = [Cell(f"{value:.0%}", shade=value) for value in values]
        rows.append([label, f"{scores[label]['num_rows']:.0f}", f"{scores[label]['threshold']:.2f}", *cells])
    headings = ["label", "rows", f"threshold ({best.name})", *found]
    table = Table(f"F1 by label and method, means over seeds.{more}", headings, rows)
    return [Figure(draw_label_bars({label: scores[label] for label in shown}, best), caption), table]


def mean_scores(entry: MethodResult) -> dict[str, dict[str, float]]:
    """Return F1, rows and threshold of each label on the test rows, means over seeds; empty where there are none."""
    seeds: list[Mapping[str, Any]] = []
    for result in entry.results:
        measured = result.metrics.test if hasattr(result.metrics, "test") else result.metrics
        values = {} if measured is None else measured.model_dump()
        if values.get("per_label"):
            seeds.append(values["per_label"])
    if not seeds:
        return {}
    names = ("f1", "num_rows", "threshold")
    return {label: {name: sum(one[label][name] for one in seeds) / len(seeds) for name in names} for label in seeds[0]}


def draw_label_bars(scores: Mapping[str, Mapping[str, float]], entry: MethodResult) -> Safe:
    """Return a bar for each label, from the top."""
    bottom = 6 + _STEP * len(scores)
    drawn: list[Safe] = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        across = _across(share)
        drawn.append(tag("line", x1=across, x2=across, y1=2, y2=bottom, class_="grid" if share else "axis"))
        drawn.append(tag("text", f"{share:.0%}", x=across, y=bottom + 15, text_anchor="middle", class_="small"))
    for number, (label, one) in enumerate(scores.items()):
        drawn += _draw_bar(label, one, up=6 + _STEP * number, style=figures.style(entry.name))
    told = "; ".join(f"{label} {one['f1']:.0%}" for label, one in scores.items())
    about = f"F1 by label, {entry.name}: {told}"
    box = f"0 0 {_WIDTH:.0f} {bottom + 22:.0f}"
    return tag("svg", tag("title", about), join(drawn), class_="chart", viewBox=box, role="img", aria_label=about)


def _draw_bar(label: str, one: Mapping[str, float], *, up: float, style: int) -> Sequence[Safe]:
    name = label if len(label) <= _LONGEST_NAME else f"{label[: _LONGEST_NAME - 1]}…"
    hint = tag("title", f"{label}: F1 {one['f1']:.1%}, {one['num_rows']:.0f} rows, threshold {one['threshold']:.2f}")
    bar = tag("rect", x=_LEFT, y=up, width=max(0.5, _across(one["f1"]) - _LEFT), height=_BAR, style="fill: var(--c)")
    value = tag("text", f"{one['f1']:.0%}", x=_across(one["f1"]) + 5, y=up + 10, class_="small")
    count = tag("text", f"{one['num_rows']:.0f} rows", x=_WIDTH - 2, y=up + 10, text_anchor="end", class_="small")
    return [
        tag("text", name, x=_LEFT - 8, y=up + 10, text_anchor="end"),
        tag("g", hint, bar, class_=f"s{style}"),
        value,
        count,
    ]


def _across(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
