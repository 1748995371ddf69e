"""Options that make a comparison fast, and the spec of a small one."""

from finewright.comparison.spec import ComparisonSpec

FAST = {
    "training.max_steps": 6,
    "training.tokens_per_micro_batch": 120,
    "training.precision": "float32",
    "training.num_threads": 1,
}

SPEC = ComparisonSpec("t.csv", None, "mini", ("lora", "scratch"), (0, 1), ("50", "all"), 0, {}, {})
