"""Label rows of texts: rows in, the same rows out with their most probable labels and which of them need review.

Shape suffixes: N rows, C classes, K most probable classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core.errors import UserError
from finewright.core.units import counted
from finewright.data import writers
from finewright.data.inputs import TextRows
from finewright.data.labels import normalise_label
from finewright.data.readers.base import FileTable
from finewright.data.text_pairs import TextInput, joined_text
from finewright.inference import label_sets
from finewright.inference.abstention import CONFIDENCE_DIGITS, Abstention, AbstentionRule, is_below
from finewright.inference.label_sets import LabelSetOptions
from finewright.inference.text_predictor import OnProgress, TextPredictor

SUFFIX = "_predicted"
"""Added to the name of a new column that the file has already."""
NUM_SHOWN = 10
"""Least certain rows that are named."""


@dataclass(frozen=True)
class LabellingOptions:
    """`threshold`: confidence below which a row needs review, for this `reason`. `otherwise`: label of such rows, None for the
    model's. `top_k`: how many labels with their confidence to add as `label_1`, `confidence_1` and so on; 0 for none.
    `abstain`: sets the threshold, and rows below it have no label unless there is an `otherwise`."""

    threshold: float
    reason: str
    otherwise: str | None = None
    top_k: int = 0
    abstain: AbstentionRule | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            what = f"wanted a share from 0 to 1, found {self.threshold:g}"
            raise UserError(what, where="--min-confidence", fix="for instance --min-confidence 0.8")
        if self.top_k < 0:
            raise UserError(f"wanted a number of labels, found {self.top_k}", where="--top-k", fix="for instance --top-k 3")
        if self.otherwise is not None and not self.otherwise.strip():
            raise UserError("wanted a label, found an empty one", where="--else", fix="for instance --else unsure")


@dataclass(frozen=True)
class Answers:
    """The most probable labels of each row, best first, and their probabilities, shapes (N, K); -1 and NaN without a text."""

    labels: tuple[str, ...]
    best_NK: np.ndarray
    confidence_NK: np.ndarray
    num_cut: int

    @property
    def is_empty_N(self) -> np.ndarray:
        """Whether a row has no text."""
        return self.best_NK[:, 0] < 0

    def needs_review_N(self, threshold: float) -> np.ndarray:
        """Whether a row's confidence is below the threshold; False for rows without a text."""
        return self.confidence_NK[:, 0] < threshold

    def column(self, place: int) -> tuple[list[str | None], list[float | None]]:
        """Return labels and confidences of the most probable (0), second (1) … class; None where there is none."""
        if place >= self.best_NK.shape[1]:
            return [None] * len(self.best_NK), [None] * len(self.best_NK)
        names = [self.labels[index] if index >= 0 else None for index in self.best_NK[:, place].tolist()]
        sure = self.confidence_NK[:, place].tolist()
        return names, [None if name is None else value for name, value in zip(names, sure, strict=True)]


@dataclass(frozen=True)
class LabelledTable:
    """The rows of a file in order, as written, with columns of answers at their end.

    `counts`: rows by label, most frequent first. `num_empty`: rows without a text, which have no answer. `num_cut`: texts longer
    than `max_length` tokens. `least_certain`: some rows that need review, the least certain first. `notes`: for the user.
    `output`: the file that it was written to. `abstention`: which rows have no label because they are not certain enough.
    """

    table: FileTable
    counts: dict[str, int]
    num_empty: int
    num_cut: int
    max_length: int
    num_review: int
    options: LabellingOptions | None
    least_certain: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    output: Path | None = None
    abstention: Abstention | None = None

    def written_to(self, output: Path) -> "LabelledTable":
        """Write the table, all of it or nothing, and return it with the path and the notes of writing."""
        return replace(self, output=output, notes=[*self.notes, *writers.write_table(output, self.table)])

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return len(self.table.records)


def find_answers(
    predictor: TextPredictor, texts: Sequence[TextInput | None], *, top_k: int = 2, on_progress: OnProgress | None = None
) -> Answers:
    """Return the `top_k` most probable labels of each text. Only these are stored, however many texts there are."""
    places = [place for place, text in enumerate(texts) if text is not None]
    present = [text for text in texts if text is not None]
    count = max(1, min(top_k, len(predictor.labels)))
    best_NK = np.full((len(texts), count), -1, dtype=np.int32)
    confidence_NK = np.full((len(texts), count), np.nan)
    num_cut = 0
    for scored in predictor.score_pieces(present, on_progress=on_progress):
        shares_NC = predictor.task.label_probabilities(scored.outputs)
        assert shares_NC is not None, "a task with labels"
        best = np.argsort(-shares_NC, axis=1, kind="stable")[:, :count]
        rows = places[scored.start : scored.start + len(best)]
        best_NK[rows] = best
        confidence_NK[rows] = np.round(np.take_along_axis(shares_NC, best, axis=1), CONFIDENCE_DIGITS)
        num_cut += scored.num_cut
    return Answers(predictor.labels, best_NK, confidence_NK, num_cut)


def find_probabilities(predictor: TextPredictor, texts: Sequence[TextInput | None]) -> np.ndarray:
    """Return the probability of every label for each text, float64, shape (N, C); NaN where there is no text."""
    places = [place for place, text in enumerate(texts) if text is not None]
    found_NC = np.full((len(texts), len(predictor.labels)), np.nan)
    for scored in predictor.score_pieces([text for text in texts if text is not None]):
        shares_NC = predictor.task.label_probabilities(scored.outputs)
        assert shares_NC is not None, "a task with labels"
        found_NC[places[scored.start : scored.start + len(shares_NC)]] = shares_NC
    return found_NC


def build_answer_columns(answers: Answers, options: LabellingOptions) -> dict[str, list[Any]]:
    """Return the columns to add, one value a row; None in rows without a text."""
    names, sure = answers.column(0)
    review_N, empty_N = answers.needs_review_N(options.threshold).tolist(), answers.is_empty_N.tolist()
    shown = names
    if options.otherwise is not None or options.abstain is not None:
        shown = [options.otherwise if unsure else name for name, unsure in zip(names, review_N, strict=True)]
    second, second_sure = answers.column(1)
    columns: dict[str, list[Any]] = {
        "label": shown,
        "confidence": sure,
        "second_label": second,
        "second_confidence": second_sure,
        "needs_review": [None if empty else unsure for empty, unsure in zip(empty_N, review_N, strict=True)],
    }
    for place in range(min(options.top_k, answers.best_NK.shape[1])):
        columns[f"label_{place + 1}"], columns[f"confidence_{place + 1}"] = answers.column(place)
    return columns


def label_rows(
    predictor: TextPredictor,
    rows: TextRows,
    options: LabellingOptions | LabelSetOptions | None,
    *,
    on_progress: OnProgress | None = None,
) -> LabelledTable:
    """Return the rows with their answers.

    Parameters
    ----------
    options
        None for a task without labels: its predictions are added as they are. `LabelSetOptions` for several labels per text.
    on_progress
        Called after each batch.

    Raises
    ------
    UserError
        If rows that need review would get one of the model's own labels.
    """
    if options is None:
        return _add_predictions(predictor, rows)
    if isinstance(options, LabelSetOptions):
        return _add_label_sets(predictor, rows, options, on_progress=on_progress)
    _check_otherwise(options.otherwise, predictor.labels)
    answers = find_answers(predictor, rows.texts, top_k=max(2, options.top_k), on_progress=on_progress)
    abstention = options.abstain.apply(answers.confidence_NK[:, 0].tolist()) if options.abstain else None
    if abstention is not None:
        options = replace(options, threshold=abstention.threshold, reason=abstention.reason)
    columns = build_answer_columns(answers, options)
    review_N = answers.needs_review_N(options.threshold)
    notes = list(rows.notes)
    if options.top_k > len(predictor.labels):
        notes.append(f"the model has {counted(len(predictor.labels), 'label')}: {options.top_k} were wanted")
    counts = Counter(name for name in columns["label"] if name is not None)
    return LabelledTable(
        table=_add_columns(rows.table, columns, notes),
        counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        num_empty=int(answers.is_empty_N.sum()),
        num_cut=answers.num_cut,
        max_length=predictor.limit,
        num_review=int(review_N.sum()),
        options=options,
        least_certain=_list_least_certain(answers, rows, review_N),
        notes=notes,
        abstention=abstention,
    )


def _list_least_certain(answers: Answers, rows: TextRows, review_N: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows to show of those that need review, shape (N,), the least certain first; equal texts once."""
    sure_N = answers.confidence_NK[:, 0]
    order = np.argsort(np.where(review_N, sure_N, np.inf), kind="stable")[: int(review_N.sum())]
    first = {rows.texts[row]: row for row in order[::-1].tolist()}
    chosen = [row for row in order.tolist() if first[rows.texts[row]] == row][:NUM_SHOWN]
    names, second = answers.column(0)[0], answers.column(1)
    return [
        {
            "where": rows.table.records[row].where,
            "label": names[row],
            "confidence": float(sure_N[row]),
            "second_label": second[0][row],
            "second_confidence": second[1][row],
            "text": joined_text(rows.texts[row] or ""),
        }
        for row in chosen
    ]


def _check_otherwise(otherwise: str | None, labels: Sequence[str]) -> None:
    """Raise `UserError` if the label of rows that need review could not be told from one of the model's."""
    alike = [label for label in labels if otherwise is not None and normalise_label(label) == normalise_label(otherwise)]
    if alike:
        what = (
            f"{otherwise!r} is a label of the model" if otherwise in alike else f"{otherwise!r} looks like the label {alike[0]!r}"
        )
        fix = "give another one, for instance --else unsure, or leave it out: needs_review marks these rows"
        raise UserError(what, where="--else", fix=fix)


def _add_columns(table: FileTable, columns: dict[str, list[Any]], notes: list[str]) -> FileTable:
    """Return the table with more columns; one whose name is taken gets a suffix, which is said."""
    taken = [name for name in columns if name in table.columns]
    made = table.with_columns({f"{name}{SUFFIX}" if name in taken else name: values for name, values in columns.items()})
    if taken:
        own = dict(zip(columns, made.columns[len(table.columns) :], strict=True))
        listed = ", ".join(f"{name!r} (the new one is {own[name]!r})" for name in taken)
        notes.append(f"the file has a column {listed} already")
    return made


def _add_predictions(predictor: TextPredictor, rows: TextRows) -> LabelledTable:
    """Return the rows with what a task without labels predicts: each plain value in a column of its own."""
    predictions, num_cut = predict_rows(predictor, rows.texts)
    added = [predictor.task.prediction_columns(one) for one in predictions]
    names = dict.fromkeys(name for one in added for name in one)
    notes = list(rows.notes)
    table = _add_columns(rows.table, {name: [one.get(name) for one in added] for name in names}, notes)
    num_empty = sum(text is None for text in rows.texts)
    return LabelledTable(table, {}, num_empty, num_cut, predictor.limit, 0, None, [], notes)


def _add_label_sets(
    predictor: TextPredictor, rows: TextRows, options: LabelSetOptions, *, on_progress: OnProgress | None
) -> LabelledTable:
    """Return the rows with their labels, of which each row may have any number."""
    found = label_sets.find_label_sets(predictor, rows, options, on_progress=on_progress)
    notes, num_empty = list(found.notes), sum(text is None for text in rows.texts)
    table = _add_columns(rows.table, found.columns, notes)
    if found.num_none:
        notes.append(f"{found.num_none:,} {'row gets' if found.num_none == 1 else 'rows get'} no label")
    return LabelledTable(table, found.counts, num_empty, found.num_cut, predictor.limit, 0, None, [], notes)


def predict_rows(predictor: TextPredictor, texts: Sequence[TextInput | None]) -> tuple[list[dict[str, Any]], int]:
    """Return (a prediction for each text, an empty one where there is none; the number of texts that were cut)."""
    predictions, num_cut = predictor.predict_counted([text for text in texts if text is not None])
    found = iter(predictions)
    return [predictor.task.empty_prediction("") if text is None else next(found) for text in texts], num_cut


def leave_out_uncertain(predictions: Sequence[Any], rule: AbstentionRule) -> tuple[list[Any], Abstention]:
    """Return predictions that have no label where they are not certain enough; their probabilities stay."""
    abstention = rule.apply([one["probability"] for one in predictions])
    threshold = abstention.threshold
    return [{**one, "label": None} if is_below(one["probability"], threshold) else one for one in predictions], abstention


def describe_cut(num_cut: int, *, limit: int, keep_end: bool = False) -> str:
    """Return the sentence about texts that were too long; empty if there are none."""
    if not num_cut:
        return ""
    what = "text is" if num_cut == 1 else "texts are"
    lost = "its start" if keep_end else "its end"
    return f"{num_cut:,} {what} longer than {limit} tokens and {'was' if num_cut == 1 else 'were'} cut: each lost {lost}"
