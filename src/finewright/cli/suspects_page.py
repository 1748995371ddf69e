"""Doubtful labels, or rows to label next, as one HTML page."""

from typing import TYPE_CHECKING

from finewright.comparison.report.document import Block, Cell, Document, Section, Table, html

if TYPE_CHECKING:
    from finewright.runs.rows_to_label import RowsToLabel
    from finewright.runs.suspects import Suspects

MOST_ROWS, MOST_PAIRS = 200, 100
"""Rows and pairs on the page. A CSV file has all."""
_HOW = [
    "Each label is judged by a logistic regression that was fitted to other rows (five parts, each left out in turn), on the "
    "states of the frozen base model and on words. What the run trained is not asked: it may have memorised wrong labels.",
    "Rows are in the order of the probability of their own label, the lowest first. A row looks like another label if that one "
    "is confidently its label (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).",
    "Rare and ambiguous rows are ranked high too: a person has to decide.",
]


def build_suspects_page(found: "Suspects", *, name: str) -> str:
    """Return the page about doubtful labels. `name`: of the run."""
    rows: list[list[str | Cell]] = [
        [
            row.where,
            row.label,
            row.predicted,
            f"{row.probability:.2f}",
            f"{row.label_probability:.2f}",
            "yes" if row.is_suspect else "",
            row.text,
        ]
        for row in found.rows[:MOST_ROWS]
    ]
    headings = ["row", "label", "looks like", "probability", "of its label", "other label", "text"]
    caption = f"{len(rows):,} of {len(found.rows):,} rows, the most doubtful first"
    sections = [Section("Doubtful labels", [Table(caption, headings, rows, numeric=False)])]
    if found.near_duplicates:
        pairs: list[list[str | Cell]] = [
            [where, label, f"{pair.similarity:.2f}", text]
            for pair in found.near_duplicates[:MOST_PAIRS]
            for where, label, text in zip(pair.where, pair.labels, pair.texts, strict=True)
        ]
        caption = f"{len(pairs) // 2:,} of {len(found.near_duplicates):,} pairs, two lines each, the most similar first"
        table = Table(caption, ["row", "label", "similarity", "text"], pairs, numeric=False)
        sections.append(Section("Nearly the same text, different labels", [table]))
    how: list[Block] = [_HOW, *([found.notes] if found.notes else [])]
    lead = f"{found.num_suspects:,} of {len(found.rows):,} rows look like another label than they have."
    return html(Document(f"Doubtful labels of {name}", "To be checked by a person.", [lead], [*sections, Section("How", how)]))


def build_rows_page(found: "RowsToLabel", *, name: str) -> str:
    """Return the page about rows to label next. `name`: of the run."""
    rows: list[list[str | Cell]] = [
        [row.where, row.predicted, f"{row.probability:.2f}", f"{row.margin:.2f}", row.text] for row in found.rows
    ]
    headings = ["row", "most probable label", "probability", "margin", "text"]
    table = Table("The least certain first", headings, rows, numeric=False)
    lead = f"{len(rows):,} of {found.num_candidates:,} different texts."
    return html(
        Document(
            f"Rows to label next for {name}", "Uncertain, and different from each other.", [lead], [Section("Rows", [table])]
        )
    )
