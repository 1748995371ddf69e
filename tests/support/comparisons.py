"""Options that make a comparison fast, the spec of a small one, and the contents of files that were not measured."""

from typing import Any

from finewright.comparison.schema import BaselineResult
from finewright.comparison.spec import ComparisonSpec
from finewright.runs.schema import PlanFile, RunResult

FAST = {
    "training.max_steps": 6,
    "training.tokens_per_micro_batch": 120,
    "training.precision": "float32",
    "training.num_threads": 1,
}

SPEC = ComparisonSpec("t.csv", None, "mini", ("lora", "scratch"), (0, 1), ("50", "all"), 0, {}, {})


def split_metrics(accuracy: float = 0.8, **changes: Any) -> dict[str, Any]:
    """Return metrics of a split."""
    found = {"num_rows": 10, "loss": 0.5, "accuracy": accuracy, "accuracy_ci95": (0.0, 1.0), "macro_f1": accuracy}
    return found | {"majority_accuracy": 0.5, "calibration_error": 0.1} | changes


def run_result(method: str = "lora", **changes: Any) -> RunResult:
    """Return the content of a run's result.json."""
    found = {
        "method": method,
        "model": "mini",
        "num_train": 8,
        "trainable_parameters": 1000,
        "head_parameters": 10,
        "total_parameters": 10_000,
        "trainable_fraction": 0.1,
        "epochs": 1.0,
        "steps": 6,
        "best_step": 6,
        "train_seconds": 2.0,
        "planned_seconds": 2.2,
        "artifact_bytes": 10,
        "metrics": {"test": split_metrics()},
    }
    return RunResult.model_validate(found | changes)


def baseline_result(predicted: list[str], **changes: Any) -> BaselineResult:
    """Return the result of a baseline with these predictions."""
    found = {"predicted": predicted, "probability": [0.5] * len(predicted), "train_seconds": 0.1, "num_train": 10}
    found |= {"parameters": 3, "chosen": "C = 1", "metrics": split_metrics(calibration_error=0.0)}
    return BaselineResult.model_validate(found | changes)


def plan_file(method: str = "lora", peak: float = 1e8) -> PlanFile:
    """Return the plan of a method with this peak memory, in bytes."""
    return PlanFile(
        method=method,
        trainable_parameters=1000,
        head_parameters=10,
        total_parameters=10_000,
        peak_memory_bytes=int(peak),
        memory={},
        flops=1,
        seconds=1.0,
        artifact_bytes=10,
        fits=True,
        budget_bytes=0,
    )
