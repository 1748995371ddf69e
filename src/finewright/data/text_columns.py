"""What several columns of texts are: one text, one text with the names of the columns, or a pair of texts that are kept apart."""

from collections.abc import Sequence
from typing import Any, Literal

from finewright.core.config import DataConfig
from finewright.data.readers.base import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES, FileTable, bad_file

TextForm = Literal["joined", "named", "pair"]
_PAIRS = (
    PAIR_NAMES,
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("claim", "evidence"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
)
ANSWER = "answer"
_PAIRS_UNLESS_LABELS = (("question", ANSWER), ("query", ANSWER))
"""Pairs whose second column may be the label: they are pairs if it has many different values, or another column is the label."""
_SAMPLE_ROWS, _MOST_LABELS = 2000, 0.34
"""Rows that are looked at, and the share of different values up to which a column may hold labels."""


def find_pair(table: FileTable, *, label: str, file: str) -> tuple[str, ...]:
    """Return the two columns of a table that have the usual names of a pair; none if there are none, or `text` is there.

    `label`: a column that is no text, empty if none is known.
    """
    folded = {name.casefold().strip(): name for name in reversed(table.columns) if name != label}
    for names in (*_PAIRS, *_PAIRS_UNLESS_LABELS):
        if not set(names) <= folded.keys() or (TEXT_NAMES[0] in table.columns and names != PAIR_NAMES):
            continue
        found = tuple(folded[name] for name in names)
        if repeated := next((name for name in found if name in table.repeated), ""):
            raise bad_file(f"two columns are named {repeated!r}", table.repeated[repeated] or file, "give each a name of its own")
        if names in _PAIRS or not {*LABEL_NAMES[:2]}.isdisjoint(folded) or label or not _has_few_values(table, found[1]):
            return found
    return ()


def _has_few_values(table: FileTable, column: str) -> bool:
    values = [str(record.values.get(column)) for record in table.records[:_SAMPLE_ROWS]]
    return len(set(values)) <= max(2, _MOST_LABELS * len(values))


def _are_usual(names: Sequence[str]) -> bool:
    """Return whether two columns have the usual names of a pair, in any order."""
    found = {name.casefold().strip() for name in names}
    return len(names) == 2 and any(found == set(pair) for pair in (*_PAIRS, *_PAIRS_UNLESS_LABELS))


def choose_form(
    texts: tuple[str, ...], options: DataConfig, *, file: str, label: str, is_given: bool
) -> tuple[TextForm, list[str]]:
    """Return what columns of texts are, and notes for the user.

    Parameters
    ----------
    label
        The column with the labels; empty if there is none.
    is_given
        Whether the user named the columns.

    Raises
    ------
    UserError
        If the option wants a pair and the columns are not two, or names of columns and there is one.
    """
    wanted = options.text_columns_as
    if wanted == "pair" and len(texts) != 2:
        what = f"a pair of texts is two columns, found {len(texts)} ({', '.join(texts)})"
        raise bad_file(what, file, "--text-column FIRST --text-column SECOND")
    if wanted == "named" and len(texts) < 2:
        what = f"data.text_columns_as=named is about several text columns, found {texts[0]!r}"
        raise bad_file(what, file, "--text-column NAME, once for each column")
    if len(texts) < 2:
        return "joined", []
    listed = " and ".join(map(repr, texts))
    if wanted == "pair" or (wanted == "auto" and _are_usual(texts)):
        how = " (--text-columns-as joined makes one text of them)" if wanted == "auto" else ""
        how = how if is_given else " (guessed; --text-column changes it)"
        return "pair", [f"pairs of texts: {listed}{', one label each' if label else ''}{how}"]
    names = ", each behind the name of its column" if wanted == "named" else ""
    note = f"texts are {listed}, joined by {options.text_separator!r} (data.text_separator){names}"
    if wanted == "auto" and len(texts) == 2:
        note += "; --text-columns-as pair makes pairs, whose parts the model distinguishes"
    return ("named" if wanted == "named" else "joined"), [note]


def reuse_form(options: DataConfig, texts: Sequence[str], form: TextForm, *, file: str) -> dict[str, Any]:
    """Return the option by which other rows are read as those of training, of which `texts` and `form` are.

    Raises
    ------
    UserError
        If an option says that texts are pairs and the model reads single ones, or the reverse.
    """
    wanted = options.text_columns_as
    if not texts or wanted == form:
        return {}
    if wanted == "auto":
        given = options.text_column
        return {} if form == "named" and isinstance(given, str) else {"text_columns_as": form}
    if "pair" in (wanted, form):
        reads = "pairs of texts" if form == "pair" else "single texts"
        raise bad_file(f"the model reads {reads}; data.text_columns_as={wanted} gives it others", file, "leave it out")
    return {}


def find_named_pair(table: FileTable, form: TextForm) -> list[str]:
    """Return `text` and `text_pair`, as pipelines name pairs, if a model reads pairs and a table has both; else nothing."""
    return [*PAIR_NAMES] if form == "pair" and set(PAIR_NAMES) <= set(table.columns) else []
