"""Pictures of finished runs. Files come out; nothing is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INK, PAPER, TRAINED, BASELINE, LINE = "#1c2733", "#ffffff", "#1f6feb", "#c2410c", "#d5dbe1"


@dataclass(frozen=True)
class Point:
    """One way on a chart. `interval`: 95 % of the accuracy. `baseline`: it started from random weights."""

    name: str
    trainable_fraction: float
    accuracy: float
    interval: tuple[float, float]
    baseline: bool


def accuracy_by_share(points: Sequence[Point], path: Path, *, title: str, majority: float) -> None:
    """Accuracy against the share of the parameters that was trained, with intervals; the file's ending decides PNG or SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axhline(majority, color=INK, linewidth=1, linestyle=":")
    shares = [point.trainable_fraction for point in points]
    axes.set_xlim(min(shares) / 2.5, max(shares) * 4)
    axes.text(min(shares) / 2.3, majority, "always the most frequent label", va="bottom", fontsize=9, color=INK)
    for point in points:
        color = BASELINE if point.baseline else TRAINED
        low, high = point.interval
        axes.plot([point.trainable_fraction] * 2, [low, high], color=color, linewidth=2, alpha=0.6)
        axes.plot(point.trainable_fraction, point.accuracy, "o" if not point.baseline else "D", color=color, markersize=8)
        label = f" {point.name}  {point.accuracy:.0%}"
        axes.annotate(
            label, (point.trainable_fraction, point.accuracy), (8, 0), textcoords="offset points", va="center", color=color
        )
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.4%}".rstrip("%").rstrip("0").rstrip(".") + " %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the parameters that is trained")
    axes.set_ylabel("test accuracy, 95 % interval")
    axes.set_title(title, loc="left", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
