"""The rows that a model was evaluated on, with what it predicted: the worst first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from finewright.data.dataset import LabelledRows
from finewright.data.readers.base import FileTable
from finewright.inference.abstention import CONFIDENCE_DIGITS
from finewright.tasks.evaluation import Evaluation

_NAMES = {"probability": "confidence"}
"""Names of the columns that differ from those of a prediction line."""


@dataclass(frozen=True)
class EvaluatedRows:
    """`metrics`: of the rows, with the worst mistakes. `table`: the rows with what was predicted, the worst first.

    `notes`: what the user should know. `num_cut`: texts longer than `max_length` tokens.
    """

    metrics: dict[str, Any]
    table: FileTable
    notes: list[str]
    num_cut: int
    max_length: int


def build_evaluation_table(
    found: LabelledRows, evaluation: Evaluation, *, lines: Sequence[dict[str, Any]] | None = None
) -> FileTable:
    """Return the evaluated rows with all their columns, the label as it was read, the predicted one and whether it is right.

    Wrong rows come first, the surest before all others, then right ones, the least certain first. Without a confidence, rows are
    in the order of their loss.

    `lines`: prediction lines in place of the evaluation's own.
    """
    lines = evaluation.prediction_lines(found.rows) if lines is None else lines
    columns: dict[str, list[Any]] = {}
    labels = [row.label for row in found.rows]
    if [record.values.get("label") for record in found.records] != labels:
        columns["label"] = labels
    keys = dict.fromkeys(key for line in lines for key in line if key not in ("text", "label", "labels", "where"))
    for key in keys:
        values = [line.get(key) for line in lines]
        if [record.values.get(key) for record in found.records] == values:
            continue
        columns[_NAMES.get(key, key)] = [
            round(value, CONFIDENCE_DIGITS) if isinstance(value, float) else value for value in values
        ]
    if "predicted" in keys and "score" not in keys:
        columns["right"] = [line["predicted"] == line["label"] for line in lines]
    table = replace(found.table, records=found.records, splits={}).with_columns(columns)
    losses_N = evaluation.row_losses()
    if losses_N is None:
        return table
    if "right" in columns and "confidence" in columns:
        right_N, confidence_N = np.array(columns["right"]), np.array(columns["confidence"])
        order = np.lexsort((-losses_N, np.where(right_N, confidence_N, -confidence_N), right_N)).tolist()
    else:
        order = np.argsort(-losses_N, kind="stable").tolist()
    return replace(table, records=[table.records[row] for row in order])
