"""What the frozen features reached alone, beside the result of a run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finewright.runs.schema import RunResult, SplitMetrics


def start_metrics(result: "RunResult") -> "SplitMetrics | None":
    """Return the metrics of the first head on the frozen features, of the rows that a result shows: test, else validation."""
    if result.probe is None:
        return None
    return result.probe.metrics.test if result.metrics.test else result.probe.metrics.validation


def describe_start(before: str, after: str, *, is_kept: bool) -> str:
    """Say how the frozen features compare with the fine-tuned model. `is_kept`: no update was better than their head."""
    if is_kept:
        return f"frozen features {before}; fine-tuning was no better on validation, so their head is kept"
    return f"frozen features {before}, fine-tuned {after}"
