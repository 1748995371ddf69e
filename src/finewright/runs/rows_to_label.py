"""Which unlabelled rows to label next, so that a run's model learns most from them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finewright.core.errors import ExitCode, UserError
from finewright.data.inputs import TextRows
from finewright.data.readers.base import FileFormat, FileTable
from finewright.data.splits import normalise_text
from finewright.data.text_pairs import joined_text
from finewright.inference import row_selection
from finewright.inference.abstention import CONFIDENCE_DIGITS
from finewright.inference.text_predictor import OnProgress, TextPredictor
from finewright.runs import row_features
from finewright.runs.base_features import describe_features, load_base_encoder
from finewright.runs.schema import RunConfigFile

MOST_ROWS = 1000
"""Rows that can be chosen at once. After so many the model should be trained again before more are chosen."""


@dataclass(frozen=True)
class RowToLabel:
    """An unlabelled row with the model's most probable label, its probability, and by how much the second label's is lower."""

    where: str
    text: str
    predicted: str
    probability: float
    margin: float


@dataclass(frozen=True)
class RowsToLabel:
    """`rows`: those to label, the least certain first. `table`: the same rows with all columns of the file and what is predicted.

    `num_candidates`: different texts that could be chosen. `notes`: for the user.
    """

    rows: list[RowToLabel]
    table: FileTable
    num_candidates: int
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        rows = [vars(row) for row in self.rows]
        return {"num_candidates": self.num_candidates, "rows": rows, "notes": self.notes}


def check_number(num: int) -> None:
    """Raise `UserError` unless so many rows can be chosen."""
    if not 1 <= num <= MOST_ROWS:
        what = f"wanted 1 to {MOST_ROWS:,} rows to label, found {num:,}"
        raise UserError(what, where="--num", fix="label some, train again, then choose more")


def choose_rows_to_label(
    run_config: RunConfigFile,
    predictor: TextPredictor,
    found: TextRows,
    *,
    num: int,
    known: Collection[str] = (),
    on_progress: OnProgress | None = None,
) -> RowsToLabel:
    """Return the rows of a file that the model is uncertain of and that differ from each other.

    Parameters
    ----------
    found
        The rows; each text counts once, case and white space aside.
    num
        How many rows to choose; all if there are fewer.
    known
        Texts that have a label already, which are left out.
    on_progress
        Called after each batch that the model scores.

    Raises
    ------
    UserError
        If no row is left to choose.
    """
    check_number(num)
    places = _find_candidates(found, known)
    inputs = [found.texts[place] or "" for place in places]
    texts = [joined_text(one) for one in inputs]
    parts = [predictor.task.label_probabilities(one.outputs) for one in predictor.score_pieces(inputs, on_progress=on_progress)]
    probabilities_NC = np.concatenate([part for part in parts if part is not None])
    margins_N = row_selection.compute_margins(probabilities_NC)
    pool_N, notes = row_selection.choose_pool(margins_N, num), list(found.notes)
    if num < len(pool_N):
        encoder, reason = load_base_encoder(run_config)
        features_NF = row_features.build_features([texts[number] for number in pool_N.tolist()], encoder)
        chosen = pool_N[row_selection.choose_rows(margins_N[pool_N], features_NF, num)].tolist()
        notes += [note] if (note := describe_features(reason)) else []
    else:
        chosen = pool_N.tolist()
    best_N = probabilities_NC.argmax(axis=1)
    rows = [
        RowToLabel(
            found.table.records[places[number]].where,
            texts[number],
            predictor.labels[best_N[number]],
            round(float(probabilities_NC[number, best_N[number]]), CONFIDENCE_DIGITS),
            round(float(margins_N[number]), CONFIDENCE_DIGITS),
        )
        for number in chosen
    ]
    return RowsToLabel(rows, _build_table(found, [places[number] for number in chosen], rows), len(places), notes)


def _find_candidates(found: TextRows, known: Collection[str]) -> list[int]:
    """Return the rows that can be chosen: the first of each text that has no label yet."""
    seen, places = {normalise_text(text) for text in known}, list[int]()
    for place, text in enumerate(found.texts):
        if text is not None and (key := normalise_text(joined_text(text))) not in seen:
            seen.add(key)
            places.append(place)
    if not places:
        have = "no row has a text" if not any(found.texts) else "the run's data has the text of every row already"
        raise UserError(f"nothing to label: {have}", where=found.name, fix="give other rows", code=ExitCode.BAD_DATA)
    return places


def _build_table(found: TextRows, places: list[int], rows: list[RowToLabel]) -> FileTable:
    records = [found.table.records[place] for place in places]
    columns = found.table.columns
    chosen = FileTable(records, columns, FileFormat(".csv") if found.has_lines else found.table.format, header=columns)
    names = ("where", "predicted", "probability", "margin")
    return chosen.with_columns({name: [getattr(row, name) for row in rows] for name in names})
