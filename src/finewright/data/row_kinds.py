"""What the rows of a data source are, and how its files are read for that."""

from collections.abc import Mapping
from typing import Any

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import columns as column_names
from finewright.data import conversation_shapes, multi_label_rows, number_rows, readers, source_tables, tagged_rows
from finewright.data.columns import wanted_columns
from finewright.data.conversation_shapes import RowKind, Shape
from finewright.data.label_lists import LabelLists, tell_label_lists
from finewright.data.readers.base import LABEL_NAMES, NUMBER_NAMES, TEXT_NAMES, FileTable
from finewright.data.source_tables import Source, SourceTables, TableReading
from finewright.data.text_columns import ANSWER, find_pair

_OF_PAIRS = ("label", "labels", "class", "target", "label_text", "score", "similarity")
"""Usual names of what is said of a question with an answer; others may be of the question alone."""
_OF_ANSWERS = ("label", "labels", "class", "label_text")
"""Names of what is said of an answer to a prompt; a topic or category is of the prompt, and collections of answers have one."""
MOSTLY = 0.9
"""Share of true and false values from which on a column says whether answers are good: the others are faults, which are named."""
_COUNTED = ("tokens", "words", "chars", "characters", "bytes")
_ABOUT_TEXTS = (
    {"length", "len", "size", "timestamp", "time", "offset", "perplexity", "tokens"}
    | {f"{count}_{one}" for count in ("n", "num", "number_of") for one in _COUNTED}
    | {f"{one.removesuffix('s')}_count" for one in _COUNTED}
)
"""Names of numbers that collections of texts have of each text, and nobody learns."""
_UNMISTAKABLE = ({"prompt", "instruction"}, {"completion", "response"})


class UnclearRows(UserError):
    """Rows that can be read for two tasks: the user says which one is meant."""


def detect_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str]:
    """Return what the rows of a source are, told by the names of its columns, and the reason in words for the user.

    A table with a label column that is given, or with texts and labels, is "labelled". So is what cannot be read: whoever reads
    it says why.
    """
    return read_row_kind(source, options=options)[:2]


def read_row_kind(source: Source, *, options: DataConfig) -> tuple[RowKind, str, SourceTables | None]:
    """Return the kind, the reason, and the tables that were read to find it; None if they were not read."""
    is_text = False
    try:
        found = source_tables.read_tables(source, how_to_read(options, "labelled"), options=options)
    except UserError:
        try:
            found = source_tables.read_tables(source, how_to_read(options, "conversation"), options=options)
        except UserError:
            return "labelled", "the data cannot be read as anything else", None
        is_text = all(table.format.suffix == readers.TEXT for table in found.tables.values())
        if not is_text:
            return "labelled", "the data cannot be read as conversations", None
    name, table = next(((name, found.tables[name]) for name in ("train", *found.tables) if name in found.tables), ("", None))
    if table is None or not table.records:
        return "labelled", "no rows", found
    if is_text:
        return "conversation", "texts without labels", found
    try:
        kind, reason = tell_row_kind(table, options, file=found.name_of(name))
    except UnclearRows:
        raise
    except UserError as error:
        if "--task" in error.fix:  # it asks which task is meant
            raise
        # such as two columns of one name, which another task may not need
        return "labelled", "its columns cannot be told apart", found
    return kind, reason, found


def tell_row_kind(table: FileTable, options: DataConfig, *, file: str) -> tuple[RowKind, str]:
    """Return what the rows of a table are, and the reason."""
    tagged = tagged_rows.find_form(table, options)
    if tagged is None:
        return _tell_by_names(table, options, file=file)
    single = _find_single_label(table, tagged) if options.label_column is None else ""
    if not single:
        return "tagged-tokens", tagged.describe()
    if single == LABEL_NAMES[0]:
        kind, reason = _tell_by_names(table, options, file=file)
        return kind, f"{reason}; --task token-classification learns {tagged.marks!r} instead"
    what = f"each text has a label ({single!r}) and tags ({tagged.marks!r}), and either may be learnt"
    fix = f"--label-column {single} or --label-column {tagged.marks}"
    raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)


def _find_single_label(table: FileTable, tagged: tagged_rows.TaggedForm) -> str:
    """Return the column with one label for each text beside its tags; empty if there is none, or no column of texts."""
    names = {name.casefold().strip(): name for name in reversed(table.columns)}
    usual = [names[name] for name in LABEL_NAMES if name in names and names[name] != tagged.marks]
    return next((name for name in usual if tagged.text and column_names.has_few_values(table, name)), "")


def _tell_by_names(table: FileTable, options: DataConfig, *, file: str) -> tuple[RowKind, str]:
    if options.label_column is not None:
        given = options.label_column
        return tell_label_kind(table, given, reason=f"the label column {given!r} is given", options=options, file=file)
    if options.prompt_column is not None or options.answer_column is not None:
        return "conversation", "a column of prompts or of answers is given"
    names = {name.casefold().strip(): name for name in table.columns}
    if reason := _tell_preferences(table, names):
        return "preference", reason
    return _tell_pairs(table, names, options, file=file) or _tell_by_shape(table, names, options, file=file)


def _tell_by_shape(table: FileTable, names: Mapping[str, str], options: DataConfig, *, file: str) -> tuple[RowKind, str]:
    """Return what the rows are by the shape of a conversation that their columns have. `names`: of the columns, by lower case."""
    shape = conversation_shapes.find_shape(table, options.model_copy(update={"text_column": None}), file=file)
    how: dict[str, Any] = {"options": options, "file": file}
    if number := _find_number_column(table, options, names, shape=shape, file=file):
        return tell_label_kind(table, number, reason=f"it has texts and a column of numbers ({number!r})", **how)
    if (reason := _tell_several_labels(table, options, shape, file=file)) is not None:
        return "multi-label", reason
    if shape is None:
        return "labelled", "no columns of conversations"
    labels = [names[name] for name in LABEL_NAMES if name in names and names[name] not in shape.columns.values()]
    has_text = options.text_column is not None or any(name in names for name in TEXT_NAMES)
    few = [name for name in labels if column_names.has_few_values(table, name)]
    if shape.form in ("text", "instruction") and has_text and (few or (labels and shape.form == "text")):
        name = (few or labels)[0]
        return tell_label_kind(table, name, reason=f"it has texts and a column of labels ({name!r})", options=options, file=file)
    if shape.form == "instruction" and "choices" not in shape.columns:
        prompt, answer = (shape.columns.get(part, "") for part in ("prompt", "answer"))
        clear = prompt.casefold() in _UNMISTAKABLE[0] or answer.casefold() in _UNMISTAKABLE[1]
        if not clear and column_names.has_few_values(table, answer):
            return "labelled", f"{answer!r} has few values, each many times, as labels have"
    _refuse_unclear_judgment(table, names, shape, file=file)
    if shape.form == "text" and len(table.columns) > 1:
        if column_names.guess_label(table, shape.columns["text"]):
            return "labelled", "it has texts and a column with few values"
        _refuse_unclear_labels(table, file=file)
    return "conversation", f"the columns are those of {shape.said}"


def _refuse_unclear_judgment(table: FileTable, names: Mapping[str, str], shape: Shape, *, file: str) -> None:
    """Raise `UnclearRows` if answers have a label: all of them may be learnt, the good ones be preferred, or labels be told."""
    label = next((names[name] for name in _OF_ANSWERS if name in names and names[name] not in shape.columns.values()), "")
    if not label or shape.form not in ("instruction", "chat"):
        return
    fixes = []
    if column_names.holds_truth(table, label, least=MOSTLY):
        fixes.append(f"--task preference if {label!r} says whether an answer is good")
    if shape.form == "instruction" and column_names.has_few_values(table, label):
        texts = " ".join(f"--text-column {shape.columns[part]}" for part in ("prompt", "answer"))
        fixes.append(f"--task text-classification {texts} --label-column {label} to predict it")
    if fixes:
        what = f"{label!r} beside {shape.said}: what is learnt may be the answers, or what it says of them"
        fix = f"--task text-generation for all answers, {', '.join(fixes)}"
        raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)


def _refuse_unclear_labels(table: FileTable, *, file: str) -> None:
    """Raise `UnclearRows` if several columns beside a text may be the label, and one is called so, such as `coarse_label`."""
    likely = column_names.find_label_like(table, but=())
    called = [name for name in likely if any(word in name.casefold() for word in ("label", "class"))]
    if called:
        what = f"the label may be {' or '.join(map(repr, likely[:5]))}"
        fix = f"--label-column {called[0]} takes that one, --task text-generation learns the texts alone"
        raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)


def _tell_pairs(table: FileTable, names: Mapping[str, str], options: DataConfig, *, file: str) -> tuple[RowKind, str] | None:
    """Return what the labels of pairs of texts are, and the reason; None if it has no such columns of usual names."""
    pair = find_pair(table, label="", file=file) if options.text_column is None else ()
    usual = (*LABEL_NAMES, *NUMBER_NAMES)
    label = next((names[name] for name in usual if name in names and names[name] not in pair), "")
    if not pair or not label:
        return None
    shown = " and ".join(map(repr, pair))
    if pair[1].casefold().strip() == ANSWER:
        if not column_names.has_few_values(table, label):
            return None  # questions with answers to learn, and something about each
        if label.casefold().strip() not in _OF_PAIRS:
            what = f"the answers may be what is learnt, or {label!r} of the pairs {shown}"
            fix = f"--task text-generation for the answers, --label-column {label} for that column"
            raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)
    return tell_label_kind(
        table, label, reason=f"it has pairs of texts ({shown}) and a column of labels ({label!r})", options=options, file=file
    )


def _tell_preferences(table: FileTable, names: Mapping[str, str]) -> str:
    """Return by what a table has preferences; empty if it has none. `names`: of the columns, as written, by their plain form."""
    if {"chosen", "rejected"} <= names.keys():
        return "it has columns of chosen and rejected answers"
    if {"prompt", "completion", "label"} <= names.keys() and column_names.holds_truth(table, names["label"], least=MOSTLY):
        return "it has prompts, completions, and whether each of these is good"
    if "kto_tag" in names and column_names.holds_truth(table, names["kto_tag"], least=MOSTLY):
        return f"{names['kto_tag']!r} says whether each answer is good"
    return ""


def tell_label_kind(table: FileTable, column: str, *, reason: str, options: DataConfig, file: str) -> tuple[RowKind, str]:
    """Return what the labels in a column of a table are, and the reason. `reason`: why the column is the label.

    Raises
    ------
    UnclearRows
        If the cells can be read as one label or as several.
    """
    if name := column_names.resolve_column(table, column, file=file):
        is_number, seen = number_rows.describe_numbers(table, name, file=file) or (False, "")
        if is_number and seen and not options.label_separator:
            _refuse_unclear_commas(table, name, options, file=file)
            return "number", seen
        found = _tell_lists(table, column, options, file=file)
        return ("multi-label", found.reason) if found.verdict == "several" else ("labelled", seen or reason)
    if "," in column and len(multi_label_rows.find_label_columns(table, options, file=file)) > 1:
        return "multi-label", f"a column for each label is given ({column})"
    return "labelled", reason


def _refuse_unclear_commas(table: FileTable, column: str, options: DataConfig, *, file: str) -> None:
    """Raise `UnclearRows` if cells such as 1,2 may be one number with a decimal comma, or two labels."""
    cells = [record.values.get(column) for record in table.records]
    shown = next((cell for cell in cells if isinstance(cell, str) and "," in cell), None)
    if shown is None or options.decimal != "auto" or column.casefold().strip() in NUMBER_NAMES:
        return
    if tell_label_lists(cells, column=column).verdict != "one":
        what = f"{column!r} has cells such as {shown!r}: a number with a decimal comma, or several labels?"
        fix = "--set data.decimal=comma for numbers, --set data.label_separator=, for labels"
        raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)


def _tell_lists(table: FileTable, column: str, options: DataConfig, *, file: str) -> LabelLists:
    """Return what the cells of a column are. Raise `UnclearRows` if two readings are likely."""
    if options.label_separator:
        return LabelLists("several", options.label_separator, f"{options.label_separator!r} is given as label separator")
    name = column_names.resolve_column(table, column, file=file) or column
    found = tell_label_lists([record.values.get(name) for record in table.records], column=name)
    if found.verdict == "unclear":
        fix = "--task multi-label-classification for several labels per text, --task text-classification for one"
        raise UnclearRows(f"one label per text, or several? {found.reason}", where=file, fix=fix, code=ExitCode.BAD_DATA)
    return found


def _tell_several_labels(table: FileTable, options: DataConfig, shape: Shape | None, *, file: str) -> str | None:
    """Return by what a table of texts has several labels for each text; None if it has not, or is no table of texts."""
    if (shape is not None and shape.form != "text") or any(name.casefold() == "tokens" for name in table.columns):
        return None
    usual = column_names.find_usual(table, LABEL_NAMES, file=file)
    more = [name for name in table.columns if name.casefold().strip() in multi_label_rows.MORE_NAMES]
    for name in usual or more:
        found = _tell_lists(table, name, options, file=file)
        if found.verdict == "several":
            return found.reason
    flags = [] if usual else column_names.find_flags(table, options)
    if not flags:
        return None
    listed = f"{', '.join(flags[:5])}{f' and {len(flags) - 5:,} more' if len(flags) > 5 else ''}"
    if others := column_names.find_label_like(table, but=flags):
        fix = f"--label-column {others[0]} for one label per text, --label-column {flags[0]},{flags[1]} for several"
        what = f"the label may be {others[0]!r}, or the columns of yes or no ({listed})"
        raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)
    return f"it has texts and columns of yes or no ({listed})"


def _find_number_column(
    table: FileTable, options: DataConfig, names: Mapping[str, str], *, shape: Shape | None, file: str
) -> str:
    """Return the column of numbers beside the texts by its name, unless a column is named like a label that is no number.

    `shape`: the columns of conversations that the table has; of texts alone it may be both.
    """
    if shape is not None and shape.form != "text":
        return ""
    labels = [names[name] for name in LABEL_NAMES if name in names]
    if labels:
        return labels[0] if number_rows.holds_numbers(table, labels[0]) else ""
    found = number_rows.find_number_column(table, options)
    by_name = found.casefold().strip() in NUMBER_NAMES
    if not found or (not by_name and _may_be_of_a_corpus(table, found)):
        return ""
    if shape is None and not by_name and not column_names.find_label_like(table, but=[found]):
        is_amount = (number_rows.describe_numbers(table, found, file=file) or (False, ""))[0]
        if is_amount:
            _refuse_unclear_number(table, found, file=file)
            return found
    has_text = options.text_column is not None or any(name in names for name in TEXT_NAMES)
    if by_name or not has_text or len(table.columns) != 2:
        return found if by_name else ""
    _refuse_unclear_number(table, found, file=file)
    return found


def _refuse_unclear_number(table: FileTable, column: str, *, file: str) -> None:
    """Raise `UnclearRows` if nothing says that the only column of numbers beside texts, such as `year`, is what is learnt."""
    if seen := number_rows.describe_number_of_text(table, column):
        fix = f"--task regression learns {column!r}, --task text-generation the texts alone, --label-column NAME another column"
        what = f"{seen}: it may be what is learnt, or only known of each text"
        raise UnclearRows(what, where=file, fix=fix, code=ExitCode.BAD_DATA)


def _may_be_of_a_corpus(table: FileTable, column: str) -> bool:
    """Whether a column of numbers counts the rows, or the words of a text, as in collections of texts for language models."""
    return column.casefold().strip() in _ABOUT_TEXTS or number_rows.counts_rows(table, column)


def how_to_read(options: DataConfig, row_kind: RowKind) -> TableReading:
    """Return how files are read for rows of a kind: labelled ones need some columns alone, and never a text without columns."""
    if row_kind == "labelled":
        return TableReading(wanted_columns(options))
    if row_kind == "number":
        return TableReading(wanted_columns(options) if options.label_column else ())
    if row_kind == "multi-label":
        return TableReading()
    given = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    given = (*given, *filter(None, (options.prompt_column, options.answer_column)))
    return TableReading(texts=(*conversation_shapes.SHAPE_NAMES, *given), with_texts=True)
