"""The charts of a comparison."""

from collections.abc import Sequence
from typing import Any

from finewright import methods
from finewright.comparison.report.charts import Axis, Guide, Point, Series, curves, linear, log, percent, scatter
from finewright.comparison.report.markup import Safe
from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.spec import BASELINES, MAJORITY

_WAY_STYLES = 7


def style(name: str) -> int:
    """The colour and shape of a way or baseline, the same in every chart."""
    baselines = list(BASELINES)
    return _WAY_STYLES + baselines.index(name) if name in baselines else methods.method_names().index(name) % _WAY_STYLES


def by_share(standings: ComparisonResults) -> Safe:
    """Accuracy against the share of the parameters that is trained."""
    entries = [entry for entry in standings.measured if entry.kind != "baseline"]
    points = [_point(standings, entry, entry.results[0]["trainable_fraction"]) for entry in entries]
    x = log("share of the parameters that is trained", [point.x for point in points], written=_percent)
    guides = [_baseline(standings, entry) for entry in standings.measured if entry.kind == "baseline"]
    return scatter(
        points,
        x=x,
        y=_accuracy_axis(standings, points, guides),
        about=_about(points, "share of trained parameters"),
        guides=guides,
    )


def by_seconds(standings: ComparisonResults) -> Safe:
    """Accuracy against the seconds of training, baselines too."""
    entries = [entry for entry in standings.measured if entry.name != MAJORITY]
    points = [_point(standings, entry, max(entry.mean("train_seconds") or 0.0, 0.01)) for entry in entries]
    x = log("seconds of training", [point.x for point in points], written=lambda value: f"{value:g} s")
    guides = [_baseline(standings, entry) for entry in standings.measured if entry.name == MAJORITY]
    return scatter(
        points, x=x, y=_accuracy_axis(standings, points, guides), about=_about(points, "seconds of training"), guides=guides
    )


def by_memory(standings: ComparisonResults, *, budget_bytes: int) -> Safe | None:
    """Accuracy against the measured peak memory, with the budget; None where no memory was measured."""
    entries = [entry for entry in standings.measured if entry.kind != "baseline" and entry.most("peak_memory_bytes")]
    if not entries:
        return None
    points = [_point(standings, entry, entry.most("peak_memory_bytes") / 1e6) for entry in entries]
    values = [point.x for point in points] + ([budget_bytes / 1e6] if budget_bytes else [])
    x = log("peak memory", values, written=_megabytes)
    guides = [_baseline(standings, entry) for entry in standings.measured if entry.name == MAJORITY]
    lines = [*guides, *([Guide(budget_bytes / 1e6, "budget", "x")] if budget_bytes else [])]
    return scatter(points, x=x, y=_accuracy_axis(standings, points, guides), about=_about(points, "peak memory"), guides=lines)


def learning_curve(standings: ComparisonResults) -> Safe | None:
    """Accuracy against the size of the training set with 95 % bands; None for one size."""
    sizes = {entry.size for entry in standings.curve if entry.num_train}
    if len(sizes) < 2:
        return None
    series = []
    for name in dict.fromkeys(entry.name for entry in standings.entries if entry.name != MAJORITY):
        found = [entry for entry in standings.curve if entry.name == name and entry.num_train]
        places = sorted((entry.num_train or 0, standings.curve_summaries[entry.size, name]) for entry in found)
        band = [(float(rows), *summary.accuracy_ci95) for rows, summary in places]
        points = [(float(rows), summary.accuracy) for rows, summary in places]
        hollow = name in BASELINES
        if points:
            series.append(Series(name, points, style(name), band=None if hollow else band, marked=True, hollow=hollow))
    rows = [at for one in series for at, _ in one.points]
    low = min(low for one in series for _, low, _ in one.band or [(0, y, y) for _, y in one.points])
    high = max(high for one in series for _, _, high in one.band or [(0, y, y) for _, y in one.points])
    x = log("training rows", rows, written=lambda value: f"{value:,.0f}")
    about = f"Accuracy on the test rows of {', '.join(one.name for one in series)} after training on {_range(rows)} rows"
    return curves(series, x=x, y=percent("test accuracy, 95 % bands", low, high), about=about)


def training_curves(standings: ComparisonResults) -> list[tuple[str, Safe]]:
    """Loss on training batches and accuracy on validation against the passes over the data; a line for every seed."""
    losses, accuracies = [], []
    for entry in standings.measured:
        for number, learnt in enumerate(entry.training):
            options: dict[str, Any] = {"faint": len(entry.runs) > 1, "named": number == 0}
            loss, seen = learnt.smooth_loss(), learnt.accuracy
            losses += [Series(entry.name, loss, style(entry.name), **options)] if loss else []
            accuracies += [Series(entry.name, seen, style(entry.name), marked=len(seen) == 1, **options)] if seen else []
    charts = []
    for title, series in (("loss on training batches, smoothed", losses), ("accuracy on validation", accuracies)):
        if not series:
            continue
        across, up = ([place[axis] for one in series for place in one.points] for axis in (0, 1))
        x = linear("passes over the training rows", 0, max(across), written=lambda value: f"{value:g}")
        y = linear(title, 0, max(up), written=lambda value: f"{value:g}")
        y = percent(title, min(up), max(up)) if series is accuracies else y
        about = f"{title.capitalize()} during training, of {', '.join(dict.fromkeys(one.name for one in series))}"
        charts.append((title, curves(series, x=x, y=y, about=about)))
    return charts


def calibration(standings: ComparisonResults) -> Safe | None:
    """How often a prediction is right against how sure the way was; all seeds together."""
    series = []
    for entry in standings.measured:
        points = entry.calibration() if entry.name != MAJORITY else []
        if points:
            hollow = entry.kind == "baseline"
            series.append(Series(entry.name, points, style(entry.name), marked=True, faint=hollow, hollow=hollow))
    if not series:
        return None
    x = percent("how sure it was")
    about = f"How often {', '.join(one.name for one in series)} are right against how sure they are; the dashed line is perfect"
    return curves(series, x=x, y=percent("how often it was right"), about=about, diagonal=True)


def _point(standings: ComparisonResults, entry: MethodResult, x: float) -> Point:
    summary = standings.summaries[entry.name]
    hollow = entry.kind == "baseline"
    return Point(entry.name, x, summary.accuracy, summary.accuracy_ci95, style(entry.name), hollow=hollow)


def _baseline(standings: ComparisonResults, entry: MethodResult) -> Guide:
    return Guide(standings.summaries[entry.name].accuracy, entry.name, "y")


def _accuracy_axis(standings: ComparisonResults, points: Sequence[Point], guides: Sequence[Guide]) -> Axis:
    low = min([point.interval[0] for point in points] + [guide.value for guide in guides if guide.along == "y"])
    high = max([point.interval[1] for point in points] + [guide.value for guide in guides if guide.along == "y"])
    return percent("test accuracy, 95 % interval", low, min(1.0, high + 0.02))


def _about(points: Sequence[Point], against: str) -> str:
    named = ", ".join(f"{point.name} {point.y:.1%}" for point in points)
    return f"Test accuracy against {against}: {named}"


def _range(rows: Sequence[float]) -> str:
    return f"{min(rows):,.0f} to {max(rows):,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.4f}".rstrip("0").rstrip(".") + " %"


def _megabytes(value: float) -> str:
    return f"{value / 1000:g} GB" if value >= 1000 else f"{value:g} MB"
