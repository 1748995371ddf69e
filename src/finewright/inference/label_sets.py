"""Label rows of texts with any number of labels each: rows in, the same rows out with their labels in one cell.

Shape suffixes: N rows, C labels.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from finewright.data.inputs import TextRows
from finewright.data.label_lists import LIST, choose_written_separator
from finewright.inference.abstention import CONFIDENCE_DIGITS
from finewright.inference.text_predictor import OnProgress, TextPredictor

_LIST_FORMATS = (".jsonl", ".json", ".parquet")
"""Formats whose cells can be lists."""


@dataclass(frozen=True)
class LabelSetOptions:
    """`separator`: of the training rows, as in `Columns.label_separator`. `probabilities`: add a column for each label."""

    separator: str = ""
    probabilities: bool = False


@dataclass(frozen=True)
class LabelSets:
    """`columns`: to add to the rows. `counts`: rows by label, most frequent first. `num_none`: rows that get no label."""

    columns: dict[str, list[Any]]
    counts: dict[str, int]
    num_none: int
    num_cut: int
    notes: list[str]


def find_label_sets(
    predictor: TextPredictor, rows: TextRows, options: LabelSetOptions, *, on_progress: OnProgress | None = None
) -> LabelSets:
    """Return the labels of each row, None without a text; in JSON and Parquet files as lists if the training rows had lists.

    Of the probabilities only those that are wanted are kept, so that memory does not grow with the number of labels.
    """
    labels, thresholds_C = predictor.labels, np.asarray(predictor.task.thresholds)
    places = [place for place, text in enumerate(rows.texts) if text is not None]
    present = [text for text in rows.texts if text is not None]
    found: list[list[str] | None] = [None] * len(rows.texts)
    kept: dict[str, list[Any]] = {label: [None] * len(rows.texts) for label in labels} if options.probabilities else {}
    num_cut = 0
    for piece in predictor.score_pieces(present, on_progress=on_progress):
        shares_NC = predictor.task.label_probabilities(piece.outputs)
        assert shares_NC is not None, "a task with labels"
        some = places[piece.start : piece.start + len(shares_NC)]
        for place, said_C in zip(some, shares_NC >= thresholds_C, strict=True):
            found[place] = [labels[index] for index in np.flatnonzero(said_C).tolist()]
        for index, label in enumerate(labels) if options.probabilities else ():
            for place, share in zip(some, np.round(shares_NC[:, index], CONFIDENCE_DIGITS).tolist(), strict=True):
                kept[label][place] = share
        num_cut += piece.num_cut
    counts = Counter(label for own in found if own for label in own)
    notes, separator = list(rows.notes), choose_written_separator(options.separator, labels)
    as_lists = options.separator == LIST and rows.table.format.suffix in _LIST_FORMATS
    if not as_lists:
        notes.append(f"labels are separated by {separator!r}")
    written = found if as_lists else [None if own is None else separator.join(own) for own in found]
    return LabelSets(
        {"labels": written, **{f"probability_{label}": values for label, values in kept.items()}},
        dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        sum(own == [] for own in found),
        num_cut,
        notes,
    )
