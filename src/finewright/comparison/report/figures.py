"""The charts of a comparison."""

from collections.abc import Sequence
from typing import Any

from finewright import methods
from finewright.comparison.report.charts import Axis, Guide, Point, Series, curves, linear, log, percent, scatter
from finewright.comparison.report.markup import Safe
from finewright.comparison.results import ComparisonResults, MethodResult
from finewright.comparison.spec import (
    ANSWER_BASELINES,
    BASELINES,
    MAJORITY,
    MEAN,
    NUMBER_BASELINES,
    TAG_BASELINES,
    UNTUNED,
)
from finewright.core.colors import METHOD_COLORS

_LINES = (MAJORITY, MEAN, UNTUNED)
"""Baselines that do not depend on the training rows, or hardly: they are drawn as lines."""


def style(name: str) -> int:
    """Return the number of the colour and shape of a method or baseline, the same in every chart."""
    for baselines in (list(BASELINES), list(ANSWER_BASELINES), list(NUMBER_BASELINES), list(TAG_BASELINES)):
        if name in baselines:
            return len(METHOD_COLORS) + baselines.index(name)
    return methods.color_number(name)


def by_share(results: ComparisonResults) -> Safe:
    """Draw the score against the trained share of the parameters."""
    entries = [entry for entry in results.measured if entry.kind != "baseline"]
    points = [_point(results, entry, entry.largest("trainable_fraction")) for entry in entries]
    x = log("trained share of the parameters", [point.x for point in points], written=_percent)
    guides = [_baseline(results, entry) for entry in results.measured if entry.kind == "baseline"]
    return scatter(
        points,
        x=x,
        y=_score_axis(results, points, guides),
        about=_about(results, points, "trained share of the parameters"),
        guides=guides,
    )


def by_seconds(results: ComparisonResults) -> Safe:
    """Draw the score against training time, baselines included."""
    lines = [entry for entry in results.measured if entry.name in (MAJORITY, MEAN) or entry.mean("train_seconds") is None]
    entries = [entry for entry in results.measured if entry not in lines]
    points = [_point(results, entry, max(entry.mean("train_seconds") or 0.0, 0.01)) for entry in entries]
    x = log("training time", [point.x for point in points], written=lambda value: f"{value:g} s")
    guides = [_baseline(results, entry) for entry in lines]
    return scatter(
        points, x=x, y=_score_axis(results, points, guides), about=_about(results, points, "training time"), guides=guides
    )


def by_memory(results: ComparisonResults, *, budget_bytes: int) -> Safe | None:
    """Draw the score against measured peak memory, with the budget. Return None if no memory was measured."""
    entries = [entry for entry in results.measured if entry.kind != "baseline" and entry.largest("peak_memory_bytes")]
    if not entries:
        return None
    points = [_point(results, entry, entry.largest("peak_memory_bytes") / 1e6) for entry in entries]
    values = [point.x for point in points] + ([budget_bytes / 1e6] if budget_bytes else [])
    x = log("peak memory", values, written=_megabytes)
    guides = [_baseline(results, entry) for entry in results.measured if entry.name in _LINES]
    lines = [*guides, *([Guide(budget_bytes / 1e6, "budget", "x")] if budget_bytes else [])]
    return scatter(
        points, x=x, y=_score_axis(results, points, guides), about=_about(results, points, "peak memory"), guides=lines
    )


def learning_curve(results: ComparisonResults) -> Safe | None:
    """Draw the score against the size of the training set with 95% bands. Return None for one size."""
    sizes = {entry.size for entry in results.curve if entry.num_train}
    if len(sizes) < 2:
        return None
    series = []
    for name in dict.fromkeys(entry.name for entry in results.entries if entry.name not in _LINES):
        found = [entry for entry in results.curve if entry.name == name and entry.num_train]
        places = sorted((entry.num_train or 0, results.curve_summaries[entry.size, name]) for entry in found)
        band = [(float(rows), *summary.score_ci95) for rows, summary in places]
        points = [(float(rows), summary.score) for rows, summary in places]
        hollow = name in (*BASELINES, *ANSWER_BASELINES, *NUMBER_BASELINES, *TAG_BASELINES)
        if points:
            series.append(Series(name, points, style(name), band=None if hollow else band, marked=True, hollow=hollow))
    rows = [at for one in series for at, _ in one.points]
    low = min(low for one in series for _, low, _ in one.band or [(0, y, y) for _, y in one.points])
    high = max(high for one in series for _, _, high in one.band or [(0, y, y) for _, y in one.points])
    x = log("training rows", rows, written=lambda value: f"{value:,.0f}")
    names = ", ".join(one.name for one in series)
    about = f"{capitalised(results)} on the test rows of {names} after training on {_range(rows)} rows"
    return curves(series, x=x, y=percent(f"{on_test(results)}, 95% bands", low, high), about=about)


def training_curves(results: ComparisonResults) -> list[tuple[str, Safe]]:
    """Draw loss on training batches and accuracy on validation by epoch, one line per seed. Return (title, chart).

    Where predictions are no classes it is the loss on validation.
    """
    losses, accuracies = [], []
    validated = "accuracy on validation" if results.has_classes else "loss on validation"
    for entry in results.measured:
        for number, run in enumerate(entry.training):
            options: dict[str, Any] = {"faint": len(entry.runs) > 1, "named": number == 0}
            loss, accuracy = run.smooth_loss(), run.validation_accuracy if results.has_classes else run.validation_loss
            losses += [Series(entry.name, loss, style(entry.name), **options)] if loss else []
            if accuracy:
                accuracies.append(Series(entry.name, accuracy, style(entry.name), marked=len(accuracy) == 1, **options))
    charts = []
    for title, series in (("loss on training batches, smoothed", losses), (validated, accuracies)):
        if not series:
            continue
        across, up = ([place[axis] for one in series for place in one.points] for axis in (0, 1))
        x = linear("epoch", 0, max(across), written=lambda value: f"{value:g}")
        y = linear(title, 0, max(up), written=lambda value: f"{value:g}")
        y = percent(title, min(up), max(up)) if series is accuracies and results.has_classes else y
        about = f"{title.capitalize()} during training, of {', '.join(dict.fromkeys(one.name for one in series))}"
        charts.append((title, curves(series, x=x, y=y, about=about)))
    return charts


def calibration(results: ComparisonResults) -> Safe | None:
    """Draw accuracy against the probability of the predicted label, all seeds together."""
    series = []
    for entry in results.measured:
        points = entry.calibration() if entry.name not in _LINES else []
        if points:
            hollow = entry.kind == "baseline"
            series.append(Series(entry.name, points, style(entry.name), marked=True, faint=hollow, hollow=hollow))
    if not series:
        return None
    x = percent("probability of the predicted label")
    about = f"Accuracy against probability for {', '.join(one.name for one in series)}; the dashed line is perfect"
    return curves(series, x=x, y=percent("accuracy"), about=about, diagonal=True)


def _point(results: ComparisonResults, entry: MethodResult, x: float) -> Point:
    summary = results.summaries[entry.name]
    hollow = entry.kind == "baseline"
    return Point(entry.name, x, summary.score, summary.score_ci95, style(entry.name), hollow=hollow)


def _baseline(results: ComparisonResults, entry: MethodResult) -> Guide:
    return Guide(results.summaries[entry.name].score, entry.name, "y")


def _score_axis(results: ComparisonResults, points: Sequence[Point], guides: Sequence[Guide]) -> Axis:
    low = min([point.interval[0] for point in points] + [guide.value for guide in guides if guide.along == "y"])
    high = max([point.interval[1] for point in points] + [guide.value for guide in guides if guide.along == "y"])
    return percent(f"{on_test(results)}, 95% interval", low, min(1.0, high + 0.02))


def capitalised(results: ComparisonResults) -> str:
    """Return what the score is called at the start of a sentence."""
    return "Accuracy" if results.has_classes else f"Score ({results.metric.title})"


def on_test(results: ComparisonResults) -> str:
    """Return what the score on the test rows is called in headings and on axes."""
    return "test accuracy" if results.has_classes else results.metric.title


def _about(results: ComparisonResults, points: Sequence[Point], against: str) -> str:
    named = ", ".join(f"{point.name} {point.y:.1%}" for point in points)
    return f"{'Test accuracy' if results.has_classes else capitalised(results)} against {against}: {named}"


def _range(rows: Sequence[float]) -> str:
    return f"{min(rows):,.0f} to {max(rows):,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.4f}".rstrip("0").rstrip(".") + "%"


def _megabytes(value: float) -> str:
    return f"{value / 1000:g} GB" if value >= 1000 else f"{value:g} MB"
