"""Results with any number of labels for each text, in words and as the rows of a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finewright.cli.head_start_view import describe_start, start_metrics

if TYPE_CHECKING:
    from finewright.runs.schema import RunResult
    from finewright.runs.split_metrics import SplitMetrics

MOST_LABELS = 20
"""Labels of a table; of more, the most frequent ones and the weakest."""
LEAST_ROWS = 3
"""Fewest rows of a label that is called the weakest."""
_LONGEST_NAME = 28


def describe_scores(measured: Mapping[str, Any], *, rows: str) -> list[str]:
    """Return lines about how good the labels of these rows are. `rows`: what they are, in words."""
    low, high = measured["micro_f1_ci95"]
    lines = [
        f"micro F1 {measured['micro_f1']:.1%} of {measured['num_rows']:,} {rows} (95% interval {low:.1%} to {high:.1%})",
        f"macro F1 {measured['macro_f1']:.1%}, exactly right {measured['subset_accuracy']:.1%}, "
        f"wrong decisions {measured['hamming_loss']:.1%}, average precision {measured['average_precision']:.1%}",
    ]
    return lines + ([weakest] if (weakest := describe_weakest_label(measured["per_label"])) else [])


def describe_weakest_label(per_label: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the label with the lowest F1; empty if every label is always right."""
    known = {label: one for label, one in per_label.items() if one["num_rows"] >= LEAST_ROWS}
    if len(known) < 2:
        return ""
    label = min(known, key=lambda name: known[name]["f1"])
    one = known[label]
    if one["f1"] == 1:
        return ""
    return f"weakest label: {label}, F1 {one['f1']:.1%} (precision {one['precision']:.1%}, recall {one['recall']:.1%})"


def compare_scores(result: "RunResult", measured: "SplitMetrics") -> list[str]:
    """Return lines that compare micro F1 with that of the frozen features and of the baselines on the same rows."""
    value, lines = measured.model_dump()["micro_f1"], []
    if (start := start_metrics(result)) is not None:
        before = f"{start.model_dump()['micro_f1']:.1%} with thresholds of 0.5"
        lines.append(describe_start(result, before, f"{value:.1%}"))
    for name, score in result.baseline_metrics.items():
        found = score.model_dump()["micro_f1"]
        what = "always the most frequent set of labels" if name == "majority" else f"a {name.replace('-', ' ')}"
        better = f": `--method {name}` trains one in seconds" if found >= value and name != "majority" else ""
        lines.append(f"{what}: {found:.1%}{better}")
    return lines


def label_rows(per_label: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]], int]:
    """Return (headings, a row for each label, how many labels are left out). Of many labels the most frequent ones are shown."""
    shown = list(per_label)
    if len(shown) > MOST_LABELS:
        shown = sorted(shown, key=lambda label: -per_label[label]["num_rows"])[:MOST_LABELS]
    rows = []
    for label in shown:
        one = per_label[label]
        shares = [f"{one[key]:.1%}" for key in ("precision", "recall", "f1")]
        name = label if len(label) <= _LONGEST_NAME else f"{label[: _LONGEST_NAME - 1]}…"
        rows.append([name, *shares, f"{one['threshold']:.2f}", f"{one['num_rows']:,}"])
    return ["label", "precision", "recall", "F1", "threshold", "rows"], rows, len(per_label) - len(shown)
