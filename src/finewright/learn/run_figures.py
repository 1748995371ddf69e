"""Plots of the learner's own runs, in a light and a dark theme, written to files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import methods
from finewright.core import files
from finewright.core.colors import BASELINE_COLOR, METHOD_COLORS
from finewright.learn.course import Figure
from finewright.learn.run_history import MEMORY_PARTS, FinishedRun
from finewright.runs.split_metrics import ClassificationMetrics

SIZE_INCHES = (8.0, 4.5)
MARGIN_INCHES = 0.12
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
PART_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the parts of memory: Okabe and Ito's palette for colour-blind readers."""


@dataclass(frozen=True)
class Theme:
    """Colours of background, text and lines."""

    paper: str
    ink: str
    line: str


LIGHT, DARK = Theme("#ffffff", "#1c2733", "#d5dbe1"), Theme("#161b22", "#e6edf3", "#30363d")


def draw_figure(figure: Figure, runs: Sequence[FinishedRun], path: Path, *, dark: bool = False) -> None:
    """Write the figure; the file name's suffix decides the format."""
    from matplotlib.figure import Figure as Canvas

    theme = DARK if dark else LIGHT
    canvas = Canvas(figsize=SIZE_INCHES, facecolor=theme.paper)
    canvas.set_layout_engine("constrained", w_pad=MARGIN_INCHES, h_pad=MARGIN_INCHES)
    kinds = {"curves": _curves, "share": _share, "memory": _memory, "intervals": _intervals}
    kinds[figure](canvas, runs, theme)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(files.DRAFT + path.name)
    canvas.savefig(draft, dpi=150, facecolor=theme.paper)
    files.rename(draft, path)


def _axes(canvas: Any, theme: Theme, *place: int, title: str = "") -> Any:
    axes = canvas.add_subplot(*place)
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(theme.line)
    axes.set_title(title, loc="left", color=theme.ink, fontsize=12)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    return axes


def color_of(method: str, *, dark: bool) -> str:
    """Return the colour of a method, the same as in reports; of one that is no longer known that of a baseline."""
    known = method in methods.method_names()
    return (METHOD_COLORS[methods.color_number(method)] if known else BASELINE_COLOR)[dark]


def _style(number: int, one: FinishedRun, theme: Theme) -> tuple[str, str]:
    """Return colour and mark: runs of one method share its colour, and no two runs a mark."""
    return color_of(one.result.method, dark=theme is DARK), MARKS[number % len(MARKS)]


def _legend(canvas: Any, axes: Any, theme: Theme) -> None:
    handles, names = axes.get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, labelcolor=theme.ink)


def _curves(canvas: Any, runs: Sequence[FinishedRun], theme: Theme) -> None:
    left = _axes(canvas, theme, 1, 2, 1, title="training loss; marks: validation loss")
    right = _axes(canvas, theme, 1, 2, 2, title="validation accuracy")
    for number, one in enumerate(runs):
        color, mark = _style(number, one, theme)
        style = "--" if one.from_random else "-"
        if one.losses:
            again = sum(other.result.method == one.result.method for other in runs[:number])
            steps, losses = zip(*one.losses, strict=True)
            left.plot(steps, losses, style, color=color, linewidth=2, alpha=1 / (1 + again), label=one.label)
        if one.validations:
            steps, accuracies, losses = zip(*one.validations, strict=True)
            right.plot(steps, accuracies, style, color=color, marker=mark, linewidth=2, label=one.label)
            left.plot(steps, losses, ":", color=color, marker=mark, markersize=8)
    validations = [one.result.metrics.validation for one in runs]
    majority = next((one.majority_accuracy for one in validations if isinstance(one, ClassificationMetrics)), None)
    if majority is not None:
        right.axhline(majority, color=theme.ink, linewidth=1, linestyle=":", label="majority class")
    right.set_ylim(0, 1)
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
    _legend(canvas, right if right.get_legend_handles_labels()[0] else left, theme)


def _share(canvas: Any, runs: Sequence[FinishedRun], theme: Theme) -> None:
    axes = _axes(canvas, theme, 1, 1, 1, title="accuracy by trained fraction")
    axes.set_xscale("log")
    for number, one in enumerate(runs):
        color, mark = _style(number, one, theme)
        low, high = one.measured.accuracy_ci95
        axes.plot([one.share] * 2, [low, high], color=color, linewidth=2, alpha=0.6)
        hollow = theme.paper if one.from_random else color
        axes.plot(one.share, one.measured.accuracy, mark, color=color, markerfacecolor=hollow, markersize=9, label=one.label)
    axes.axhline(runs[0].measured.majority_accuracy, color=theme.ink, linewidth=1, linestyle=":", label="majority class")
    axes.set_ylim(0, 1)
    axes.set_xlim(min(0.05, *(one.share / 2 for one in runs)), 1.6)  # at least two ticks, and nothing beyond 100%
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("trained fraction of the parameters (logarithmic)")
    axes.set_ylabel(f"{runs[0].split} accuracy, 95% interval", color=theme.ink)
    _legend(canvas, axes, theme)


def _memory(canvas: Any, runs: Sequence[FinishedRun], theme: Theme) -> None:
    axes = _axes(canvas, theme, 1, 1, 1, title="memory in MB: the plan by parts, and what was measured")
    ordered = sorted(runs, key=lambda one: one.result.planned_peak_memory_bytes, reverse=True)
    places = range(len(ordered))
    start = [0.0] * len(ordered)
    for part, color in zip(MEMORY_PARTS, PART_COLORS, strict=False):
        widths = [one.plan.get(part, 0) / 1e6 for one in ordered]
        if not any(widths):
            continue
        axes.barh(places, widths, left=start, color=color, height=0.55, label=part)
        start = [before + width for before, width in zip(start, widths, strict=True)]
    measured = [one.result.peak_memory_bytes / 1e6 for one in ordered]
    axes.plot(measured, places, "D", color=theme.ink, markersize=7, linestyle="none", label="measured")
    axes.set_yticks(list(places), [one.label for one in ordered])
    axes.grid(visible=False, axis="y")
    _legend(canvas, axes, theme)


def _intervals(canvas: Any, runs: Sequence[FinishedRun], theme: Theme) -> None:
    axes = _axes(canvas, theme, 1, 1, 1, title=f"{runs[0].split} accuracy with its 95% interval")
    ordered = sorted(runs, key=lambda one: one.measured.accuracy)
    for place, one in enumerate(ordered):
        color = color_of(one.result.method, dark=theme is DARK)
        axes.plot(one.measured.accuracy_ci95, [place] * 2, color=color, linewidth=3, alpha=0.6)
        axes.plot(one.measured.accuracy, place, "o", color=color, markersize=9)
        axes.annotate(f"{one.measured.accuracy:.1%}", (one.measured.accuracy, place), (0, 8), textcoords="offset points",
                      ha="center", color=theme.ink)  # fmt: skip
    axes.axvline(ordered[0].measured.majority_accuracy, color=theme.ink, linewidth=1, linestyle=":", label="majority class")
    axes.set_yticks(range(len(ordered)), [one.label for one in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.2)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _legend(canvas, axes, theme)
