"""How good a model for numbers is, in the terminal."""

from typing import Any

from finewright.cli.head_start_view import describe_start, start_metrics
from finewright.runs.schema import RunResult
from finewright.runs.split_metrics import SplitMetrics
from finewright.tasks.regression import show_number

_NAMES = {"rmse": "RMSE", "mae": "MAE", "r2": "R2", "spearman": "Spearman", "pearson": "Pearson"}


def describe_numbers(measured: SplitMetrics, *, rows: str) -> str:
    """Return the metrics of a split in one sentence. `rows`: what its rows are called."""
    values = measured.model_dump()
    low, high = map(show, values["rmse_ci95"])
    more = [f"{_NAMES[name]} {show(values[name])}" for name in ("mae", "r2", "spearman") if values[name] is not None]
    interval = f"RMSE {show(values['rmse'])} (95% interval {low} to {high})"
    return f"{', '.join([interval, *more])} on {measured.num_rows:,} {rows}"


def compare_numbers(result: RunResult, measured: SplitMetrics) -> list[str]:
    """Return how good the mean and the frozen features are on the same rows, and how many rows are inside their interval."""
    values, lines = measured.model_dump(), []
    if (mean := values.get("mean_rmse")) is not None:
        is_better, of_rows = values["rmse_ci95"][1] < mean, "always predicting the mean of the training rows"
        lines.append(
            f"{of_rows}: RMSE {show(mean)}"
            if is_better
            else f"no better than {of_rows} (RMSE {show(mean)}); more rows{' or epochs' if result.steps else ''} may help"
        )
    if (start := start_metrics(result)) is not None:
        before = f"RMSE {show(start.model_dump()['rmse'])}"
        lines.append(describe_start(result, before, show(values["rmse"])))
    if (coverage := values.get("interval_coverage")) is not None:
        width = show(values["interval_half_width"])
        lines.append(f"intervals of {values['interval_level']:.0%}, ± {width}, hold {coverage:.1%} of these texts")
    return lines


def metric_rows(measured: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a table of the metrics of a split: name, value and 95% interval."""
    rows = []
    for name, title in _NAMES.items():
        if (value := measured.get(name)) is not None:
            low, high = map(show, measured[f"{name}_ci95"])
            rows.append([title, show(value), f"{low} to {high}"])
    rows += [["RMSE of the mean", show(measured["mean_rmse"]), ""]] if "mean_rmse" in measured else []
    if "interval_coverage" in measured:
        title = f"inside ± {show(measured['interval_half_width'])} ({measured['interval_level']:.0%})"
        rows.append([title, f"{measured['interval_coverage']:.1%}", ""])
    return rows


def mistake_lines(measured: dict[str, Any], *, count: int) -> list[tuple[str, str]]:
    """Return the worst rows: (true and predicted number, text)."""
    return [(f"{line['label']}, {show(line['value'])}", line["text"]) for line in measured["worst_mistakes"][:count]]


def show(value: float) -> str:
    """Return a number with four digits."""
    return show_number(float(f"{value:.4g}"))
