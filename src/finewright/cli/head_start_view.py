"""What the frozen features reached alone, beside the result of a run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finewright.runs.schema import RunResult
    from finewright.runs.split_metrics import SplitMetrics


def start_metrics(result: "RunResult") -> "SplitMetrics | None":
    """Return the metrics of the model before its first update, of the rows that a result shows: test, else validation."""
    start = result.probe or result.untuned
    if start is None:
        return None
    return start.metrics.test if result.metrics.test else start.metrics.validation


def describe_start(result: "RunResult", before: str, after: str) -> str:
    """Say how the model before its first update compares with the fine-tuned one; it is kept if no update was better."""
    is_kept = result.best_step == 0
    if result.probe is None:
        kept = f"before fine-tuning {before}; fine-tuning was no better on validation, so the model is kept as it was"
        return kept if is_kept else f"before fine-tuning {before}, after it {after}"
    if is_kept:
        return f"frozen features {before}; fine-tuning was no better on validation, so their head is kept"
    return f"frozen features {before}, fine-tuned {after}"
