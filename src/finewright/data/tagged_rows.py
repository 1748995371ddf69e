"""Tables with tagged texts: a tag for each word, or labelled pieces of a text, as the usual tools write them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from finewright.core.config import DataConfig
from finewright.data import tag_schemes, tagged_tokens
from finewright.data.columns import Columns
from finewright.data.labelled_rows import LabelledRows, find_encoding_fault, is_blank
from finewright.data.readers.base import TEXT_NAMES, FileTable, Record, bad_file, combine_faults, drop_faulty_rows
from finewright.data.tagged_tokens import Bounds, Span, TaggedText, TextWithWords
from finewright.data.text_pairs import TextInput
from finewright.data.written_lists import parse_written_list

TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "tag", "ner", "pos_tags", "upos", "pos", "chunk_tags", "labels", "label")
_MAY_BE_LABELS = ("tags", "tag", "labels", "label")
"""Those that may hold labels of the whole text."""
SPAN_NAMES = ("entities", "spans", "label", "labels", "annotations", "tags")
_STARTS, _ENDS = ("start", "start_offset", "begin"), ("end", "end_offset", "stop")
_TYPES = ("label", "labels", "entity", "entity_group", "type", "tag", "class")
_SAMPLE = 200
_MOST_NAMED = 5


@dataclass(frozen=True)
class TaggedForm:
    """Which columns hold what. `form`: `tokens` with a tag each, `spans` of a text, or an export of Label Studio.

    `text`: the column of the text, empty where the words make it. `marks`: of the tags or the spans, empty without any.
    """

    form: str
    text: str
    words: str
    marks: str

    @property
    def columns(self) -> Columns:
        """The columns for the run's record."""
        return Columns((self.text or "text",), self.marks)

    def describe(self) -> str:
        """Return what the columns are, in words."""
        if self.form == "studio":
            return "it is an export of Label Studio"
        if self.form == "spans":
            return f"it has texts with labelled pieces ({self.marks!r})"
        return f"it has words with a tag each ({self.words!r}, {self.marks!r})"


class _Read(NamedTuple):
    """A row as read: the text, its words, and its tags or its spans."""

    text: str
    words: list[Bounds]
    tags: list[str] | None
    spans: list[Span]


class _Fault(Exception):
    """What is wrong with a row."""


def find_form(table: FileTable, options: DataConfig) -> TaggedForm | None:
    """Return which columns of a table hold tagged texts; None if none do."""
    names = {name.casefold().strip(): name for name in table.columns}
    rows = [record.values for record in table.records[:_SAMPLE]]
    if {"data", "annotations"} <= names.keys() and _some(rows, names["annotations"], _is_studio_annotation):
        return TaggedForm("studio", names["data"], "", names["annotations"])
    given = options.label_column
    tokens = next((names[one] for one in TOKEN_NAMES if one in names and _some(rows, names[one], _is_words)), "")
    text = _find_text(names, options)
    if tokens:
        wanted = (given.casefold().strip(),) if given else TAG_NAMES
        marks = next((names[one] for one in wanted if one in names and _some(rows, names[one], _is_tags)), "")
        if marks and (marks.casefold().strip() not in _MAY_BE_LABELS or _are_as_many(rows, tokens, marks)):
            return TaggedForm("tokens", text if text != tokens else "", tokens, marks)
    if text:
        wanted = (given.casefold().strip(),) if given else SPAN_NAMES
        marks = next((names[one] for one in wanted if one in names and _some(rows, names[one], _is_spans)), "")
        if marks:
            return TaggedForm("spans", text, "", marks)
    return None


def _find_text(names: Mapping[str, str], options: DataConfig) -> str:
    if options.text_column is not None:
        given = options.text_column if isinstance(options.text_column, str) else options.text_column[0]
        return names.get(given.casefold().strip(), "")
    return next((names[one] for one in TEXT_NAMES if one in names), "")


def _some(rows: Sequence[Mapping[str, Any]], name: str, check: Callable[[Any], bool]) -> bool:
    """Whether the cells of a column that hold something are of a kind, and there is one."""
    cells = [cell for row in rows if (cell := _parse_cell(row.get(name))) not in (None, "", [])]
    return bool(cells) and all(check(cell) for cell in cells)


def _are_as_many(rows: Sequence[Mapping[str, Any]], tokens: str, marks: str) -> bool:
    """Whether at least half of the rows have a mark for each word; a few rows without are faults."""
    sizes = [[len(_parse_cell(row.get(name)) or ()) for name in (tokens, marks)] for row in rows]
    return 2 * sum(one == other for one, other in sizes) >= len(sizes)


def _parse_cell(cell: Any) -> Any:
    """Return the list that a cell of a text file stands for, as JSON or Python writes it; other cells as they are."""
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return parse_written_list(cell)
    return cell.tolist() if hasattr(cell, "tolist") else cell


def _is_words(cell: Any) -> bool:
    return isinstance(cell, list | tuple) and all(isinstance(one, str) for one in cell)


def _is_tags(cell: Any) -> bool:
    return isinstance(cell, list | tuple) and all(isinstance(one, str | int) for one in cell)


def _is_spans(cell: Any) -> bool:
    return isinstance(cell, list | tuple) and all(_is_span(one) for one in cell)


def _is_span(one: Any) -> bool:
    if isinstance(one, Mapping):
        return any(name in one for name in _STARTS) and any(name in one for name in _ENDS)
    is_list = isinstance(one, list | tuple) and len(one) == 3
    return is_list and isinstance(one[2], str) and all(isinstance(place, int) for place in one[:2])


def _is_studio_annotation(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(one, Mapping) and isinstance(one.get("result"), list) for one in cell)


def read_tagged_rows(table: FileTable, *, options: DataConfig, file: str, tagged: bool = True) -> LabelledRows:
    """Return the rows of a table as tagged texts, with entities in IOB2.

    `tagged`: whether the rows must have tags; without, whatever has words or a text will do.

    Raises
    ------
    UserError
        If the columns are none of those, or rows have faults: it names file and row.
    """
    if not table.records:
        raise bad_file("no rows", file, "a header alone is not enough; add rows")
    form = find_form(table, options) or (None if tagged else _find_untagged(table, options))
    if form is None:
        found = ", ".join(table.columns[:10]) or "nothing"
        what = f"wanted words with a tag each, or texts with labelled pieces; found the columns {found}"
        fix = '{"tokens": ["Anna", "left"], "tags": ["B-PER", "O"]}, {"text": "…", "entities": [[0, 4, "PER"]]}, or a .conll file'
        raise bad_file(what, file, fix)
    notes, records, read, faults = list(table.notes), [], [], []
    for record in table.records:
        try:
            read.append(_read_row(record, form))
            records.append(record)
        except _Fault as fault:
            faults.append(f"{record.where}: {fault}")
    notes += drop_faulty_rows(faults, skip=options.skip_invalid_rows)
    rows = _to_tagged(read, records, file=file, notes=notes)
    return LabelledRows([*rows], records, table, form.columns, notes)


def find_worded_texts(table: FileTable, options: DataConfig, *, trained: Columns) -> list[TextInput | None] | None:
    """Return the text of each row of a table that has its words, None where there are none; None for any other table.

    A column of texts goes before that of the words, if it is the one of training or is asked for.
    """
    if options.text_column is not None or any(name in table.columns for name in trained.texts):
        return None
    form = _find_untagged(table, options)
    if form is None or not form.words:
        return None
    found: list[TextInput | None] = []
    faults = []
    for record in table.records:
        try:
            read = _read_tokens(record, form) if record.values.get(form.words) else None
            found.append(None if read is None else TextWithWords(read.text, read.words))
        except _Fault as fault:
            faults.append(f"{record.where}: {fault}")
    if faults:
        raise combine_faults(faults, "correct these rows, or leave them out")
    return found


def _find_untagged(table: FileTable, options: DataConfig) -> TaggedForm | None:
    names = {name.casefold().strip(): name for name in table.columns}
    rows = [record.values for record in table.records[:_SAMPLE]]
    words = next((names[one] for one in TOKEN_NAMES if one in names and _some(rows, names[one], _is_words)), "")
    text = _find_text(names, options)
    if words:
        return TaggedForm("tokens", text, words, "")
    return TaggedForm("spans", text, "", "") if text else None


def _read_row(record: Record, form: TaggedForm) -> _Read:
    if form.form == "tokens":
        return _read_tokens(record, form)
    if form.form == "studio":
        return _read_studio(record, form)
    text = _read_text(record.values.get(form.text))
    cell = _parse_cell(record.values.get(form.marks)) if form.marks else None
    if cell is not None and cell != "" and not isinstance(cell, list | tuple):
        raise _Fault(f"wanted a list of [start, end, label] in {form.marks!r}, found {cell!r:.60}")
    return _with_spans(text, [_read_span(one) for one in cell or ()])


def _read_text(value: Any) -> str:
    if not isinstance(value, str) or is_blank(value):
        raise _Fault("the text is empty" if value is None or isinstance(value, str) else f"wanted text, found {value!r:.40}")
    if fault := find_encoding_fault(value, kind="text"):
        raise _Fault(fault)
    return value


def _read_tokens(record: Record, form: TaggedForm) -> _Read:
    tokens = _parse_cell(record.values.get(form.words))
    if not isinstance(tokens, list | tuple) or not tokens:
        raise _Fault("no words" if not tokens else f"wanted a list of words in {form.words!r}, found {tokens!r:.60}")
    wrong = next(
        (one for one in tokens if not isinstance(one, str) or is_blank(one) or find_encoding_fault(one, kind="text")), None
    )
    if wrong is not None:
        place = [*tokens].index(wrong) + 1
        raise _Fault(f"word {place} of {len(tokens)} is {'empty' if isinstance(wrong, str) else 'no text'}: {wrong!r:.40}")
    text, words = tagged_tokens.join_tokens(tokens)
    whole = record.values.get(form.text) if form.text else None
    if isinstance(whole, str) and (located := tagged_tokens.locate_tokens(whole, tokens)) is not None:
        text, words = whole, located
    if not form.marks:
        return _Read(text, words, None, [])
    tags = _parse_cell(record.values.get(form.marks))
    if not isinstance(tags, list | tuple) or len(tags) != len(tokens):
        found = f"{len(tags):,} tags" if isinstance(tags, list | tuple) else f"{tags!r:.40} as tags"
        raise _Fault(f"{len(tokens):,} words, but {found}")
    if any(isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "" for tag in tags):
        place = next(
            place for place, tag in enumerate(tags) if isinstance(tag, bool) or not isinstance(tag, str | int) or tag == ""
        )
        raise _Fault(f"the word {tokens[place]!r:.40} has no tag, found {tags[place]!r:.40}")
    return _Read(text, words, [str(tag) for tag in tags], [])


def _read_span(one: Any) -> Span:
    if not _is_span(one):
        raise _Fault(f"wanted [start, end, label] or a start, an end and a label, found {one!r:.80}")
    if not isinstance(one, Mapping):
        return Span(one[0], one[1], one[2])
    start, end, label = (next((one[name] for name in names if name in one), None) for names in (_STARTS, _ENDS, _TYPES))
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    if isinstance(label, list) and label:
        raise _Fault(f"the piece from {start} to {end} has several labels: {', '.join(map(str, label))}")
    if not isinstance(label, str) or not isinstance(start, int) or not isinstance(end, int):
        raise _Fault(f"wanted a start, an end and a label, found {dict(one)!r:.80}")
    return Span(start, end, label)


def _read_studio(record: Record, form: TaggedForm) -> _Read:
    """Return a task of Label Studio: the text of its data, and the spans of the last annotation that was not cancelled."""
    data = record.values.get(form.text)
    texts = [value for value in data.values() if isinstance(value, str)] if isinstance(data, Mapping) else []
    named = data.get("text") if isinstance(data, Mapping) else None
    text = _read_text(named if isinstance(named, str) else texts[0] if len(texts) == 1 else None)
    annotations = [one for one in record.values.get(form.marks) or () if not one.get("was_cancelled")]
    if not annotations:
        raise _Fault("the task was not annotated")
    values = [
        one["value"] for one in annotations[-1]["result"] if isinstance(one.get("value"), Mapping) and "start" in one["value"]
    ]
    return _with_spans(text, [_read_span(value) for value in values])


def _with_spans(text: str, spans: Sequence[Span]) -> _Read:
    """Return a text with its spans. Raise `_Fault` for spans that cannot be, or that overlap."""
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            raise _Fault(
                f"the piece from {span.start} to {span.end} ({span.label}) is not in the text of {len(text):,} characters"
            )
        if not text[span.start : span.end].strip():
            raise _Fault(f"the piece from {span.start} to {span.end} ({span.label}) is white space alone")
        if not span.label.strip():
            raise _Fault(f"the piece from {span.start} to {span.end} has no label")
    trimmed = list(dict.fromkeys(tagged_tokens.trim_span(text, span) for span in spans))
    if both := tagged_tokens.find_overlap(trimmed):
        shown = " and ".join(f"{text[one.start : one.end]!r:.40} ({one.label}, {one.start}-{one.end})" for one in both)
        raise _Fault(f"two pieces overlap: {shown}; a word has one tag")
    return _Read(text, tagged_tokens.split_words(text), None, trimmed)


def _to_tagged(read: Sequence[_Read], records: Sequence[Record], *, file: str, notes: list[str]) -> list[TaggedText]:
    """Return the rows with tags in IOB2; add to the notes what was converted, repaired or widened."""
    sentences = [row.tags for row in read if row.tags is not None]
    converted = tag_schemes.convert_to_iob2(sentences)
    if converted.scheme not in ("IOB2", "none"):
        notes.append(f"{file}: the tags are {_DESCRIBED[converted.scheme]}, read as IOB2")
    if converted.num_repaired:
        where = [record.where for record, row in zip(records, read, strict=True) if row.tags is not None]
        named = ", ".join(where[number] for number in converted.repaired[:_MOST_NAMED])
        more = f" and {len(converted.repaired) - _MOST_NAMED:,} more" if len(converted.repaired) > _MOST_NAMED else ""
        count = f"{converted.num_repaired:,} tag{'' if converted.num_repaired == 1 else 's'}"
        notes.append(f"warning: {file}: {count} against the rules of {converted.scheme} repaired, in {named}{more}")
    tags = iter(converted.sentences)
    rows, widened = [], []
    for row, record in zip(read, records, strict=True):
        if row.tags is None:
            fitted = tagged_tokens.fit_spans(row.words, row.spans)
            widened += [f"{record.where} {row.text[one.start : one.end]!r:.40}" for one in fitted.widened]
            rows.append(tagged_tokens.make_tagged_text(row.text, row.words, fitted.tags, where=record.where))
        else:
            rows.append(tagged_tokens.make_tagged_text(row.text, row.words, next(tags), where=record.where))
    if widened:
        named = "; ".join(widened[:_MOST_NAMED]) + (
            f" and {len(widened) - _MOST_NAMED:,} more" if len(widened) > _MOST_NAMED else ""
        )
        pieces = "1 piece begins or ends" if len(widened) == 1 else f"{len(widened):,} pieces begin or end"
        notes.append(f"warning: {file}: {pieces} inside a word, and the whole word was taken: {named}")
    return rows


_DESCRIBED = {
    "IOB1": "IOB1 (an entity begins with I, with B only beside one of its type)",
    "BIOES": "BIOES",
    "BMES": "BMES",
    "BILOU": "BILOU",
    "IO": "names of types without B and I (touching entities of one type are one)",
}
