"""Rows of a run's data whose label is probably wrong, and pairs of nearly the same text with different labels.

Shape suffixes: N rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from finewright import tasks
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data import dataset, near_duplicates
from finewright.data.checks import splits_of
from finewright.data.readers.base import FileFormat, FileTable, Record
from finewright.data.splits import Example
from finewright.data.tables import to_table
from finewright.inference.abstention import CONFIDENCE_DIGITS
from finewright.inference.confident_learning import doubt_labels
from finewright.runs import reading, row_features
from finewright.runs.base_features import describe_features, load_base_encoder
from finewright.runs.schema import RunConfigFile

LEAST_ROWS = 20
"""Rows below which there is too little to judge one by the others."""
LEAST_LABEL_ROWS = row_features.NUM_FOLDS
"""Rows that a label needs, so that each part that is left out leaves some of it to learn from."""


@dataclass(frozen=True)
class SuspectRow:
    """A row with how probable its label is to a classifier that did not see the row.

    `split`: train, validation or test; empty for rows of another file. `predicted`, `probability`: the most probable label.
    `is_suspect`: whether it confidently has another label. `near_duplicate`: the row with another label whose text is nearly
    the same, and the `similarity` of both texts, 0 to 1; None without one.
    """

    where: str
    split: str
    text: str
    label: str
    predicted: str
    probability: float
    label_probability: float
    is_suspect: bool
    near_duplicate: str | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class NearDuplicate:
    """Two rows with nearly the same text and different labels. `similarity`: 0 to 1."""

    similarity: float
    where: tuple[str, str]
    labels: tuple[str, str]
    texts: tuple[str, str]


@dataclass(frozen=True)
class Suspects:
    """`rows`: all that were judged, the label that is most probably wrong first. `near_duplicates`: the most similar first.

    `notes`: for the user.
    """

    rows: list[SuspectRow]
    near_duplicates: list[NearDuplicate]
    notes: list[str] = field(default_factory=list)

    @property
    def num_suspects(self) -> int:
        """How many rows confidently have another label."""
        return sum(row.is_suspect for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "num_rows": len(self.rows),
            "num_suspects": self.num_suspects,
            "rows": [asdict(row) for row in self.rows],
            "near_duplicates": [asdict(pair) for pair in self.near_duplicates],
            "notes": self.notes,
        }

    def as_table(self) -> FileTable:
        """Return the rows as a table to write, with their rank from 1."""
        records = [Record(row.where, {"rank": rank, **asdict(row)}) for rank, row in enumerate(self.rows, start=1)]
        columns = ("rank", *SuspectRow.__dataclass_fields__)
        return FileTable(records, columns, FileFormat(".csv"), header=columns)


def check_task(run_config: RunConfigFile, *, where: str) -> None:
    """Raise `UserError` unless each row of the run has exactly one label."""
    task = tasks.get_task(run_config.task or tasks.DEFAULT)
    if not task.predicts_one_label:
        what = f"wanted a run whose rows have one label each, found the task {task.name}"
        raise UserError(what, where=where, fix="only such labels can be judged")


def read_judged_rows(
    run_config: RunConfigFile,
    data: Any = None,
    labels: Any = None,
    *,
    where: str,
    options: DataConfig | Mapping[str, Any] | None = None,
) -> tuple[list[Example], list[str], list[str]]:
    """Return labelled rows, the split of each, and notes: of `data`, or of all splits of the run's data when it is None.

    `where`: the run, for messages. Raise `UserError` if the run's data cannot be read again.
    """
    check_task(run_config, where=where)
    if data is not None:
        how = reading.data_options(run_config, options)
        trained = reading.trained_columns(run_config)
        known = run_config.labels if how.merge_similar_labels else ()  # other labels than the run's may be judged too
        found = dataset.read_rows_for_model(to_table(data, labels) or data, options=how, trained=trained, labels=known)
        return found.rows, [""] * len(found.rows), found.notes
    again = reading.read_data_again(run_config)
    if again is None:
        what = f"the data of the run cannot be read again: {run_config.request.source}"
        fix = "it is gone, has changed, was in memory, or has over 50 MB; give the labelled rows: finewright suspects RUN FILE"
        raise UserError(what, where=where, fix=fix, code=ExitCode.BAD_DATA)
    parts = splits_of(again)
    return [row for rows in parts.values() for row in rows], [name for name, rows in parts.items() for _ in rows], []


def find_suspects(run_config: RunConfigFile, rows: Sequence[Example], splits: Sequence[str]) -> Suspects:
    """Judge the label of each row by a classifier that was fitted to other rows, and rank them.

    The classifier is a logistic regression on the states of the run's frozen base model and on words: what the run trained may
    have memorised its labels, wrong ones too. `splits`: of each row. Raise `UserError` if there are too few rows or labels.
    """
    counts = Counter(row.label for row in rows)
    judged = [place for place, row in enumerate(rows) if counts[row.label] >= LEAST_LABEL_ROWS]
    notes = _describe_unjudged(counts)
    if any(row.pair is not None for row in rows):
        notes.append("pairs are judged by their words and by both texts as one: labels of how the two relate are hardly told so")
    names = sorted({rows[place].label for place in judged})
    _check_enough(judged, names, counts)
    chosen = [rows[place] for place in judged]
    targets_N = np.searchsorted(np.array(names), [row.label for row in chosen])
    encoder, reason = load_base_encoder(run_config)
    features_NF = row_features.build_features([row.text for row in chosen], encoder)
    if not features_NF.shape[1]:
        what = f"no words in the texts, and {reason}"
        raise UserError(what, fix="there is nothing to judge the labels by", code=ExitCode.BAD_DATA)
    probabilities_NC = row_features.find_out_of_fold_probabilities(features_NF, targets_N, num_labels=len(names))
    doubts = doubt_labels(probabilities_NC, targets_N)
    pairs = near_duplicates.find_similar_pairs([row.text for row in rows], [row.label for row in rows])
    nearest = _nearest_of_each(pairs)
    best_N = probabilities_NC.argmax(axis=1)
    found = []
    for number in doubts.ranking().tolist():
        row, (other, similarity) = chosen[number], nearest.get(judged[number], (None, None))
        found.append(
            SuspectRow(
                where=row.where,
                split=splits[judged[number]],
                text=row.text,
                label=row.label,
                predicted=names[best_N[number]],
                probability=_rounded(probabilities_NC[number, best_N[number]]),
                label_probability=_rounded(doubts.self_confidence_N[number]),
                is_suspect=bool(doubts.is_suspect_N[number]),
                near_duplicate=None if other is None else rows[other].where,
                similarity=similarity,
            )
        )
    alike = [_as_near_duplicate(rows[pair.first], rows[pair.second], pair.similarity) for pair in pairs]
    notes += [note] if (note := describe_features(reason)) else []
    return Suspects(found, alike, notes)


def _describe_unjudged(counts: Counter[str]) -> list[str]:
    rare = {label: count for label, count in counts.items() if count < LEAST_LABEL_ROWS}
    if not rare:
        return []
    listed = f"{', '.join(sorted(rare)[:5])}{', …' if len(rare) > 5 else ''}"
    number = sum(rare.values())
    have = "1 row is" if number == 1 else f"{number:,} rows are"
    return [f"{have} not judged, as the label has fewer than {LEAST_LABEL_ROWS} rows: {listed}"]


def _check_enough(judged: Sequence[int], names: Sequence[str], counts: Counter[str]) -> None:
    """Raise `UserError` if labels cannot be judged by so few rows, or by rows of one label."""
    if len(judged) < LEAST_ROWS:
        what = f"wanted at least {LEAST_ROWS} rows of labels that have {LEAST_LABEL_ROWS} or more, found {len(judged)}"
        raise UserError(what, where="suspects", fix="a label is judged by the other rows: add some", code=ExitCode.BAD_DATA)
    if len(names) < 2:
        what = f"wanted rows of at least two labels, found {names[0]!r} alone"
        what += (
            f" ({counted(len(counts) - 1, 'other has', 'others have')} fewer than {LEAST_LABEL_ROWS} rows)"
            if len(counts) > 1
            else ""
        )
        raise UserError(what, where="suspects", fix="add rows of other labels", code=ExitCode.BAD_DATA)


def _nearest_of_each(pairs: Sequence[near_duplicates.SimilarPair]) -> dict[int, tuple[int, float]]:
    """Return, by row, the most similar other one and the similarity. `pairs`: the most similar first."""
    found: dict[int, tuple[int, float]] = {}
    for pair in pairs:
        similarity = _rounded(pair.similarity)
        found.setdefault(pair.first, (pair.second, similarity))
        found.setdefault(pair.second, (pair.first, similarity))
    return found


def _as_near_duplicate(first: Example, second: Example, similarity: float) -> NearDuplicate:
    return NearDuplicate(
        _rounded(similarity), (first.where, second.where), (first.label, second.label), (first.text, second.text)
    )


def _rounded(value: float) -> float:
    return round(float(value), CONFIDENCE_DIGITS)
