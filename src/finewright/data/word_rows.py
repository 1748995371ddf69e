"""Tables with one word in each row, and a column that says of which sentence: they become a row for each sentence."""

from dataclasses import replace
from typing import Any

from finewright.data.readers.base import FileFormat, FileTable, Record

_SENTENCES = ("sentence #", "sentence#", "sentence_id", "sentence id", "sentence_idx", "sentence_number", "sent_id")
_DOCUMENTS = ("doc_id", "document_id", "document", "doc", "docid", "article_id", "text_id", "file", "filename")
"""Columns that say of which document a sentence is: numbers may begin anew there, so documents of one sentence all have 1."""
_WORDS = ("word", "token")
TOKENS = "tokens"


def group_words(table: FileTable) -> FileTable:
    """Return a table with one word in each row as one with a list of words, and of what is said of each, for each sentence.

    An empty cell in the column of sentences means the sentence of the row above. If a column says the document, a sentence is
    of one. Any other table is returned as it is.
    """
    names = {name.casefold().strip(): name for name in reversed(table.columns) if name not in table.repeated}
    sentence = next((names[one] for one in _SENTENCES if one in names), "")
    word = next((names[one] for one in _WORDS if one in names), "")
    if not sentence or not word or table.splits or TOKENS in names:
        return table
    others = [name for name in table.columns if name not in (sentence, word)]
    bounds = [sentence, *(names[one] for one in _DOCUMENTS if one in names)]
    groups: list[list[Record]] = []
    current: dict[str, Any] = {}
    for record in table.records:
        found = {name: record.values.get(name) for name in bounds if not _is_empty(record.values.get(name))}
        begins = any(value != current.get(name) for name, value in found.items())
        if begins or not groups:
            groups.append([])
            current = {**current, **found}
        groups[-1].append(record)
    if len(groups) == len(table.records):
        return table  # each row has a number of its own: these are no words of sentences
    columns = (sentence, TOKENS, *others)
    records = [Record(group[0].where, _join_rows(group, sentence, word, others)) for group in groups]
    note = f"one word a row: {len(table.records):,} rows are {len(records):,} sentences by {sentence!r}"
    form = FileFormat(".jsonl", encoding=table.format.encoding)
    return replace(table, records=records, columns=columns, header=columns, format=form, notes=[*table.notes, note])


def _is_empty(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())  # NaN is not equal to itself


def _join_rows(group: list[Record], sentence: str, word: str, others: list[str]) -> dict[str, Any]:
    lists = {name: [record.values.get(name) for record in group] for name in others}
    return {sentence: group[0].values.get(sentence), TOKENS: [record.values.get(word) for record in group], **lists}
